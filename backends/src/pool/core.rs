//! The way of one call: it waits for its turn, is sent, and goes on to the next best server where its own has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch_engine::backend::{Call, ChatRequest, ChatResponse, Error};
use tokio::time::{Instant, sleep};

use super::asked::Asked;
use super::chat::Replica;
use super::hedge::{Copy, Hedger, Race};
use super::prefix;
use super::scheduler::{Permit, Scheduler, Tried};
use super::settings::PoolSettings;

/// What sends the calls of a model.
#[derive(Debug)]
pub(crate) struct Core {
    /// As the configuration calls it.
    pub(crate) name: String,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) hedger: Option<Hedger>,
    /// What the hashes of prefixes begin with.
    seed: u64,
}

impl Core {
    pub(crate) fn new(name: &str, settings: &PoolSettings, replicas: Vec<Replica>) -> Self {
        let known: Vec<_> = replicas.iter().map(|replica| (replica.name.clone(), replica.settings)).collect();
        let scheduler = Scheduler::new(name, settings, &known);
        let seed = prefix::seed(name, &settings.affinity.salt);
        // With one server there is no second.
        let hedger = settings.hedge.clone().filter(|_| replicas.len() > 1).map(Hedger::new);
        Self { name: name.to_owned(), replicas, scheduler, hedger, seed }
    }

    /// An upper estimate of the tokens that `request` reads.
    pub(crate) fn estimate(&self, request: &ChatRequest) -> u64 {
        self.replicas.first().map_or(0, |replica| replica.model.estimate_prompt_tokens(request))
    }

    /// Tokens of `text` by the model's own tokenizer, if there is one.
    pub(crate) fn count(&self, text: &str) -> Option<usize> {
        self.replicas.first()?.model.count_tokens(text)
    }

    /// Waits for a place, sends, and goes on to the next best server if one fails before it has shown anything.
    pub(crate) async fn send(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let asked = Asked::new(self.estimate(request), self.seed, request, call);
        let mut tried = Tried::default();
        let mut failure = None;
        loop {
            let mut permit = match self.scheduler.admit(&asked, &mut tried).await {
                Ok(permit) => permit,
                // What the server said is of more use than that there is no other.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            if let Some(failure) = &failure {
                self.scheduler.moved(failure);
            }
            permit.follow(&asked.prefix).await;
            let race = Race::new(call);
            let sending = Sending { core: self, request, call, race: &race };
            let result = match self.hedger.as_ref().filter(|_| call.is_idempotent) {
                // Boxed: the many calls without a second copy need not carry the room for one.
                Some(hedger) => Box::pin(sending.hedged(hedger, permit, &asked, &mut tried)).await,
                None => sending.copy(permit, Copy::First).await,
            };
            match result {
                Err(error) if moves(&error) && !race.is_shown() && tried.len() < self.replicas.len() => {
                    failure = Some(error);
                }
                result => return result,
            }
        }
    }

    fn empty(&self) -> Error {
        let message = "it has no server".to_owned();
        let backend = format!("model `{}`", self.name);
        Error::Unreached { backend, message, retry_after: None, is_late: false }
    }
}

/// Whether another server may do better: what was refused for its content is refused everywhere.
fn moves(error: &Error) -> bool {
    !matches!(error, Error::Rejected { .. })
}

/// An attempt at a call.
struct Sending<'a> {
    core: &'a Core,
    request: &'a ChatRequest,
    call: &'a Call<'a>,
    race: &'a Race<'a>,
}

impl Sending<'_> {
    /// Sends one copy. Dropped, it gives the place at the server free at once.
    async fn copy(&self, permit: Permit, copy: Copy) -> Result<ChatResponse, Error> {
        let Some(replica) = self.core.replicas.get(permit.replica()) else { return Err(self.core.empty()) };
        let is_told = AtomicBool::new(false);
        let on_first_token = || {
            permit.begun(&is_told);
            self.race.begin(copy);
        };
        let on_delta = |delta: &str| {
            permit.begun(&is_told);
            self.race.show(copy, delta);
        };
        let call = Call { on_delta: &on_delta, on_first_token: &on_first_token, ..*self.call };
        let result = replica.model.chat(self.request, &call).await;
        permit.settle(&result);
        result
    }

    /// Sends a second copy to another server if the first is late. Whichever begins to answer first is heard, and the
    /// other one is given up.
    async fn hedged(
        &self,
        hedger: &Hedger,
        permit: Permit,
        asked: &Asked,
        tried: &mut Tried,
    ) -> Result<ChatResponse, Error> {
        let start = Instant::now();
        let late = hedger.begin();
        let mut first = Box::pin(self.copy(permit, Copy::First));
        let is_late = tokio::select! {
            biased;
            result = &mut first => return hedger.noting(start, result),
            () = self.race.decided.notified() => false,
            () = sleep(late.unwrap_or_default()), if late.is_some() => true,
        };
        let second = if is_late { self.second(hedger, asked, tried) } else { None };
        let Some(permit) = second else {
            if is_late {
                tokio::select! {
                    biased;
                    result = &mut first => return hedger.noting(start, result),
                    () = self.race.decided.notified() => {}
                }
            }
            hedger.waited(start.elapsed());
            return first.await;
        };
        let mut second = Box::pin(self.copy(permit, Copy::Second));
        let (result, is_second) = tokio::select! {
            biased;
            result = &mut first => match result {
                // The other one may still answer.
                Err(error) if moves(&error) && !self.race.has_won(Copy::First) => match second.await {
                    Ok(response) => (hedger.noting(start, Ok(response)), true),
                    Err(_) => (Err(error), false),
                },
                result => (hedger.noting(start, result), false),
            },
            result = &mut second => match result {
                Err(_) if !self.race.has_won(Copy::Second) => (hedger.noting(start, first.await), false),
                result => (hedger.noting(start, result), true),
            },
            () = self.race.decided.notified() => {
                hedger.waited(start.elapsed());
                // The other one's stream is closed, and its place is free.
                if self.race.has_won(Copy::First) {
                    drop(second);
                    (first.await, false)
                } else {
                    drop(first);
                    (second.await, true)
                }
            }
        };
        if is_second && result.is_ok() {
            hedger.won.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Leave to send a second copy, within what may be sent twice and what is free.
    fn second(&self, hedger: &Hedger, asked: &Asked, tried: &mut Tried) -> Option<Permit> {
        let permit = hedger.spend().then(|| self.core.scheduler.admit_copy(asked, tried));
        if matches!(permit, Some(None)) {
            hedger.give_back();
        }
        let permit = permit.flatten();
        let count = if permit.is_some() { &hedger.sent } else { &hedger.denied };
        count.fetch_add(1, Ordering::Relaxed);
        permit
    }
}
