//! Bounds of the process: the section `limits`.

use std::time::Duration;

use anabranch_engine::flow::parse;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::error::with_hint;
use crate::store::Ceiling;

/// Bounds of the process. Whatever reaches one gets a typed answer.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Node executions of a run that are in flight at once; 64 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
    /// Jobs that a process runs at once; 256 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub running: usize,
    /// Jobs of a tenant that may wait in the queue, also for their time (`run_at`); more are refused (429). 10000 if
    /// unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub queued: usize,
    /// Jobs of a tenant that may wait for answers; beyond it, no more are taken in (429). 100000 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub waiting: usize,
    /// Requests that a process works on at once; more are refused (503). Streams of events do not count. 1024 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub requests: usize,
    /// Streams of events that a process keeps open; more are refused (503). 1000 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub streams: usize,
    /// Most bytes of a request; 1 MiB if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub body_bytes: usize,
    /// Most bytes of a request that brings documents or a batch; 32 MiB if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub documents_bytes: usize,
    /// Most jobs of a batch; 10000 if unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Requests that a key may make in a minute, at each process; more are refused (429). 60000 if unset. Callers that
    /// need no key are not counted.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: usize,
    /// Requests that all keys of a tenant may make in a minute, unless something else was set for the tenant; 240000 if
    /// unset.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub tenant_requests_per_minute: usize,
    /// Tokens that all jobs of a key may read and write in a day (UTC), unless something else was said of the key; more
    /// are refused (429), and calls of running jobs fail. Without a bound if unset.
    pub tokens_per_day: Option<u64>,
    /// The same in the money of `prices`.
    #[serde(deserialize_with = "cost")]
    #[schemars(range(min = 0))]
    pub cost_per_day: Option<f64>,
    /// Tokens that all jobs of a tenant may read and write in a day (UTC), unless something else was said of the tenant.
    /// Without a bound if unset.
    pub tenant_tokens_per_day: Option<u64>,
    /// The same in the money of `prices`.
    #[serde(deserialize_with = "cost")]
    #[schemars(range(min = 0))]
    pub tenant_cost_per_day: Option<f64>,
    /// Longest time in which a request must have been sent whole; 30s if unset.
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "String")]
    pub body_time: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            concurrency: anabranch_engine::limits::RUN_CONCURRENCY,
            running: 256,
            queued: 10_000,
            waiting: 100_000,
            requests: 1_024,
            streams: 1_000,
            body_bytes: 1 << 20,
            documents_bytes: 32 << 20,
            batch: 10_000,
            requests_per_minute: 60_000,
            tenant_requests_per_minute: 240_000,
            tokens_per_day: None,
            cost_per_day: None,
            tenant_tokens_per_day: None,
            tenant_cost_per_day: None,
            body_time: Duration::from_secs(30),
        }
    }
}

impl LimitsConfig {
    /// What a key may spend in a day.
    pub fn ceiling(&self) -> Ceiling {
        Ceiling { tokens: self.tokens_per_day, cost: self.cost_per_day }
    }

    /// What a tenant may spend in a day.
    pub fn tenant_ceiling(&self) -> Ceiling {
        Ceiling { tokens: self.tenant_tokens_per_day, cost: self.tenant_cost_per_day }
    }
}

fn cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Option::<f64>::deserialize(deserializer)? {
        Some(cost) if !cost.is_finite() || cost < 0.0 => {
            Err(D::Error::custom("expected a number, at least 0"))
        }
        cost => Ok(cost),
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("expected a whole number, at least 1")),
        count => Ok(count),
    }
}

/// A time with its unit, longer than nothing: `30d`, `20s`.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = match text.strip_suffix('d').map(str::parse::<u64>) {
        Some(Ok(days)) => days.checked_mul(24 * 3600).map(Duration::from_secs),
        _ => parse::duration(&text).ok(),
    };
    parsed.filter(|duration| !duration.is_zero()).ok_or_else(|| {
        D::Error::custom(with_hint(
            &format!("`{text}` is no duration"),
            "write a number with its unit: `500ms`, `20s`, `12h`, `30d`",
        ))
    })
}
