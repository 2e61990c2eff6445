//! The one lock around a pool's queue and servers: who is sent where, and permits that free themselves.
//!
//! A call costs a few look-ups under the lock and no task. Only while calls wait for a server that opens by the clock
//! (its breaker's cooldown, its `Retry-After`) does a single task of the pool sleep until then: nothing else would wake.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anabranch_engine::backend::{ChatResponse, Error, Priority};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::asked::Asked;
use super::policy::{Chooser, Load, Room};
use super::queue::{Full, Position, Queue, Ticket, Waiting};
use super::replica::{End, Gauges, Replica, Sent};
use super::settings::{Policy, PoolSettings, ReplicaSettings};
use super::stats::{PoolStats, Waits};

#[cfg(test)]
mod tests;

/// How many runs are looked at for one whose prompt the only free server has in its cache.
const LOOK_AHEAD: usize = 8;
/// How much more of a prompt another server must have before a call waits for it while others go first.
const WORTH_WAITING: f64 = 0.5;
/// How often a call lets others go first for that.
const PASSED_OVER_MAX: u32 = 16;

/// Orders calls and chooses their servers.
#[derive(Debug)]
pub(crate) struct Scheduler {
    model: String,
    policy: Policy,
    max_wait: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Waiter>,
    chooser: Chooser,
    replicas: Vec<Replica>,
    loads: Vec<Load>,
    /// When the sleeping task wakes, if there is one.
    alarm: Option<Instant>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    waits: Waits,
    refused_full: u64,
    refused_late: u64,
    refused_down: u64,
    left: u64,
    moved: u64,
}

/// A call in the queue.
#[derive(Debug)]
struct Waiter {
    asked: Asked,
    tried: Tried,
    until: Instant,
    n_passed_over: u32,
    reply: oneshot::Sender<Result<Granted, Refusal>>,
}

/// A place at a server.
#[derive(Debug, Clone, Copy)]
struct Granted {
    replica: usize,
    sent: Sent,
}

/// Why a call is not sent.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Full(Full),
    /// It made room for one that somebody waits for.
    Shed,
    Late,
    /// Every server that it may go to is down; the first is tried again then.
    Down(Option<Duration>),
}

/// The servers that a call has been sent to, and since when it has been on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    replicas: u64,
    position: Option<(Position, Instant)>,
}

impl Tried {
    fn contains(self, replica: usize) -> bool {
        self.replicas & (1 << (replica % u64::BITS as usize)) != 0
    }

    fn add(&mut self, replica: usize) {
        self.replicas |= 1 << (replica % u64::BITS as usize);
    }

    pub(crate) fn len(self) -> usize {
        self.replicas.count_ones() as usize
    }
}

/// Replies that are given once the lock is free: a reply that nobody takes comes back, and frees its place.
type Replies = Vec<(oneshot::Sender<Result<Granted, Refusal>>, Result<Granted, Refusal>)>;

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
            alarm: None,
            counts: Counts::default(),
        };
        Arc::new(Self {
            model: model.to_owned(),
            policy: settings.policy,
            max_wait: settings.queue.max_wait,
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
            replicas: replicas
                .map(|(idx, replica)| replica.stats(state.chooser.n_blocks(idx), now))
                .collect(),
        }
    }

    /// A call goes on to another server.
    pub(crate) fn moved(&self) {
        self.lock().counts.moved += 1;
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
        let entered = self.act(|state| {
            let refused = if until <= now {
                state.counts.refused_late += 1;
                Some(Refusal::Late)
            } else if let Some(opens) = state.down(*tried, now) {
                state.counts.refused_down += 1;
                Some(Refusal::Down(opens))
            } else {
                None
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
        });
        entered
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

    fn finish(self: &Arc<Self>, granted: Granted, end: End<'_>) {
        let now = Instant::now();
        self.act(|state| {
            let replica = state.replicas.get_mut(granted.replica);
            if replica.is_some_and(|replica| replica.end(granted.sent, end, now)) {
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
            Refusal::Late => Error::TimedOut {
                backend,
                message: "no server was free before the deadline, or within `queue.max_wait`".to_owned(),
            },
            Refusal::Down(retry_after) => Error::Unavailable {
                backend,
                message: "every server of it has failed and is left alone for a while (`breaker`)".to_owned(),
                retry_after,
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

/// What came of a look at the queue.
#[derive(Debug, Default)]
struct Dispatched {
    replies: Replies,
    alarm: Option<Instant>,
}

impl Dispatched {
    fn split(self) -> (Replies, Option<Instant>) {
        (self.replies, self.alarm)
    }
}

/// What a change of the state leaves to be done without the lock.
trait Acted {
    type Result;
    fn parts(self) -> (Self::Result, Replies, Option<Instant>);
}

impl Acted for Dispatched {
    type Result = ();
    fn parts(self) -> ((), Replies, Option<Instant>) {
        ((), self.replies, self.alarm)
    }
}

impl<T> Acted for (T, Replies, Option<Instant>) {
    type Result = T;
    fn parts(self) -> Self {
        self
    }
}

impl State {
    /// Sends whatever can be sent, in order.
    fn dispatch(&mut self, now: Instant) -> Dispatched {
        let mut replies = Vec::new();
        while let Some(head) = self.queue.head(now) {
            let (ticket, until, tried) = (head.ticket.clone(), head.item.until, head.item.tried);
            if until <= now {
                // Its own timer says so.
                self.queue.remove(&ticket);
                self.counts.refused_late += 1;
                continue;
            }
            if let Some(opens) = self.down(tried, now) {
                if let Some(waiting) = self.queue.remove(&ticket) {
                    self.counts.refused_down += 1;
                    replies.push((waiting.item.reply, Err(Refusal::Down(opens))));
                }
                continue;
            }
            let Some(ticket) = self.next(ticket, now) else { break };
            let Some(waiting) = self.queue.take(&ticket) else { break };
            let Waiting { since, item, .. } = waiting;
            match self.grant(&item.asked, item.tried, now) {
                Some(granted) => {
                    self.counts.waits.add(now.saturating_duration_since(since));
                    replies.push((item.reply, Ok(granted)));
                }
                // `next` has seen room for it.
                None => break,
            }
        }
        let alarm = if self.queue.is_empty() { None } else { self.alarm(now) };
        Dispatched { replies, alarm }
    }

    /// The call to send next: the head, or another one where the only free server has much more of its prompt.
    fn next(&mut self, head: Ticket, now: Instant) -> Option<Ticket> {
        let waiting = self.queue.head(now)?;
        self.loads.clear();
        let (tokens, tried) = (waiting.tokens, waiting.item.tried);
        fill(&mut self.loads, &self.replicas, tokens, tried, now);
        let mut free = self.loads.iter().enumerate().filter(|(_, load)| load.room == Room::Free);
        let (only, _) = free.next()?;
        if free.next().is_some() || waiting.item.n_passed_over >= PASSED_OVER_MAX {
            return Some(head);
        }
        let is_at_home = |waiting: &Waiting<Waiter>| {
            let prefix = &waiting.item.asked.prefix;
            let here = self.chooser.warmth(only, prefix);
            let up = self.loads.iter().enumerate().filter(|(_, load)| load.room != Room::Down);
            let best = up.map(|(idx, _)| self.chooser.warmth(idx, prefix)).fold(0.0, f64::max);
            best - here < WORTH_WAITING
        };
        let fits = |waiting: &Waiting<Waiter>| {
            let has_room = self
                .replicas
                .get(only)
                .is_some_and(|replica| replica.load(waiting.tokens, now).room == Room::Free);
            has_room && !waiting.item.tried.contains(only) && waiting.item.until > now
        };
        if is_at_home(waiting) {
            return Some(head);
        }
        let found = self.queue.heads(now, LOOK_AHEAD).find(|other| fits(other) && is_at_home(other));
        match found.map(|found| found.ticket.clone()) {
            Some(found) if found != head => {
                if let Some(waiting) = self.queue.get_mut(&head) {
                    waiting.item.n_passed_over += 1;
                }
                Some(found)
            }
            _ => Some(head),
        }
    }

    /// Sends a call to the best server that has room for it.
    fn grant(&mut self, asked: &Asked, tried: Tried, now: Instant) -> Option<Granted> {
        self.loads.clear();
        fill(&mut self.loads, &self.replicas, asked.tokens, tried, now);
        let replica = self.chooser.choose(&self.loads, asked.wish())?;
        let sent = self.replicas.get_mut(replica)?.send(asked.tokens, now);
        Some(Granted { replica, sent })
    }

    /// When the first server opens, if every one that is left for a call is down.
    fn down(&self, tried: Tried, now: Instant) -> Option<Option<Duration>> {
        let mut left = self.replicas.iter().enumerate().filter(|(idx, _)| !tried.contains(*idx));
        if left.any(|(_, replica)| !replica.is_down(now)) {
            return None;
        }
        let opens = self.replicas.iter().filter_map(|replica| replica.opens_at(now)).min();
        Some(opens.map(|at| at.saturating_duration_since(now)))
    }

    /// When to look again, unless somebody will already.
    fn alarm(&mut self, now: Instant) -> Option<Instant> {
        let at = self.replicas.iter().filter_map(|replica| replica.opens_at(now)).min()?;
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= at) {
            return None;
        }
        self.alarm = Some(at);
        self.alarm
    }
}

fn fill(loads: &mut Vec<Load>, replicas: &[Replica], tokens: u64, tried: Tried, now: Instant) {
    loads.extend(replicas.iter().enumerate().map(|(idx, replica)| {
        let load = replica.load(tokens, now);
        if tried.contains(idx) { Load { room: Room::Down, ..load } } else { load }
    }));
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
