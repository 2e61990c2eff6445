//! The way of one call: it waits for its turn, is sent, and goes on to the next best server where its own has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch_engine::backend::{Call, ChatRequest, ChatResponse, Error};

use super::asked::Asked;
use super::chat::Replica;
use super::prefix;
use super::scheduler::{Scheduler, Tried};
use super::settings::PoolSettings;

/// What sends the calls of a model.
#[derive(Debug)]
pub(crate) struct Core {
    /// As the configuration calls it.
    pub(crate) name: String,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) scheduler: Arc<Scheduler>,
    /// What the hashes of prefixes begin with.
    seed: u64,
}

impl Core {
    pub(crate) fn new(name: &str, settings: &PoolSettings, replicas: Vec<Replica>) -> Self {
        let known: Vec<_> = replicas.iter().map(|replica| (replica.name.clone(), replica.settings)).collect();
        let scheduler = Scheduler::new(name, settings, &known);
        let seed = prefix::seed(name, &settings.affinity.salt);
        Self { name: name.to_owned(), replicas, scheduler, seed }
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
            let permit = match self.scheduler.admit(&asked, &mut tried).await {
                Ok(permit) => permit,
                // What the server said is of more use than that there is no other.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            if let Some(failure) = &failure {
                self.scheduler.moved(failure);
            }
            let Some(replica) = self.replicas.get(permit.replica()) else { return Err(self.empty()) };
            let is_shown = AtomicBool::new(false);
            let on_delta = |delta: &str| {
                is_shown.store(true, Ordering::Relaxed);
                (call.on_delta)(delta);
            };
            let result = replica.model.chat(request, &Call { on_delta: &on_delta, ..*call }).await;
            permit.settle(&result);
            match result {
                Err(error)
                    if moves(&error)
                        && !is_shown.load(Ordering::Relaxed)
                        && tried.len() < self.replicas.len() =>
                {
                    failure = Some(error);
                }
                result => return result,
            }
        }
    }

    fn empty(&self) -> Error {
        let message = "it has no server".to_owned();
        Error::Unavailable { backend: format!("model `{}`", self.name), message, retry_after: None }
    }
}

/// Whether another server may do better: what was refused for its content is refused everywhere.
fn moves(error: &Error) -> bool {
    !matches!(error, Error::Rejected { .. })
}
