//! What stands under the scheduler's lock: the queue, the servers, and the decision who goes where next.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::asked::Asked;
use super::super::leader::{Standing, Warmups};
use super::super::pace::Pace;
use super::super::policy::{Choice, Chooser, Load, Room};
use super::super::prefix::Prefix;
use super::super::queue::{Full, Position, Queue, Ticket, Waiting};
use super::super::replica::{End, Replica, Sent};
use super::super::stats::{Moved, Times};

/// How many runs are looked at for one whose prompt the only free server has in its cache.
const LOOK_AHEAD: usize = 8;
/// How much more of a prompt another server must have before a call waits for it while others go first.
const WORTH_WAITING: f64 = 0.1;
/// How often a call lets others go first for that.
const PASSED_OVER_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue<Waiter>,
    pub(super) chooser: Chooser,
    pub(super) replicas: Vec<Replica>,
    pub(super) loads: Vec<Load>,
    pub(super) pace: Pace,
    /// None where calls do not wait for the first that begins alike.
    pub(super) warmups: Option<Warmups>,
    /// When the sleeping task wakes, if there is one.
    pub(super) alarm: Option<Instant>,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) waits: Times,
    pub(super) refused_full: u64,
    pub(super) refused_late: u64,
    pub(super) refused_down: u64,
    pub(super) left: u64,
    pub(super) moved: Moved,
    pub(super) led: u64,
    pub(super) followed: u64,
    pub(super) followed_late: u64,
}

/// A call in the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asked: Asked,
    pub(super) tried: Tried,
    pub(super) until: Instant,
    pub(super) n_passed_over: u32,
    pub(super) reply: oneshot::Sender<Result<Granted, Refusal>>,
}

/// A place at a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    pub(super) replica: usize,
    pub(super) sent: Sent,
    /// Tokens that it reads and may write.
    pub(super) tokens: u64,
    /// After which nobody wants the answer.
    pub(super) deadline: Option<Instant>,
    /// Its name as a leader, if others may wait for it.
    pub(super) leads: Option<u64>,
    /// Blocks of its prompt that had been read there before its leader came, if it has to wait for one.
    pub(super) follows: Option<usize>,
}

/// Why a call is not sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    Full(Full),
    /// It made room for one that somebody waits for.
    Shed,
    Late,
    /// It could not have been answered in time, and others can.
    Hopeless,
    /// Every server that it may go to is down; the first is tried again then.
    Down(Option<Duration>),
}

/// The servers that a call has been sent to, and since when it has been on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    replicas: u64,
    pub(super) position: Option<(Position, Instant)>,
}

impl Tried {
    fn contains(self, replica: usize) -> bool {
        self.replicas & (1 << (replica % u64::BITS as usize)) != 0
    }

    pub(super) fn add(&mut self, replica: usize) {
        self.replicas |= 1 << (replica % u64::BITS as usize);
    }

    pub(crate) fn len(self) -> usize {
        self.replicas.count_ones() as usize
    }
}

/// Replies that are given once the lock is free: a reply that nobody takes comes back, and frees its place.
pub(super) type Replies = Vec<(oneshot::Sender<Result<Granted, Refusal>>, Result<Granted, Refusal>)>;

/// What came of a look at the queue.
#[derive(Debug, Default)]
pub(super) struct Dispatched {
    pub(super) replies: Replies,
    pub(super) alarm: Option<Instant>,
}

impl Dispatched {
    pub(super) fn split(self) -> (Replies, Option<Instant>) {
        (self.replies, self.alarm)
    }
}

/// What a change of the state leaves to be done without the lock.
pub(super) trait Acted {
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
    pub(super) fn dispatch(&mut self, now: Instant) -> Dispatched {
        let mut replies = Vec::new();
        while let Some(head) = self.queue.head(now) {
            let (ticket, until, tried) = (head.ticket.clone(), head.item.until, head.item.tried);
            if until <= now {
                // Its own timer says so.
                self.queue.remove(&ticket);
                self.counts.refused_late += 1;
                continue;
            }
            if self.is_hopeless(head, now) {
                if let Some(waiting) = self.queue.remove(&ticket) {
                    self.counts.refused_late += 1;
                    replies.push((waiting.item.reply, Err(Refusal::Hopeless)));
                }
                continue;
            }
            if let Some(refusal) = self.down(tried, now) {
                if let Some(waiting) = self.queue.remove(&ticket) {
                    self.counts.refused_down += 1;
                    replies.push((waiting.item.reply, Err(refusal)));
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

    /// Whether a call would only take a place from others that wait. The last one is sent in any case: it may turn out
    /// otherwise.
    fn is_hopeless(&self, waiting: &Waiting<Waiter>, now: Instant) -> bool {
        let Some(deadline) = waiting.item.asked.deadline else { return false };
        self.queue.len() > 1 && self.pace.is_hopeless(waiting.tokens, waiting.since, deadline, now)
    }

    /// The call to send next: the head, or another one where the only free server has much more of its prompt, or has
    /// failed the head before.
    fn next(&mut self, head: Ticket, now: Instant) -> Option<Ticket> {
        let waiting = self.queue.head(now)?;
        self.loads.clear();
        let (tokens, tried) = (waiting.tokens, waiting.item.tried);
        fill(&mut self.loads, &self.replicas, tokens, tried, now);
        let mut free = self.loads.iter().enumerate().filter(|(_, load)| load.room == Room::Free);
        let Some((only, _)) = free.next() else { return self.other(now) };
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

    /// The first call that may go to a server with room when the head may not, since that server has failed it.
    fn other(&self, now: Instant) -> Option<Ticket> {
        let may_go = |waiting: &Waiting<Waiter>| {
            let mut replicas = self.replicas.iter().enumerate();
            replicas.any(|(idx, replica)| {
                !waiting.item.tried.contains(idx) && replica.load(waiting.tokens, now).room == Room::Free
            })
        };
        let head = self.queue.head(now)?;
        // A call that waits for room for its many tokens is not passed by smaller ones, or it would wait for ever.
        let is_free = |replica: &Replica| replica.load(head.tokens, now).room == Room::Free;
        if head.item.tried.len() == 0 || !self.replicas.iter().any(is_free) {
            return None;
        }
        let mut heads = self.queue.heads(now, LOOK_AHEAD);
        heads
            .find(|waiting| waiting.item.until > now && may_go(waiting))
            .map(|waiting| waiting.ticket.clone())
    }

    /// A call has ended. Whether its server has failed too often with it.
    pub(super) fn end(&mut self, granted: Granted, end: End<'_>, now: Instant) -> bool {
        let took = now.saturating_duration_since(granted.sent.at);
        match end {
            End::Answered(_) => self.pace.answered(granted.tokens, took),
            End::GivenUp if granted.deadline.is_some_and(|deadline| deadline <= now) => {
                self.pace.given_up(granted.tokens, took);
            }
            End::GivenUp | End::Failed(_) => {}
        }
        self.replicas.get_mut(granted.replica).is_some_and(|replica| replica.end(granted.sent, end, now))
    }

    /// Sends a call to the best server that has room for it.
    pub(super) fn grant(&mut self, asked: &Asked, tried: Tried, now: Instant) -> Option<Granted> {
        self.loads.clear();
        fill(&mut self.loads, &self.replicas, asked.tokens, tried, now);
        let Choice { server: replica, sent: blocks } = self.chooser.choose(&self.loads, asked.wish())?;
        let sent = self.replicas.get_mut(replica)?.send(asked.tokens, now);
        // Under the same lock as the choice: whoever is sent next finds a leader that has not begun.
        let (leads, follows) = match self.stand(replica, &asked.prefix, blocks) {
            Standing::Free => (None, None),
            Standing::Leads(id) => (Some(id), None),
            Standing::Follows(following) => (None, Some(following.warm)),
        };
        Some(Granted { replica, sent, tokens: asked.tokens, deadline: asked.deadline, leads, follows })
    }

    /// How a call with `prefix` stands to others at `replica`, which has been sent `blocks` of it.
    pub(super) fn stand(&mut self, replica: usize, prefix: &Prefix, blocks: usize) -> Standing {
        let warmups = self.warmups.as_mut();
        let standing = warmups.map_or(Standing::Free, |warmups| warmups.stand(replica, prefix, blocks));
        if matches!(standing, Standing::Leads(_)) {
            self.counts.led += 1;
        }
        standing
    }

    /// A leader has been read, or never will be.
    pub(super) fn led(&mut self, granted: &mut Granted, is_read: bool) {
        if let (Some(warmups), Some(id)) = (&mut self.warmups, granted.leads.take()) {
            warmups.end(granted.replica, id, is_read);
        }
    }

    /// What a call is told if every server that is left for it is down: when the first opens.
    pub(super) fn down(&self, tried: Tried, now: Instant) -> Option<Refusal> {
        let mut left = self.replicas.iter().enumerate().filter(|(idx, _)| !tried.contains(*idx));
        if left.any(|(_, replica)| !replica.is_down(now)) {
            return None;
        }
        let opens = self.replicas.iter().filter_map(|replica| replica.opens_at(now)).min();
        Some(Refusal::Down(opens.map(|at| at.saturating_duration_since(now))))
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
