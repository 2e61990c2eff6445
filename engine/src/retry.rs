//! When a failed attempt is made again, and after how long.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::event::{Failure, FailureKind};
use crate::limits;

/// The retry policy of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Most attempts, the first included.
    pub attempts: u32,
    /// Wait before the second attempt; doubles from there.
    pub backoff: Duration,
    /// Longest wait that backoff alone asks for.
    pub max_backoff: Duration,
    /// The failures that are worth another attempt.
    pub on: Vec<FailureKind>,
}

impl Default for Retry {
    /// One attempt.
    fn default() -> Self {
        Self { attempts: 1, ..Self::on_transient() }
    }
}

impl Retry {
    /// What `retry: {}` means: three attempts on failures that pass by themselves.
    pub fn on_transient() -> Self {
        Self {
            attempts: 3,
            backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            on: vec![FailureKind::Overloaded, FailureKind::TimedOut, FailureKind::Unavailable],
        }
    }

    /// How long to wait before the attempt after `failure`; `None` if there is none.
    ///
    /// Jittered by `seed`, so that two nodes that failed together do not come back together; never sooner than the
    /// backend asked for.
    pub fn delay_after(&self, failure: &Failure, seed: u64) -> Option<Duration> {
        if failure.attempt >= self.attempts || !self.on.contains(&failure.kind) {
            return None;
        }
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.backoff)
            .with_max_delay(self.max_backoff)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
            .nth(failure.attempt.saturating_sub(1) as usize)
            .unwrap_or(self.max_backoff);
        let asked = failure.retry_after.unwrap_or_default().min(limits::RETRY_AFTER_MAX);
        Some(backoff.max(asked))
    }
}
