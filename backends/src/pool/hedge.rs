//! Hedging: a call that takes much longer to begin than others is asked of a second server too, and whichever answers
//! first is heard. After Dean and Barroso, The Tail at Scale.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_engine::backend::{Call, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Most second copies that may be saved up for a bad moment.
const SAVED_MAX: f64 = 10.0;
/// Calls after which the percentile is worked out again.
const STALE_AFTER: usize = 16;
/// Largest window.
pub const WINDOW_MAX: usize = 65_536;

/// When a call is asked of a second server too.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HedgeSettings {
    /// Once it has waited longer for its first token than this share of the latest calls; for the whole answer, where
    /// answers are not streamed.
    #[schemars(range(min = 0.5, max = 0.999))]
    pub percentile: f64,
    /// How many of the latest calls count; at most 65,536.
    pub window: NonZeroUsize,
    /// Calls that must have been seen before any is asked twice.
    pub min_samples: NonZeroUsize,
    /// Most second copies, as a share of the calls.
    #[schemars(range(min = 0, max = 1))]
    pub budget: f64,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self {
            percentile: 0.95,
            window: NonZeroUsize::new(512).unwrap_or(NonZeroUsize::MIN),
            min_samples: NonZeroUsize::new(50).unwrap_or(NonZeroUsize::MIN),
            budget: 0.05,
        }
    }
}

/// Says when a call is late, and whether a second copy may be sent.
#[derive(Debug)]
pub(crate) struct Hedger {
    settings: HedgeSettings,
    window: Mutex<Window>,
    pub(crate) sent: AtomicU64,
    pub(crate) won: AtomicU64,
    pub(crate) denied: AtomicU64,
}

#[derive(Debug)]
struct Window {
    /// The latest waits, as a ring.
    waits: Vec<Duration>,
    next: usize,
    n_since: usize,
    late: Option<Duration>,
    saved: f64,
}

impl Hedger {
    pub(crate) fn new(settings: HedgeSettings) -> Self {
        let window = Window { waits: Vec::new(), next: 0, n_since: 0, late: None, saved: 0.0 };
        Self {
            settings,
            window: Mutex::new(window),
            sent: AtomicU64::new(0),
            won: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }

    /// A call begins: after which wait it is late, if that is known already.
    pub(crate) fn begin(&self) -> Option<Duration> {
        let mut window = self.lock();
        window.saved = (window.saved + self.settings.budget).min(SAVED_MAX);
        window.late
    }

    /// How long a call has waited, or has waited at least.
    pub(crate) fn waited(&self, wait: Duration) {
        let HedgeSettings { percentile, window: size, min_samples, .. } = self.settings;
        let mut window = self.lock();
        let size = size.get().min(WINDOW_MAX);
        let at = window.next % size;
        window.next = (at + 1) % size;
        match window.waits.get_mut(at) {
            Some(slot) => *slot = wait,
            None => window.waits.push(wait),
        }
        window.n_since += 1;
        let has_enough = window.waits.len() >= min_samples.get().min(size);
        if has_enough && (window.late.is_none() || window.n_since >= STALE_AFTER) {
            window.n_since = 0;
            let mut waits = window.waits.clone();
            let last = waits.len() - 1;
            let rank = (0..last).find(|rank| *rank as f64 >= last as f64 * percentile).unwrap_or(last);
            window.late = Some(*waits.select_nth_unstable(rank).1);
        }
    }

    /// Notes how long a call has waited that began at `start`, if it was answered.
    pub(crate) fn noting<T>(&self, start: Instant, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_ok() {
            self.waited(start.elapsed());
        }
        result
    }

    /// Whether a second copy may be sent, which is booked.
    pub(crate) fn spend(&self) -> bool {
        let mut window = self.lock();
        let has_saved = window.saved >= 1.0;
        if has_saved {
            window.saved -= 1.0;
        }
        has_saved
    }

    /// The second copy was not sent after all.
    pub(crate) fn give_back(&self) {
        self.lock().saved += 1.0;
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which copy of a call is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Copy {
    First = 1,
    Second = 2,
}

/// Whose answer is heard: that of the copy whose first token comes first. The other one's is not passed on.
pub(crate) struct Race<'a> {
    call: &'a Call<'a>,
    winner: AtomicU8,
    pub(crate) decided: Notify,
    is_shown: AtomicBool,
}

impl<'a> Race<'a> {
    pub(crate) fn new(call: &'a Call<'a>) -> Self {
        let (winner, is_shown) = (AtomicU8::new(0), false.into());
        Self { call, winner, decided: Notify::new(), is_shown }
    }

    /// This copy has begun to answer. Whether it is heard.
    pub(crate) fn begin(&self, copy: Copy) -> bool {
        match self.winner.compare_exchange(0, copy as u8, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.decided.notify_one();
                (self.call.on_first_token)();
                true
            }
            Err(winner) => winner == copy as u8,
        }
    }

    /// More of the answer of this copy.
    pub(crate) fn show(&self, copy: Copy, delta: &str) {
        if self.begin(copy) {
            self.is_shown.store(true, Ordering::Relaxed);
            (self.call.on_delta)(delta);
        }
    }

    pub(crate) fn has_won(&self, copy: Copy) -> bool {
        self.winner.load(Ordering::Acquire) == copy as u8
    }

    /// Whether something has been shown: no other server can take over.
    pub(crate) fn is_shown(&self) -> bool {
        self.is_shown.load(Ordering::Relaxed)
    }
}
