//! How many requests a minute: a bucket for each key and one for each tenant, and what is told of them.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;

/// Buckets that are kept of keys, and of tenants.
const BUCKETS_MAX: u64 = 100_000;
/// A bucket that nobody took from for so long is full again, and not kept.
const IDLE: Duration = Duration::from_mins(2);
/// What rates are counted in.
const WINDOW: Duration = Duration::from_mins(1);

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// The buckets of this process: with several processes, each has its own.
#[derive(Clone)]
pub struct Rates {
    keys: Cache<String, Arc<Limited>>,
    tenants: Cache<String, Arc<Limited>>,
}

struct Limited {
    per_minute: NonZeroU32,
    bucket: Bucket,
}

/// What is left of a rate after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// What it is counted for: `key` or `tenant`.
    pub of: &'static str,
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// Until there are as many as can be; after a refusal, until there is one.
    pub reset: Duration,
}

/// What came of counting a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The rates that hold for the caller.
    pub left: Vec<Left>,
    /// It comes too soon: how long to wait.
    pub refused: Option<Duration>,
}

impl Default for Rates {
    fn default() -> Self {
        let cache = || Cache::builder().max_capacity(BUCKETS_MAX).time_to_idle(IDLE).build();
        Self { keys: cache(), tenants: cache() }
    }
}

impl Rates {
    /// Counts a request of a key of a tenant, against what each may have a minute; `None` is without a bound.
    pub fn count(
        &self,
        (key, key_rate): (&str, Option<NonZeroU32>),
        (tenant, tenant_rate): (&str, Option<NonZeroU32>),
    ) -> Counted {
        let mut counted = Counted::default();
        let asked = [("key", &self.keys, key, key_rate), ("tenant", &self.tenants, tenant, tenant_rate)];
        for (of, buckets, who, rate) in asked {
            let Some(rate) = rate else { continue };
            let left = take(of, buckets, who, rate);
            let (left, refused) = left;
            counted.left.push(left);
            if refused {
                counted.refused = Some(left.reset);
                break;
            }
        }
        counted
    }
}

fn take(
    of: &'static str,
    buckets: &Cache<String, Arc<Limited>>,
    who: &str,
    per_minute: NonZeroU32,
) -> (Left, bool) {
    let fresh = || {
        let bucket = RateLimiter::direct(Quota::per_minute(per_minute));
        Arc::new(Limited { per_minute, bucket: bucket.with_middleware::<StateInformationMiddleware>() })
    };
    let mut limited = buckets.get_with_by_ref(who, fresh);
    if limited.per_minute != per_minute {
        // The rate was changed: it counts from now on.
        limited = fresh();
        buckets.insert(who.to_owned(), limited.clone());
    }
    let most = per_minute.get();
    match limited.bucket.check() {
        Ok(state) => {
            let remaining = state.remaining_burst_capacity().min(most);
            let reset = (WINDOW / most) * (most - remaining);
            (Left { of, per_minute: most, remaining, reset }, false)
        }
        Err(refused) => {
            let reset = refused.wait_time_from(limited.bucket.clock().now());
            (Left { of, per_minute: most, remaining: 0, reset }, true)
        }
    }
}

impl Counted {
    /// The field `RateLimit-Policy`; `None` if there is no bound.
    pub fn policy(&self) -> Option<String> {
        self.list(|text, left| write!(text, "\"{}\";q={};w={}", left.of, left.per_minute, WINDOW.as_secs()))
    }

    /// The field `RateLimit`; `None` if there is no bound.
    pub fn limit(&self) -> Option<String> {
        self.list(|text, left| write!(text, "\"{}\";r={};t={}", left.of, left.remaining, seconds(left.reset)))
    }

    fn list(&self, item: impl Fn(&mut String, &Left) -> std::fmt::Result) -> Option<String> {
        let mut text = String::new();
        for left in &self.left {
            if !text.is_empty() {
                text.push_str(", ");
            }
            item(&mut text, left).ok()?;
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Whole seconds, rounded up: who waits as long as told is let in.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_minute: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(per_minute)
    }

    #[test]
    fn a_key_has_its_requests_a_minute_and_no_more() {
        let rates = Rates::default();
        let count = |key| rates.count((key, rate(2)), ("acme", None));
        assert_eq!(count("a").left[0].remaining, 1);
        let second = count("a");
        assert_eq!(second.policy().unwrap(), "\"key\";q=2;w=60");
        assert!(second.limit().unwrap().starts_with("\"key\";r=0;t="));
        let wait = count("a").refused.unwrap();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(count("b").refused, None, "another key has its own");
    }

    #[test]
    fn the_keys_of_a_tenant_share_what_the_tenant_has() {
        let rates = Rates::default();
        let count = |key| rates.count((key, rate(100)), ("acme", rate(1)));
        let first = count("a");
        assert_eq!(first.refused, None);
        assert_eq!(first.policy().unwrap(), "\"key\";q=100;w=60, \"tenant\";q=1;w=60");
        assert!(count("b").refused.is_some());
        assert!(rates.count(("c", rate(100)), ("other", rate(1))).refused.is_none());
    }

    #[test]
    fn a_rate_that_was_changed_counts_at_once_and_none_is_no_bound() {
        let rates = Rates::default();
        assert!(rates.count(("a", rate(1)), ("t", None)).refused.is_none());
        assert!(rates.count(("a", rate(1)), ("t", None)).refused.is_some());
        assert!(rates.count(("a", rate(5)), ("t", None)).refused.is_none());
        let free = rates.count(("a", None), ("t", None));
        assert_eq!((free.policy(), free.limit(), free.refused), (None, None, None));
    }
}
