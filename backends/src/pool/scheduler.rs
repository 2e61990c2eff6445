//! The one lock around a pool's queue and servers: who is sent where, and permits that free themselves.
//!
//! A call costs a few look-ups under the lock and no task. Only while calls wait for a server that opens by the clock
//! (its breaker's cooldown, its `Retry-After`) does a single task of the pool sleep until then: nothing else would wake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anabranch_engine::backend::{ChatResponse, Error, Priority};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

pub(crate) use self::state::Tried;
use self::state::{Acted, Counts, Granted, Refusal, State, Waiter};
use super::asked::Asked;
use super::leader::{Standing, Warmups};
use super::pace::Pace;
use super::policy::Chooser;
use super::prefix::Prefix;
use super::queue::{Full, Queue, Ticket};
use super::replica::{End, Gauges, Replica};
use super::settings::{Policy, PoolSettings, ReplicaSettings};
use super::stats::{PoolStats, Sharing};

#[cfg(test)]
mod laws;
mod state;
#[cfg(test)]
mod tests;

/// Orders calls and chooses their servers.
#[derive(Debug)]
pub(crate) struct Scheduler {
    model: String,
    policy: Policy,
    max_wait: Duration,
    /// Longest wait for a leader.
    warmup_wait: Duration,
    state: Mutex<State>,
}

impl Scheduler {
    pub(crate) fn new(
        model: &str,
        settings: &PoolSettings,
        replicas: &[(String, ReplicaSettings)],
    ) -> Arc<Self> {
        let now = Instant::now();
        let servers = replicas.iter().map(|(name, settings)| (name.as_str(), settings.weight));
        let state = State {
            queue: Queue::new(&settings.queue),
            chooser: Chooser::new(settings.policy, &settings.affinity, servers),
            replicas: replicas
                .iter()
                .map(|(name, replica)| Replica::new(name, *replica, settings, now))
                .collect(),
            loads: Vec::with_capacity(replicas.len()),
            pace: Pace::default(),
            warmups: (settings.warmup.enabled && settings.policy != Policy::External)
                .then(|| Warmups::new(&settings.warmup, replicas.len())),
            alarm: None,
            counts: Counts::default(),
        };
        Arc::new(Self {
            model: model.to_owned(),
            policy: settings.policy,
            max_wait: settings.queue.max_wait,
            warmup_wait: settings.warmup.max_wait,
            state: Mutex::new(state),
        })
    }

    /// Waits until the call may be sent; dropping the future leaves the queue.
    pub(crate) async fn admit(self: &Arc<Self>, asked: &Asked, tried: &mut Tried) -> Result<Permit, Error> {
        let now = Instant::now();
        let limit = now + self.max_wait;
        let until = asked.deadline.map_or(limit, |deadline| deadline.min(limit));
        let entered = self.enter(asked, tried, until, now).map_err(|refusal| self.error(refusal))?;
        let granted = match entered {
            Entered::Sent(granted) => granted,
            Entered::Waits(ticket, reply) => {
                let mut place = Place { scheduler: self, ticket: Some(ticket), reply };
                match timeout_at(until, &mut place.reply).await {
                    Ok(Ok(Ok(granted))) => {
                        place.ticket = None;
                        granted
                    }
                    Ok(Ok(Err(refusal))) => return Err(self.error(refusal)),
                    // The other end goes with a call that is dropped from the queue for its time.
                    Ok(Err(_)) => return Err(self.error(Refusal::Late)),
                    Err(_) => {
                        self.lock().counts.refused_late += 1;
                        return Err(self.error(Refusal::Late));
                    }
                }
            }
        };
        tried.add(granted.replica);
        Ok(Permit { scheduler: self.clone(), granted: Some(granted) })
    }

    /// Numbers of this moment.
    pub(crate) fn stats(&self) -> PoolStats {
        let now = Instant::now();
        let state = self.lock();
        let counts = &state.counts;
        let replicas = state.replicas.iter().enumerate();
        PoolStats {
            policy: self.policy,
            queued_interactive: state.queue.n_waiting(Priority::Interactive),
            queued_batch: state.queue.n_waiting(Priority::Batch),
            queued_tokens: state.queue.tokens(),
            waits: counts.waits,
            refused_full: counts.refused_full,
            refused_late: counts.refused_late,
            refused_down: counts.refused_down,
            left: counts.left,
            moved: counts.moved,
            sharing: Sharing {
                led: counts.led,
                followed: counts.followed,
                followed_late: counts.followed_late,
                ..Sharing::default()
            },
            replicas: replicas
                .map(|(idx, replica)| replica.stats(state.chooser.n_blocks(idx), now))
                .collect(),
        }
    }

    /// Leave to send one more copy of a call, to a server that it has not been sent to: if one is free, and nobody waits.
    pub(crate) fn admit_copy(self: &Arc<Self>, asked: &Asked, tried: &mut Tried) -> Option<Permit> {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            return None;
        }
        let granted = state.grant(asked, *tried, Instant::now())?;
        tried.add(granted.replica);
        Some(Permit { scheduler: self.clone(), granted: Some(granted) })
    }

    /// A call goes on to another server after `failure`.
    pub(crate) fn moved(&self, failure: &Error) {
        self.lock().counts.moved.add(failure);
    }

    /// A look at a server between calls.
    pub(crate) fn probed(self: &Arc<Self>, replica: usize, is_well: bool, gauges: Option<Gauges>) {
        let now = Instant::now();
        self.act(|state| {
            let opened =
                state.replicas.get_mut(replica).is_some_and(|found| found.probed(is_well, gauges, now));
            if opened {
                state.chooser.forget(replica);
            }
            state.dispatch(now)
        });
    }

    fn enter(
        self: &Arc<Self>,
        asked: &Asked,
        tried: &mut Tried,
        until: Instant,
        now: Instant,
    ) -> Result<Entered, Refusal> {
        let (reply, receiver) = oneshot::channel();
        self.act(|state| {
            let refused = if until <= now {
                state.counts.refused_late += 1;
                Some(Refusal::Late)
            } else {
                let down = state.down(*tried, now);
                state.counts.refused_down += u64::from(down.is_some());
                down
            };
            if let Some(refusal) = refused {
                return (Err(refusal), Vec::new(), None);
            }
            if state.queue.is_empty()
                && let Some(granted) = state.grant(asked, *tried, now)
            {
                if tried.position.is_none() {
                    state.counts.waits.add(Duration::ZERO);
                    tried.position = Some((state.queue.position(), now));
                }
                return (Ok(Entered::Sent(granted)), Vec::new(), None);
            }
            let mut replies = Vec::new();
            // A call that comes back was let in before.
            if tried.position.is_none() {
                if let Some(full) = state.queue.full(&asked.caller) {
                    state.counts.refused_full += 1;
                    return (Err(Refusal::Full(full)), replies, None);
                }
                if let Some(shed) = state.queue.shed() {
                    state.counts.refused_full += 1;
                    replies.push((shed.item.reply, Err(Refusal::Shed)));
                }
            }
            let (position, since) = *tried.position.get_or_insert_with(|| (state.queue.position(), now));
            let waiter = Waiter { asked: asked.clone(), tried: *tried, until, n_passed_over: 0, reply };
            let ticket = state.queue.push(&asked.caller, position, asked.tokens, since, waiter);
            let (sent, alarm) = state.dispatch(now).split();
            replies.extend(sent);
            (Ok(Entered::Waits(ticket, receiver)), replies, alarm)
        })
    }

    /// Changes the state under the lock, then tells whom it concerns.
    fn act<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T::Result
    where
        T: Acted,
    {
        let acted = change(&mut self.lock());
        let (result, replies, alarm) = acted.parts();
        for (reply, result) in replies {
            // Whoever has gone leaves its place to others.
            if let Err(Ok(granted)) = reply.send(result) {
                drop(Permit { scheduler: self.clone(), granted: Some(granted) });
            }
        }
        if let Some(at) = alarm {
            self.wake_at(at);
        }
        result
    }

    /// Looks at the queue again at `at`, when a server opens by the clock.
    fn wake_at(self: &Arc<Self>, at: Instant) {
        let scheduler: Weak<Self> = Arc::downgrade(self);
        // Outside a runtime nobody waits for anything.
        let Ok(runtime) = Handle::try_current() else {
            self.lock().alarm = None;
            return;
        };
        runtime.spawn(async move {
            sleep_until(at).await;
            let Some(scheduler) = scheduler.upgrade() else { return };
            scheduler.act(|state| {
                if state.alarm == Some(at) {
                    state.alarm = None;
                }
                state.dispatch(Instant::now())
            });
        });
    }

    fn finish(self: &Arc<Self>, mut granted: Granted, end: End<'_>) {
        let now = Instant::now();
        self.act(|state| {
            state.led(&mut granted, matches!(end, End::Answered(_)));
            if state.end(granted, end, now) {
                // Whoever comes back has an empty cache.
                state.chooser.forget(granted.replica);
            }
            state.dispatch(now)
        });
    }

    fn leave(self: &Arc<Self>, ticket: &Ticket) -> bool {
        self.act(|state| {
            let was_there = state.queue.remove(ticket).is_some();
            // Others may have waited behind it for its server.
            let (replies, alarm) =
                if was_there { state.dispatch(Instant::now()).split() } else { Default::default() };
            (was_there, replies, alarm)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, refusal: Refusal) -> Error {
        let backend = format!("model `{}`", self.model);
        match refusal {
            Refusal::Full(Full::Queue(max)) => Error::Overloaded {
                backend,
                message: format!("{max} calls wait for it already (`queue.max_calls`)"),
                retry_after: Some(RETRY_AFTER),
            },
            Refusal::Full(Full::Tenant(max)) => Error::Overloaded {
                backend,
                message: format!("{max} calls of the tenant wait for it already (`queue.max_calls_per_tenant`)"),
                retry_after: Some(RETRY_AFTER),
            },
            Refusal::Shed => Error::Overloaded {
                backend,
                message: "the queue is full, and a call that somebody waits for took the place of this one of a batch"
                    .to_owned(),
                retry_after: Some(RETRY_AFTER),
            },
            Refusal::Late => Error::Unreached {
                backend,
                message: "no server was free before the deadline, or within `queue.max_wait`".to_owned(),
                retry_after: None,
                is_late: true,
            },
            Refusal::Hopeless => Error::Unreached {
                backend,
                message: "no server was free soon enough to answer before the deadline".to_owned(),
                retry_after: None,
                is_late: true,
            },
            Refusal::Down(retry_after) => Error::Unreached {
                backend,
                message: "every server of it has failed and is left alone for a while (`breaker`)".to_owned(),
                retry_after,
                is_late: false,
            },
        }
    }
}

/// How long a refused caller should stay away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

enum Entered {
    Sent(Granted),
    Waits(Ticket, oneshot::Receiver<Result<Granted, Refusal>>),
}

/// A place in the queue. Dropped, it is given up.
struct Place<'a> {
    scheduler: &'a Arc<Scheduler>,
    ticket: Option<Ticket>,
    reply: oneshot::Receiver<Result<Granted, Refusal>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        if self.scheduler.leave(&ticket) {
            self.scheduler.lock().counts.left += 1;
            return;
        }
        // It was sent, or refused, and has not heard of it. From here on a reply comes back to whoever sends it.
        self.reply.close();
        if let Ok(Ok(granted)) = self.reply.try_recv() {
            drop(Permit { scheduler: self.scheduler.clone(), granted: Some(granted) });
        }
    }
}

/// Leave to send one call to one server. Dropped unsettled, it counts as given up.
#[derive(Debug)]
pub(crate) struct Permit {
    scheduler: Arc<Scheduler>,
    granted: Option<Granted>,
}

impl Permit {
    /// The server that the call goes to.
    pub(crate) fn replica(&self) -> usize {
        self.granted.map_or(0, |granted| granted.replica)
    }

    /// Waits for a call that begins alike and has been sent to the server before, until that has been read.
    pub(crate) async fn follow(&mut self, prefix: &Prefix) {
        let Some(mut blocks) = self.granted.and_then(|granted| granted.follows) else { return };
        let until = Instant::now() + self.scheduler.warmup_wait;
        self.scheduler.lock().counts.followed += 1;
        loop {
            let Some(granted) = &mut self.granted else { return };
            let standing = self.scheduler.lock().stand(granted.replica, prefix, blocks);
            match standing {
                Standing::Free => return,
                Standing::Leads(id) => {
                    granted.leads = Some(id);
                    return;
                }
                Standing::Follows(following) => {
                    let Ok(read) = timeout_at(until, following.wait()).await else {
                        self.scheduler.lock().counts.followed_late += 1;
                        return;
                    };
                    // None, if it failed: then the first to come here leads.
                    blocks = blocks.max(read);
                }
            }
        }
    }

    /// The server has read the prompt: whoever waits for that goes on.
    pub(crate) fn begun(&self, is_told: &AtomicBool) {
        let Some(mut granted) = self.granted.filter(|granted| granted.leads.is_some()) else { return };
        if !is_told.swap(true, Ordering::Relaxed) {
            self.scheduler.lock().led(&mut granted, true);
        }
    }

    /// Says what came of the call, and frees its place.
    pub(crate) fn settle(mut self, result: &Result<ChatResponse, Error>) {
        let Some(granted) = self.granted.take() else { return };
        let end = match result {
            Ok(response) => End::Answered(response.usage),
            Err(error) => End::Failed(error),
        };
        self.scheduler.finish(granted, end);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(granted) = self.granted.take() {
            self.scheduler.finish(granted, End::GivenUp);
        }
    }
}
