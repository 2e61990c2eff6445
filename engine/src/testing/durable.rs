//! For tests of what survives: a clock in virtual time, an operator with effects, a journal that loses its tail, and a
//! list of what has run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Live;
use crate::cx::Cx;
use crate::event::{Event, Record, RunId};
use crate::journal::{Error, Journal, Receipt};
use crate::operator::{OpError, OpenIn, Operator};
use crate::run::Clock;
use crate::value::Text;

/// A clock that begins at this many milliseconds and goes on with tokio's, which tests can pause.
pub fn clock(begins_ms: u64) -> Clock {
    let began = Instant::now();
    Clock::of(move || begins_ms + u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

thread_local! {
    static RAN: RefCell<Option<Vec<(String, u32)>>> = const { RefCell::new(None) };
}

/// Starts a new list of what runs on this thread; gives the one so far: scope and attempt of executions of this
/// module's operators, in the order in which they began. Empty the first time.
pub fn take_ran() -> Vec<(String, u32)> {
    RAN.with_borrow_mut(|ran| ran.replace(Vec::new())).unwrap_or_default()
}

pub(super) fn began(cx: &Cx) {
    RAN.with_borrow_mut(|ran| {
        if let Some(ran) = ran {
            ran.push((cx.scope().to_string(), cx.attempt()));
        }
    });
}

/// Changes something outside, after a while: an entry in the list of what has run.
///
/// ```yaml
/// pay: { op: test.effect, in: { a: inputs.n }, with: { delay_ms: 10 } }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Effect {
    /// Milliseconds before it ends.
    pub delay_ms: u64,
}

crate::ports! {
    /// What [`Effect`] gives.
    pub struct EffectOut {
        /// How many inputs it had.
        pub value: i64,
        /// Names the effect, the same over attempts and restarts.
        pub key: Text,
    }
}

#[async_trait]
impl Operator for Effect {
    const NAME: &'static str = "test.effect";
    const HAS_EFFECTS: bool = true;
    type In = OpenIn;
    type Out = EffectOut;

    async fn run(&self, cx: &Cx, input: OpenIn) -> Result<EffectOut, OpError> {
        let _live = Live::new(cx);
        if self.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
        }
        let value = i64::try_from(input.0.len()).unwrap_or(i64::MAX);
        Ok(EffectOut { value, key: cx.idempotency_key().into() })
    }
}

/// A journal of one run that makes records safe after a while, and that crashes: then what was not safe may be lost.
#[derive(Debug)]
pub struct LossyJournal {
    delay: Duration,
    crash_after: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    crashed: Notify,
}

#[derive(Debug, Default)]
struct Log {
    safe: Vec<Record>,
    taken: VecDeque<Record>,
    /// Another owner has it: nothing more is taken.
    is_fenced: bool,
}

impl LossyJournal {
    /// A journal that holds `records`, takes `delay` to make more of them safe, and crashes when it is given the record
    /// at position `crash_after`.
    pub fn new(records: Vec<Record>, delay: Duration, crash_after: usize) -> Self {
        let log = Log { safe: records, ..Log::default() };
        let shared = Shared { log: Mutex::new(log), crashed: Notify::new() };
        Self { delay, crash_after, shared: Arc::new(shared) }
    }

    /// Resolves when it has crashed. What is safe afterwards stays safe; a run that goes on gets no more receipts.
    pub async fn crashed(&self) {
        self.shared.crashed.notified().await;
    }

    /// What is safe, and so many of the records that were taken after it: the disk may have them all the same.
    pub fn survivors(&self, n_more: usize) -> Vec<Record> {
        let log = self.shared.lock();
        log.safe.iter().chain(log.taken.iter().take(n_more)).cloned().collect()
    }

    /// What is safe.
    pub fn safe(&self) -> Vec<Record> {
        self.survivors(0)
    }

    /// Takes nothing more, as if another owner had the run.
    pub fn fence(&self) {
        self.shared.lock().is_fenced = true;
    }

    /// Whether the journal has it, safely, that this attempt with effects begins.
    pub fn has_effect(&self, scope: &str, attempt: u32) -> bool {
        let is_it = |record: &Record| match &record.event {
            Event::EffectBegan { scope: began, attempt: which } => {
                began.to_string() == scope && *which == attempt
            }
            _ => false,
        };
        self.shared.lock().safe.iter().any(is_it)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for LossyJournal {
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt {
        let mut log = self.shared.lock();
        let next = log.safe.len() + log.taken.len();
        let seq = records.first().map_or(0, |record| record.seq);
        if log.is_fenced || usize::try_from(seq) != Ok(next) {
            return Receipt::of(Err(Error::Fenced { run: run.clone(), seq }));
        }
        let n_records = records.len();
        log.taken.extend(records);
        if next + n_records > self.crash_after {
            self.shared.crashed.notify_one();
            return Receipt::awaiting(std::future::pending());
        }
        let (shared, until) = (self.shared.clone(), Instant::now() + self.delay);
        Receipt::awaiting(async move {
            sleep_until(until).await;
            let mut log = shared.lock();
            let safe: Vec<Record> = log.taken.drain(..n_records).collect();
            log.safe.extend(safe);
            Ok(())
        })
    }

    async fn read(&self, _: &RunId) -> Result<Vec<Record>, Error> {
        Ok(self.safe())
    }
}
