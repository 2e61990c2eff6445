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
    /// Longest wait before the second attempt; doubles from there.
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
    /// Jittered by `seed` over the upper half, so that two nodes that failed together do not come back together;
    /// never sooner than the backend asked for.
    pub fn delay_after(&self, failure: &Failure, seed: u64) -> Option<Duration> {
        if failure.attempt >= self.attempts || !self.on.contains(&failure.kind) {
            return None;
        }
        let backoff = ExponentialBuilder::default()
            // Jitter adds up to as much again.
            .with_min_delay(self.backoff / 2)
            .with_max_delay(self.max_backoff / 2)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_and_a_backend_may_ask_for_more() {
        let retry = Retry { attempts: 20, ..Retry::on_transient() };
        let failure = |attempt, retry_after| Failure {
            scope: "w".into(),
            attempt,
            kind: FailureKind::Overloaded,
            message: String::new(),
            retry_after,
        };
        for seed in 0..100 {
            for attempt in 1..20 {
                let longest = (retry.backoff * 2u32.pow(attempt - 1)).min(retry.max_backoff);
                let wait = retry.delay_after(&failure(attempt, None), seed).unwrap();
                assert!(longest / 2 <= wait && wait <= longest, "{attempt}: {wait:?}, not up to {longest:?}");
            }
            let asked = Duration::from_mins(1);
            assert_eq!(retry.delay_after(&failure(1, Some(asked)), seed), Some(asked));
            assert_eq!(retry.delay_after(&failure(20, None), seed), None);
        }
    }
}
