//! The order in which waiting calls are sent: those that somebody waits for before those of batches, tenants by their
//! fair share, runs within a tenant by theirs, and the calls of a run as they came.
//!
//! Pure: time is passed in, nothing is awaited. Every operation costs the logarithm of what waits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anabranch_engine::backend::{Caller, Priority};
use anabranch_engine::value::Text;
use tokio::time::Instant;

use super::settings::QueueSettings;
use shares::Shares;

mod shares;
#[cfg(test)]
mod tests;

/// A tenant or a run; calls of which none is known are one.
type Key = Option<Text>;

/// Of this many places a call of a batch that has aged gets one, whatever else waits.
pub(crate) const AGED_SHARE: u32 = 4;

/// Calls that wait, with `T` to tell each of them.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    max_calls: usize,
    max_calls_per_tenant: usize,
    batch_age: Duration,
    interactive: Class<T>,
    batch: Class<T>,
    /// How many calls of each tenant wait.
    by_tenant: HashMap<Key, usize>,
    next: u64,
    /// Places since a batch had its turn.
    n_since_batch: u32,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    /// Where it stands.
    pub(crate) ticket: Ticket,
    /// Tokens that it reads and may write.
    pub(crate) tokens: u64,
    /// Since when it has waited.
    pub(crate) since: Instant,
    /// What tells it.
    pub(crate) item: T,
}

/// Where a call stands, to find it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    priority: Priority,
    tenant: Key,
    run: Key,
    position: Position,
}

/// When a call came, in the order of all calls. One that comes back after a failed attempt keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(u64);

/// Why a call may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many calls wait as may.
    Queue(usize),
    /// As many of its tenant.
    Tenant(usize),
}

impl<T> Queue<T> {
    pub(crate) fn new(settings: &QueueSettings) -> Self {
        let max_calls = settings.max_calls.get();
        Self {
            max_calls,
            max_calls_per_tenant: settings.max_calls_per_tenant.map_or(usize::MAX, std::num::NonZero::get),
            batch_age: settings.batch_age,
            interactive: Class::default(),
            batch: Class::default(),
            by_tenant: HashMap::new(),
            next: 0,
            n_since_batch: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls of this priority that wait.
    pub(crate) fn n_waiting(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.batch.len(),
        }
    }

    /// Tokens of all calls that wait.
    pub(crate) fn tokens(&self) -> u64 {
        self.interactive.tokens + self.batch.tokens
    }

    /// A place in the order of arrival.
    pub(crate) fn position(&mut self) -> Position {
        self.next += 1;
        Position(self.next)
    }

    /// Whether a call of `caller` finds no room. One that somebody waits for takes that of a call of a batch: see
    /// [`Queue::shed`].
    pub(crate) fn full(&self, caller: &Caller) -> Option<Full> {
        let of_tenant = self.by_tenant.get(&caller.tenant).copied().unwrap_or_default();
        if of_tenant >= self.max_calls_per_tenant {
            return Some(Full::Tenant(self.max_calls_per_tenant));
        }
        let may_shed = caller.priority == Priority::Interactive && self.batch.len() > 0;
        (self.len() >= self.max_calls && !may_shed).then_some(Full::Queue(self.max_calls))
    }

    /// Takes out the latest call of a batch if as many calls wait as may.
    pub(crate) fn shed(&mut self) -> Option<Waiting<T>> {
        if self.len() < self.max_calls {
            return None;
        }
        let ticket = self.batch.arrivals.last_key_value()?.1.clone();
        self.remove(&ticket)
    }

    /// Adds a call that came at `position`, whether there is room or not.
    pub(crate) fn push(
        &mut self,
        caller: &Caller,
        position: Position,
        tokens: u64,
        since: Instant,
        item: T,
    ) -> Ticket {
        let (tenant, run) = (caller.tenant.clone(), caller.run.clone());
        let ticket = Ticket { priority: caller.priority, tenant, run, position };
        *self.by_tenant.entry(ticket.tenant.clone()).or_default() += 1;
        self.class_mut(ticket.priority).push(Waiting { ticket: ticket.clone(), tokens, since, item });
        ticket
    }

    /// The call whose turn it is.
    pub(crate) fn head(&self, now: Instant) -> Option<&Waiting<T>> {
        self.class(self.turn(now)?).head()
    }

    /// Takes out the call whose turn it is, and books its place.
    #[cfg(test)]
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Waiting<T>> {
        let priority = self.turn(now)?;
        let ticket = self.class(priority).head()?.ticket.clone();
        self.take(&ticket)
    }

    /// Takes out a call that is sent, although it may not be its turn, and books its place.
    pub(crate) fn take(&mut self, ticket: &Ticket) -> Option<Waiting<T>> {
        let waiting = self.class_mut(ticket.priority).remove(ticket, true)?;
        match ticket.priority {
            Priority::Batch => self.n_since_batch = 0,
            Priority::Interactive => self.n_since_batch = self.n_since_batch.saturating_add(1),
        }
        self.forget(&ticket.tenant);
        Some(waiting)
    }

    /// Takes out a call that is not sent.
    pub(crate) fn remove(&mut self, ticket: &Ticket) -> Option<Waiting<T>> {
        let waiting = self.class_mut(ticket.priority).remove(ticket, false)?;
        self.forget(&ticket.tenant);
        Some(waiting)
    }

    /// A call that waits.
    pub(crate) fn get_mut(&mut self, ticket: &Ticket) -> Option<&mut Waiting<T>> {
        let tenant = self.class_mut(ticket.priority).tenants.get_mut(&ticket.tenant)?;
        tenant.runs.get_mut(&ticket.run)?.get_mut(&ticket.position)
    }

    /// The first calls of up to `n` runs of the tenant whose turn it is, in their order.
    pub(crate) fn heads(&self, now: Instant, n: usize) -> impl Iterator<Item = &Waiting<T>> {
        let tenant = self.turn(now).and_then(|priority| self.class(priority).first_tenant());
        tenant.into_iter().flat_map(move |tenant| tenant.heads().take(n))
    }

    /// Whose turn it is.
    fn turn(&self, now: Instant) -> Option<Priority> {
        match (self.interactive.len(), self.batch.len()) {
            (0, 0) => None,
            (0, _) => Some(Priority::Batch),
            (_, 0) => Some(Priority::Interactive),
            _ => {
                let oldest = self.batch.arrivals.first_key_value();
                let oldest = oldest.and_then(|(_, ticket)| self.batch.get(ticket));
                let has_aged = oldest.is_some_and(|oldest| now >= oldest.since + self.batch_age);
                let is_due = has_aged && self.n_since_batch + 1 >= AGED_SHARE;
                Some(if is_due { Priority::Batch } else { Priority::Interactive })
            }
        }
    }

    fn class(&self, priority: Priority) -> &Class<T> {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }

    fn class_mut(&mut self, priority: Priority) -> &mut Class<T> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    fn forget(&mut self, tenant: &Key) {
        if let Some(count) = self.by_tenant.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                self.by_tenant.remove(tenant);
            }
        }
    }
}

/// The calls of one priority.
#[derive(Debug)]
struct Class<T> {
    shares: Shares<Key>,
    tenants: HashMap<Key, Tenant<T>>,
    /// All of them as they came.
    arrivals: BTreeMap<Position, Ticket>,
    tokens: u64,
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { shares: Shares::default(), tenants: HashMap::new(), arrivals: BTreeMap::new(), tokens: 0 }
    }
}

impl<T> Class<T> {
    fn len(&self) -> usize {
        self.arrivals.len()
    }

    fn push(&mut self, waiting: Waiting<T>) {
        let ticket = waiting.ticket.clone();
        self.tokens += waiting.tokens;
        self.shares.join(&ticket.tenant);
        self.tenants.entry(ticket.tenant.clone()).or_default().push(waiting);
        self.arrivals.insert(ticket.position, ticket);
    }

    fn first_tenant(&self) -> Option<&Tenant<T>> {
        self.tenants.get(self.shares.first()?)
    }

    fn head(&self) -> Option<&Waiting<T>> {
        self.first_tenant()?.heads().next()
    }

    fn get(&self, ticket: &Ticket) -> Option<&Waiting<T>> {
        self.tenants.get(&ticket.tenant)?.runs.get(&ticket.run)?.get(&ticket.position)
    }

    fn remove(&mut self, ticket: &Ticket, is_sent: bool) -> Option<Waiting<T>> {
        let tenant = self.tenants.get_mut(&ticket.tenant)?;
        let waiting = tenant.remove(ticket, is_sent)?;
        if is_sent {
            self.shares.charge(&ticket.tenant, waiting.tokens);
        }
        if tenant.runs.is_empty() {
            self.tenants.remove(&ticket.tenant);
            self.shares.leave(&ticket.tenant);
        }
        self.arrivals.remove(&ticket.position);
        self.tokens -= waiting.tokens;
        Some(waiting)
    }
}

/// The calls of one tenant and priority.
#[derive(Debug)]
struct Tenant<T> {
    shares: Shares<Key>,
    runs: HashMap<Key, BTreeMap<Position, Waiting<T>>>,
}

impl<T> Default for Tenant<T> {
    fn default() -> Self {
        Self { shares: Shares::default(), runs: HashMap::new() }
    }
}

impl<T> Tenant<T> {
    fn push(&mut self, waiting: Waiting<T>) {
        let run = &waiting.ticket.run;
        self.shares.join(run);
        self.runs.entry(run.clone()).or_default().insert(waiting.ticket.position, waiting);
    }

    fn heads(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.shares.ready().filter_map(|run| Some(self.runs.get(run)?.first_key_value()?.1))
    }

    fn remove(&mut self, ticket: &Ticket, is_sent: bool) -> Option<Waiting<T>> {
        let run = self.runs.get_mut(&ticket.run)?;
        let waiting = run.remove(&ticket.position)?;
        if is_sent {
            self.shares.charge(&ticket.run, waiting.tokens);
        }
        if run.is_empty() {
            self.runs.remove(&ticket.run);
            self.shares.leave(&ticket.run);
        }
        Some(waiting)
    }
}
