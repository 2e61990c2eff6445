//! Identical deterministic calls that are in flight at once share one.
//!
//! A flight is one future that all of its members hold and poll: whoever began it may go away, and the others go on with
//! what has come so far. When the last one goes, the call is given up. Nothing is spawned.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anabranch_engine::backend::{Call, Caller, ChatRequest, ChatResponse, Error, Priority, Usage};
use anabranch_engine::event::FailureKind;
use anabranch_engine::value::Text;
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture, Shared, WeakShared};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[cfg(test)]
mod tests;

/// How often a call joins another flight because the deadline of the one before was that of a call with less time.
const FLIGHTS_MAX: usize = 16;

/// Whether the same answer is to be expected whenever `request` is asked.
pub(crate) fn is_deterministic(request: &ChatRequest) -> bool {
    request.temperature == Some(0.0) || request.seed.is_some()
}

/// What another call's answer costs whoever it is given to.
pub(crate) const SHARED: Usage = Usage {
    tool_calls: 0,
    model_calls: 0,
    encoder_calls: 0,
    prompt_tokens: 0,
    cached_tokens: 0,
    shareable_tokens: 0,
    unanswered_calls: 0,
    completion_tokens: 0,
    shared_calls: 1,
    cost: 0.0,
};

/// A call that outlives whoever made it.
#[derive(Debug, Clone)]
pub(crate) struct OwnedCall {
    idempotency_key: String,
    caller: Caller,
    deadline: Option<Instant>,
    is_idempotent: bool,
    trace: Option<String>,
}

impl OwnedCall {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        Self {
            idempotency_key: call.idempotency_key.to_owned(),
            caller: call.caller.clone(),
            deadline: call.deadline,
            is_idempotent: call.is_idempotent,
            trace: call.trace.map(str::to_owned),
        }
    }

    /// Names the call.
    pub(crate) fn key(&self) -> &str {
        &self.idempotency_key
    }

    /// The call, with whoever follows it told of its progress.
    pub(crate) fn with<'a>(
        &'a self,
        on_delta: &'a (dyn Fn(&str) + Send + Sync),
        on_first_token: &'a (dyn Fn() + Send + Sync),
    ) -> Call<'a> {
        Call {
            idempotency_key: &self.idempotency_key,
            on_delta,
            on_first_token,
            caller: &self.caller,
            deadline: self.deadline,
            is_idempotent: self.is_idempotent,
            trace: self.trace.as_deref(),
        }
    }
}

type Outcome = Result<Arc<ChatResponse>, Error>;
type Work = BoxFuture<'static, Outcome>;

/// Whose call, and what it asks. Tenants share nothing; a call that somebody waits for never waits behind one of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: Option<Text>,
    priority: Priority,
    request: [u8; blake3::OUT_LEN],
}

/// The flights under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    known: Mutex<HashMap<Key, Known>>,
    next: AtomicU64,
    n_shared: AtomicU64,
}

#[derive(Debug)]
struct Known {
    id: u64,
    work: WeakShared<Work>,
    flight: Weak<Flight>,
}

/// What the members of a flight know of it.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The answer so far, for those who come late.
    text: Mutex<String>,
    has_begun: AtomicBool,
    /// Tells members that there is more to show, or that somebody else has to poll.
    changed: Notify,
    members: Mutex<Members>,
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    present: BTreeSet<u64>,
    /// Who books what the call took.
    payer: Option<u64>,
}

impl Flight {
    /// The model has begun to answer.
    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// More of the answer.
    pub(crate) fn add(&self, delta: &str) {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(delta);
        self.changed.notify_waiters();
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flights {
    /// Calls that another one's answer was given to.
    pub(crate) fn n_shared(&self) -> u64 {
        self.n_shared.load(Ordering::Relaxed)
    }

    /// The answer to `request` for `call`: of a flight that asks the same for the same tenant, or of a new one that does
    /// what `start` says.
    pub(crate) async fn share(
        self: &Arc<Self>,
        model: &str,
        request: blake3::Hash,
        call: &Call<'_>,
        start: impl Fn(Arc<Flight>) -> BoxFuture<'static, Result<ChatResponse, Error>>,
    ) -> Result<ChatResponse, Error> {
        let Caller { tenant, priority, .. } = call.caller;
        let key = Key { tenant: tenant.clone(), priority: *priority, request: *request.as_bytes() };
        let mut result = Err(late(model));
        for _ in 0..FLIGHTS_MAX {
            let member = self.join(&key, call.deadline, &start);
            let mut shown = Shown::default();
            result = member.follow(model, call, &mut shown).await;
            if let Ok(response) = &mut result
                && !member.pays()
            {
                response.usage = SHARED;
                self.n_shared.fetch_add(1, Ordering::Relaxed);
            }
            // Its deadline was not ours.
            let has_time = |end: Instant| call.deadline.is_none_or(|own| own > end);
            let was_cut = matches!(&result, Err(error) if error.kind() == FailureKind::TimedOut)
                && !member.is_first
                && !shown.has_begun
                && member.flight.deadline.is_some_and(|end| end <= Instant::now() && has_time(end));
            if !was_cut {
                break;
            }
        }
        result
    }

    fn join(
        self: &Arc<Self>,
        key: &Key,
        deadline: Option<Instant>,
        start: impl Fn(Arc<Flight>) -> BoxFuture<'static, Result<ChatResponse, Error>>,
    ) -> Member {
        let mut known = self.lock();
        // Who can wait may as well follow one that is in a hurry.
        let ahead = Key { priority: Priority::Interactive, ..key.clone() };
        for key in [&ahead, key] {
            let found = known.get(key).and_then(|known| known.work.upgrade().zip(known.flight.upgrade()));
            if let Some((work, flight)) = found {
                return Member::new(work, flight, false);
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::new(Flight {
            text: Mutex::default(),
            has_begun: AtomicBool::new(false),
            changed: Notify::new(),
            members: Mutex::default(),
            deadline,
        });
        let landing =
            Landing { flights: Arc::downgrade(self), key: key.clone(), id, _flight: flight.clone() };
        let call = start(flight.clone());
        let work: Work = Box::pin(async move {
            let _landing = landing;
            call.await.map(Arc::new)
        });
        let work = work.shared();
        if let Some(weak) = work.downgrade() {
            known.insert(key.clone(), Known { id, work: weak, flight: Arc::downgrade(&flight) });
        }
        Member::new(work, flight, true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Part of a flight: dropped with it, however it ends, it makes way for the next one.
struct Landing {
    flights: Weak<Flights>,
    key: Key,
    id: u64,
    /// There for as long as it can be found.
    _flight: Arc<Flight>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let Some(flights) = self.flights.upgrade() else { return };
        let mut known = flights.lock();
        if known.get(&self.key).is_some_and(|known| known.id == self.id) {
            known.remove(&self.key);
        }
    }
}

/// What a member has been shown.
#[derive(Debug, Default)]
struct Shown {
    has_begun: bool,
    n_bytes: usize,
}

/// One call of a flight.
struct Member {
    work: Shared<Work>,
    flight: Arc<Flight>,
    id: u64,
    is_first: bool,
}

impl Member {
    fn new(work: Shared<Work>, flight: Arc<Flight>, is_first: bool) -> Self {
        let mut members = flight.members();
        let id = members.next;
        members.next += 1;
        members.present.insert(id);
        drop(members);
        Self { work, flight, id, is_first }
    }

    /// Waits for the answer, and shows what comes of it.
    async fn follow(&self, model: &str, call: &Call<'_>, shown: &mut Shown) -> Result<ChatResponse, Error> {
        let mut work = self.work.clone();
        // The first one's deadline is that of the call.
        let deadline = call.deadline.filter(|_| !self.is_first);
        let mut late = std::pin::pin!(OptionFuture::from(deadline.map(sleep_until)));
        loop {
            let mut changed = std::pin::pin!(self.flight.changed.notified());
            changed.as_mut().enable();
            self.show(call, shown);
            tokio::select! {
                biased;
                outcome = &mut work => {
                    self.show(call, shown);
                    return outcome.map(Arc::unwrap_or_clone);
                }
                () = &mut changed => {}
                Some(()) = &mut late, if deadline.is_some() => return Err(self::late(model)),
            }
        }
    }

    fn show(&self, call: &Call<'_>, shown: &mut Shown) {
        if !shown.has_begun && self.flight.has_begun.load(Ordering::Acquire) {
            shown.has_begun = true;
            (call.on_first_token)();
        }
        let text = self.flight.text.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(new) = text.get(shown.n_bytes..).filter(|new| !new.is_empty()) else { return };
        let new = new.to_owned();
        shown.n_bytes = text.len();
        // Whoever is shown something may do as it likes, for as long as it likes.
        drop(text);
        shown.has_begun = true;
        (call.on_delta)(&new);
    }

    /// Whether this call books what the flight took: of those that are still there the first.
    fn pays(&self) -> bool {
        let mut members = self.flight.members();
        let first = members.present.first().copied().unwrap_or(self.id);
        *members.payer.get_or_insert(first) == self.id
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.flight.members().present.remove(&self.id);
        // It may have been the one that was to poll next.
        self.flight.changed.notify_waiters();
    }
}

fn late(model: &str) -> Error {
    Error::TimedOut {
        backend: format!("model `{model}`"),
        message: "the identical call that this one shares was not answered before the deadline".to_owned(),
    }
}
