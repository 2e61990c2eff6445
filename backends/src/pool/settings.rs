//! How calls of a model are ordered, spread over its servers, and kept away from broken ones; every bound by name.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anabranch_engine::flow::parse;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

pub use super::cache::{DiskSettings, ResponseCacheSettings};
pub use super::hedge::{HedgeSettings, WINDOW_MAX};
pub use super::leader::WarmupSettings;

/// Most servers behind one model.
pub const REPLICAS_MAX: usize = 64;
/// Most calls in flight at a server that says nothing else.
pub const MAX_IN_FLIGHT: u32 = 256;
/// Longest time that calls of an encoder can be made to wait for others.
pub const BATCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// Which of a model's servers gets a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Each in turn, as often as its weight says.
    RoundRobin,
    /// The one with the fewest calls in flight for its weight.
    LeastLoaded,
    /// The one that has most of the prompt's beginning in its cache, as long as load is balanced.
    #[default]
    PrefixAffinity,
    /// The same one for all calls of a session, and of a run that has none.
    Session,
    /// A router in front of the servers chooses: the session or the run is sent in a header, and nothing is chosen here.
    External,
}

/// How a model's calls are scheduled.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// Which server gets a call.
    pub policy: Policy,
    /// How much a warm prefix counts.
    pub affinity: AffinitySettings,
    /// How many calls wait, and for how long.
    pub queue: QueueSettings,
    /// How the number of calls in flight follows what the servers can take.
    pub admission: AdmissionSettings,
    /// When a server counts as broken.
    pub breaker: BreakerSettings,
    /// How servers are looked after between calls; they are not if unset.
    pub probe: Option<ProbeSettings>,
    /// Whether identical deterministic calls of a tenant that are in flight at once share one.
    pub single_flight: bool,
    /// How answers to deterministic calls are kept; they are not if unset.
    pub response_cache: Option<ResponseCacheSettings>,
    /// How calls that begin alike wait for the first of them.
    pub warmup: WarmupSettings,
    /// When a call is asked of a second server too; it never is if unset.
    pub hedge: Option<HedgeSettings>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            affinity: AffinitySettings::default(),
            queue: QueueSettings::default(),
            admission: AdmissionSettings::default(),
            breaker: BreakerSettings::default(),
            probe: None,
            single_flight: true,
            response_cache: None,
            warmup: WarmupSettings::default(),
            hedge: None,
        }
    }
}

/// What one server can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaSettings {
    /// Its share of the calls, relative to the others.
    pub weight: f64,
    /// Most calls in flight.
    pub max_in_flight: NonZeroU32,
    /// Most tokens of calls in flight, read and written; without a bound if unset.
    pub max_in_flight_tokens: Option<NonZeroU64>,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            weight: 1.0,
            max_in_flight: NonZeroU32::new(MAX_IN_FLIGHT).unwrap_or(NonZeroU32::MIN),
            max_in_flight_tokens: None,
        }
    }
}

/// How much a warm prefix counts with `policy: prefix_affinity`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AffinitySettings {
    /// How much it counts that a server has read the whole prompt before.
    #[schemars(range(min = 0))]
    pub match_weight: f64,
    /// How much it counts that a server is idle.
    #[schemars(range(min = 0))]
    pub load_weight: f64,
    /// A warm server is passed over when it has this many calls more in flight than the idlest one...
    pub imbalance_abs: u32,
    /// ...and this many times as many.
    #[schemars(range(min = 1))]
    pub imbalance_rel: f64,
    /// Share of the calls that go to any server, to learn what the others have in their caches.
    #[schemars(range(min = 0, max = 1))]
    pub exploration: f64,
    /// Blocks of 64 bytes that are remembered of each server's cache, the latest ones.
    pub blocks: NonZeroUsize,
    /// Seed for exploration.
    pub seed: u64,
    /// Mixed into the hashes of prefixes: differs where servers share no cache although they serve the same model.
    pub salt: String,
}

impl Default for AffinitySettings {
    fn default() -> Self {
        Self {
            match_weight: 2.0,
            load_weight: 1.0,
            imbalance_abs: 8,
            imbalance_rel: 1.5,
            exploration: 0.01,
            blocks: NonZeroUsize::new(31_250).unwrap_or(NonZeroUsize::MIN),
            seed: 0,
            salt: String::new(),
        }
    }
}

/// How many calls wait for a server, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Most calls that wait. Beyond it calls are refused as overloaded; one that somebody waits for takes the place of
    /// one of a batch.
    pub max_calls: NonZeroUsize,
    /// Most calls of one tenant that wait; as many as of all if unset.
    pub max_calls_per_tenant: Option<NonZeroUsize>,
    /// Longest wait of a call.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
    /// How long a call of a batch waits behind those that somebody waits for before it gets every fourth place.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub batch_age: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_calls: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            max_calls_per_tenant: None,
            max_wait: Duration::from_mins(5),
            batch_age: Duration::from_secs(10),
        }
    }
}

/// How the number of calls in flight follows what a server can take: less after a 429, a 503 or a timeout, slowly more
/// while it answers.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionSettings {
    /// What is left of the limit after a sign of overload.
    #[schemars(range(min = 0, max = 1))]
    pub decrease: f64,
    /// What is added to the limit when as many calls as it allows have been answered, and by every answer while the
    /// limit is below what it was before the server refused everything for a while.
    #[schemars(range(min = 0))]
    pub increase: f64,
    /// Least calls in flight that the limit falls to.
    pub min_in_flight: NonZeroU32,
    /// Longest time that a server's `Retry-After` keeps calls away from it.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub max_pause: Duration,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            // As Vector and Netflix's limiters have it: a server that refuses has said how much is too much.
            decrease: 0.9,
            increase: 1.0,
            min_in_flight: NonZeroU32::MIN,
            max_pause: Duration::from_mins(1),
        }
    }
}

/// When a server counts as broken, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Failures in a row after which no call is sent to it. Failures are calls that got no answer or a garbled one.
    pub failures: NonZeroU32,
    /// As much if half of this many calls failed, whatever their order; at most 64.
    #[schemars(range(min = 1, max = 64))]
    pub window: NonZeroU32,
    /// How long it is left alone at first; twice as long after every trial that failed.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub cooldown: Duration,
    /// Longest time that it is left alone.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub max_cooldown: Duration,
    /// Calls that are tried at once after that. As many successes close the breaker.
    pub trials: NonZeroU32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN),
            window: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
            cooldown: Duration::from_secs(1),
            max_cooldown: Duration::from_secs(30),
            trials: NonZeroU32::MIN,
        }
    }
}

/// How servers are looked after between calls.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeSettings {
    /// Time between two looks at a server.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// Longest time for a look.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// What is asked for, from the root of the server's address.
    pub path: String,
    /// Whether vLLM's `/metrics` are read for how many calls wait there and how full its cache is. A server whose
    /// numbers are older than three intervals counts as full.
    pub metrics: bool,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            path: "/health".to_owned(),
            metrics: false,
        }
    }
}

/// A time with its unit, longer than nothing: `120s`, `1m30s`, `500ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse::duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(D::Error::custom(format!(
            "`{text}` is no duration; write a number with its unit: `500ms`, `120s`, `1m30s`"
        ))),
    }
}
