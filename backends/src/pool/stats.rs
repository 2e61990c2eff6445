//! Numbers of a pool at one moment: plain structs for metrics, dashboards and `GET /v1/backends`.

use std::time::Duration;

use anabranch_engine::backend::Error;
use anabranch_engine::event::FailureKind;
use serde::Serialize;

pub use super::cache::CacheStats;
use super::settings::Policy;

/// Upper bounds of the buckets that times are counted in, in seconds; what took longer is in the last one.
pub const WAIT_BUCKETS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0];

/// A model's pool at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolStats {
    /// Which server gets a call.
    pub policy: Policy,
    /// Calls that wait and that somebody waits for.
    pub queued_interactive: usize,
    /// Calls of batches that wait.
    pub queued_batch: usize,
    /// Tokens of the calls that wait: an upper estimate.
    pub queued_tokens: u64,
    /// How long calls have waited that were sent.
    pub waits: Times,
    /// Calls that were refused because the queue was full.
    pub refused_full: u64,
    /// Calls that left the queue unsent because their time was up.
    pub refused_late: u64,
    /// Calls that were refused because every server was down.
    pub refused_down: u64,
    /// Calls whose caller went away before they were sent.
    pub left: u64,
    /// Calls that went on to another server after one had failed.
    pub moved: Moved,
    /// Calls that were spared, or made cheaper, by others.
    pub sharing: Sharing,
    /// Its servers, as they are configured.
    pub replicas: Vec<ReplicaStats>,
}

/// How calls have been spared, or made cheaper, by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sharing {
    /// Calls that took part in an identical one in flight, and were answered with it.
    pub single_flight: u64,
    /// Answers that are kept, where they are.
    pub cache: Option<CacheStats>,
    /// Calls that went ahead of others that begin alike, or would have.
    pub led: u64,
    /// Calls that waited for such a one.
    pub followed: u64,
    /// Of these, calls that waited for as long as they may.
    pub followed_late: u64,
    /// Second copies that were sent.
    pub hedges: u64,
    /// Of these, those that answered first.
    pub hedges_won: u64,
    /// Calls that were late, without a second copy: too many had been sent, or no other server was free.
    pub hedges_denied: u64,
}

/// How long something took, over many calls.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    /// How many calls, those that took no time included.
    pub count: u64,
    /// All times together.
    pub total: Duration,
    /// The longest one.
    pub longest: Duration,
    /// Calls by [`WAIT_BUCKETS`], each in the first that holds it; one more for all that took longer.
    pub buckets: [u64; WAIT_BUCKETS.len() + 1],
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total += time;
        self.longest = self.longest.max(time);
        let bucket = WAIT_BUCKETS.iter().position(|bound| time.as_secs_f64() <= *bound);
        if let Some(count) = self.buckets.get_mut(bucket.unwrap_or(WAIT_BUCKETS.len())) {
            *count += 1;
        }
    }

    /// The mean; nothing without calls.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count)
            .map_or(Duration::ZERO, |count| self.total.checked_div(count).unwrap_or_default())
    }

    /// A time that the share `of` of the calls did not exceed, 0 to 1: the bound of its bucket, at most the longest.
    pub fn quantile(&self, of: f64) -> Duration {
        let mut left = (self.count as f64 * of.clamp(0.0, 1.0)).ceil();
        for (bound, count) in WAIT_BUCKETS.into_iter().zip(self.buckets) {
            left -= count as f64;
            if left <= 0.0 {
                return Duration::from_secs_f64(bound).min(self.longest);
            }
        }
        self.longest
    }
}

/// Calls that went on to another server, by how the one before had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Moved {
    /// It refused for now.
    pub overloaded: u64,
    /// It did not answer in time.
    pub timed_out: u64,
    /// It was not reached, or failed on its side.
    pub unavailable: u64,
    /// It answered with something that is no answer.
    pub garbled: u64,
}

impl Moved {
    pub(crate) fn add(&mut self, after: &Error) {
        match after.kind() {
            FailureKind::Overloaded => self.overloaded += 1,
            FailureKind::TimedOut => self.timed_out += 1,
            FailureKind::Unavailable => self.unavailable += 1,
            FailureKind::Garbled => self.garbled += 1,
            // What was refused for its content is refused everywhere.
            _ => {}
        }
    }
}

/// Whether calls are sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They are.
    Closed,
    /// They are not: it has failed too often.
    Open,
    /// A few are, to see whether it has recovered.
    HalfOpen,
}

/// A server of a pool at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplicaStats {
    /// Its address, without what may be secret.
    pub name: String,
    /// Its share of the calls, relative to the others.
    pub weight: f64,
    /// Whether calls are sent to it.
    pub breaker: BreakerState,
    /// Whether it asked to be left alone, and is.
    pub is_paused: bool,
    /// Calls in flight.
    pub in_flight: u32,
    /// Tokens of the calls in flight: an upper estimate.
    pub in_flight_tokens: u64,
    /// Most calls in flight at the moment.
    pub limit: u32,
    /// Most calls in flight as it is configured.
    pub max_in_flight: u32,
    /// Most tokens in flight, if there is a bound.
    pub max_in_flight_tokens: Option<u64>,
    /// What came of its calls.
    pub outcomes: Outcomes,
    /// How long its answers took, from the sending of the call to the last piece.
    pub answers: Times,
    /// Tokens read, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens read that the server had in its cache.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Tokens read a second, over the last ten seconds.
    pub prompt_tokens_per_sec: f64,
    /// Tokens written a second, over the last ten seconds.
    pub completion_tokens_per_sec: f64,
    /// Blocks of prefixes that it is known to have in its cache.
    pub prefix_blocks: usize,
    /// Calls that wait at the server itself, where it was asked.
    pub waiting_there: Option<u64>,
    /// How full the server's cache is, 0 to 1, where it was asked.
    pub cache_usage: Option<f64>,
}

/// What came of the calls of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Outcomes {
    /// Sent, whatever came of it.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
    /// Refused for now: a 429, a 503.
    pub overloaded: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Not reached, or failed on its side.
    pub unavailable: u64,
    /// Understood and refused.
    pub rejected: u64,
    /// Answered with something that is no answer.
    pub garbled: u64,
    /// Given up by the caller.
    pub cancelled: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket_and_never_more_than_the_longest() {
        let mut times = Times::default();
        assert_eq!((times.mean(), times.quantile(0.5)), (Duration::ZERO, Duration::ZERO));
        for _ in 0..98 {
            times.add(Duration::from_millis(3));
        }
        times.add(Duration::from_millis(300));
        times.add(Duration::from_secs(500));
        assert_eq!(times.quantile(0.5), Duration::from_millis(5));
        assert_eq!(times.quantile(0.99), Duration::from_secs(1));
        assert_eq!(times.quantile(1.0), Duration::from_secs(500));
        assert_eq!(times.mean(), Duration::from_micros(5_005_940));
    }
}
