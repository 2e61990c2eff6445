//! Backends: the models on servers, with how their calls are scheduled and how each of their servers is.

use std::time::Duration;

use anabranch_backends::pool::PoolStats;
use anabranch_backends::pool::settings::Policy;
use anabranch_backends::pool::stats::{
    BreakerState, CacheStats, Moved, Outcomes, ReplicaStats, Sharing, Times,
};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::caller::{Can, DEFAULT_TENANT, Read, Scope};

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list))
}

/// The models on servers, as this process sees them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Backends {
    /// The worker that this process is: each schedules its own calls.
    pub worker: String,
    /// By name.
    pub items: Vec<BackendInfo>,
}

/// A model on one or more servers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backend)]
pub struct BackendInfo {
    /// The model, as the configuration calls it.
    pub model: String,
    /// Which of its servers gets a call: `round_robin`, `least_loaded`, `prefix_affinity`, `session` or `external`.
    pub policy: &'static str,
    /// What waits, and how long it took to be sent.
    pub queue: QueueInfo,
    /// Calls that were never sent since the process began.
    pub refused: RefusedInfo,
    /// Calls that went on to another server since the process began, by how the one before had failed.
    pub retries: RetriesInfo,
    /// Calls that were spared, or made cheaper, by others since the process began.
    pub sharing: SharingInfo,
    /// Share of the tokens read that the servers had in their caches, 0 to 1; null before they read any.
    pub cached_share: Option<f64>,
    /// Its servers, in the order of the configuration.
    pub replicas: Vec<ReplicaInfo>,
}

/// The calls that wait for a server of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendQueue)]
pub struct QueueInfo {
    /// Those that somebody waits for.
    pub interactive: u64,
    /// Those of batches.
    pub batch: u64,
    /// Their tokens, read and written: an upper estimate.
    pub tokens: u64,
    /// How long the calls waited that were sent since the process began.
    pub wait: TimesInfo,
}

/// How long something took.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendTimes)]
pub struct TimesInfo {
    /// How many calls.
    pub count: u64,
    /// The mean, in milliseconds.
    pub mean_ms: f64,
    /// Half of them took no longer, in milliseconds: the bound of its bucket.
    pub p50_ms: f64,
    /// Of twenty, nineteen took no longer, in milliseconds: the bound of its bucket.
    pub p95_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

/// Calls that were never sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendRefused)]
pub struct RefusedInfo {
    /// The queue was full.
    pub full: u64,
    /// Their time was up.
    pub late: u64,
    /// Every server was down.
    pub down: u64,
    /// Whoever asked had gone.
    pub left: u64,
}

/// Calls that went on to another server, by how the one before had failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendRetries)]
pub struct RetriesInfo {
    /// It refused for now.
    pub overloaded: u64,
    /// It did not answer in time.
    pub timed_out: u64,
    /// It was not reached, or failed on its side.
    pub unavailable: u64,
    /// It answered with something that is no answer.
    pub garbled: u64,
}

/// Calls that were spared, or made cheaper, by others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendSharing)]
pub struct SharingInfo {
    /// Calls that were answered with what an identical one in flight was answered (`single_flight`).
    pub single_flight: u64,
    /// Answers that are kept (`response_cache`), where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheInfo>,
    /// How calls waited for others that begin alike (`warmup`).
    pub warmup: WarmupInfo,
    /// Second copies of late calls (`hedge`).
    pub hedges: HedgesInfo,
}

/// Answers that are kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendCache)]
pub struct CacheInfo {
    /// Calls that were answered from memory.
    pub hits: u64,
    /// Calls that were answered from disk.
    pub disk_hits: u64,
    /// Calls whose answer was not kept, or no longer.
    pub misses: u64,
    /// Answers in memory.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were no answers, or could not be read or written.
    pub disk_errors: u64,
}

/// Calls that begin alike, of which one goes first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendWarmup)]
pub struct WarmupInfo {
    /// Calls that went first with a beginning that their server had not read.
    pub led: u64,
    /// Calls that waited for such a one.
    pub followed: u64,
    /// Of these, calls that waited for as long as they may.
    pub late: u64,
}

/// Second copies of late calls.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendHedges)]
pub struct HedgesInfo {
    /// Copies that were sent.
    pub sent: u64,
    /// Of these, those that answered first.
    pub won: u64,
    /// Late calls without a copy: too many had been sent, or no other server was free.
    pub denied: u64,
}

/// A server of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendReplica)]
pub struct ReplicaInfo {
    /// Its place in the configuration, from 0.
    pub index: usize,
    /// Its address, without what may be secret; only shown to admins of the tenant `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its share of the calls, relative to the others.
    pub weight: f64,
    /// Whether calls are sent to it: `closed` is yes, `open` is no, `half_open` is a few, to see.
    pub breaker: &'static str,
    /// Whether it asked to be left alone, and is.
    pub paused: bool,
    /// Calls in flight.
    pub in_flight: u32,
    /// Their tokens, read and written: an upper estimate.
    pub in_flight_tokens: u64,
    /// Most calls in flight that it is trusted with at the moment.
    pub limit: u32,
    /// Most calls in flight as it is configured.
    pub max_in_flight: u32,
    /// Most tokens in flight, if there is a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight_tokens: Option<u64>,
    /// What came of its calls since the process began.
    pub calls: CallsInfo,
    /// How long its answers took, to their last piece, since the process began.
    pub answers: TimesInfo,
    /// Tokens that it said it used since the process began.
    pub tokens: TokensInfo,
    /// Tokens read a second, over the last ten seconds.
    pub prompt_tokens_per_sec: f64,
    /// Tokens written a second, over the last ten seconds.
    pub completion_tokens_per_sec: f64,
    /// Share of the tokens read that it had in its cache, 0 to 1; null before it read any.
    pub cached_share: Option<f64>,
    /// Calls that wait at the server itself, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_there: Option<u64>,
    /// How full the server's own cache is, 0 to 1, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_usage: Option<f64>,
}

/// What came of the calls of a server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendCalls)]
pub struct CallsInfo {
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
    /// Given up by whoever asked.
    pub cancelled: u64,
}

/// Tokens of a server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackendTokens)]
pub struct TokensInfo {
    /// Read, those of its cache included.
    pub prompt: u64,
    /// Read from its cache.
    pub cached: u64,
    /// Written.
    pub completion: u64,
}

/// List models on servers
///
/// How the calls of each are scheduled, and how each of its servers is, as the process that answers sees it: with several
/// processes, each schedules its own calls. What they have counted together is for Prometheus (`/metrics`) to add up.
#[utoipa::path(get, path = "/v1/backends", tag = "backends", operation_id = "list_backends", security(("key" = ["read"])),
    responses((status = 200, description = "all models on servers", body = Backends)))]
async fn list(State(app): State<App>, can: Can<Read>) -> Json<Backends> {
    let with_address = can.tenant == DEFAULT_TENANT && can.scopes.contains(&Scope::Admin);
    let items = app.pools.iter().map(|(model, pool)| backend(model, &pool.stats(), with_address)).collect();
    Json(Backends { worker: app.runner.worker().to_string(), items })
}

fn backend(model: &str, stats: &PoolStats, with_address: bool) -> BackendInfo {
    let sum = |tokens: fn(&ReplicaStats) -> u64| stats.replicas.iter().map(tokens).sum();
    let replicas = stats.replicas.iter().enumerate();
    BackendInfo {
        model: model.to_owned(),
        policy: match stats.policy {
            Policy::RoundRobin => "round_robin",
            Policy::LeastLoaded => "least_loaded",
            Policy::PrefixAffinity => "prefix_affinity",
            Policy::Session => "session",
            Policy::External => "external",
        },
        queue: QueueInfo {
            interactive: stats.queued_interactive as u64,
            batch: stats.queued_batch as u64,
            tokens: stats.queued_tokens,
            wait: stats.waits.into(),
        },
        refused: RefusedInfo {
            full: stats.refused_full,
            late: stats.refused_late,
            down: stats.refused_down,
            left: stats.left,
        },
        retries: stats.moved.into(),
        sharing: stats.sharing.into(),
        cached_share: share(sum(|replica| replica.cached_tokens), sum(|replica| replica.prompt_tokens)),
        replicas: replicas.map(|(index, stats)| replica(index, stats, with_address)).collect(),
    }
}

fn replica(index: usize, stats: &ReplicaStats, with_address: bool) -> ReplicaInfo {
    ReplicaInfo {
        index,
        address: with_address.then(|| stats.name.clone()),
        weight: stats.weight,
        breaker: match stats.breaker {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        },
        paused: stats.is_paused,
        in_flight: stats.in_flight,
        in_flight_tokens: stats.in_flight_tokens,
        limit: stats.limit,
        max_in_flight: stats.max_in_flight,
        max_in_flight_tokens: stats.max_in_flight_tokens,
        calls: stats.outcomes.into(),
        answers: stats.answers.into(),
        tokens: TokensInfo {
            prompt: stats.prompt_tokens,
            cached: stats.cached_tokens,
            completion: stats.completion_tokens,
        },
        prompt_tokens_per_sec: stats.prompt_tokens_per_sec,
        completion_tokens_per_sec: stats.completion_tokens_per_sec,
        cached_share: share(stats.cached_tokens, stats.prompt_tokens),
        waiting_there: stats.waiting_there,
        cache_usage: stats.cache_usage,
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl From<Times> for TimesInfo {
    fn from(times: Times) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            count: times.count,
            mean_ms: ms(times.mean()),
            p50_ms: ms(times.quantile(0.5)),
            p95_ms: ms(times.quantile(0.95)),
            max_ms: ms(times.longest),
        }
    }
}

impl From<Moved> for RetriesInfo {
    fn from(moved: Moved) -> Self {
        let Moved { overloaded, timed_out, unavailable, garbled } = moved;
        Self { overloaded, timed_out, unavailable, garbled }
    }
}

impl From<Sharing> for SharingInfo {
    fn from(sharing: Sharing) -> Self {
        Self {
            single_flight: sharing.single_flight,
            cache: sharing.cache.map(Into::into),
            warmup: WarmupInfo { led: sharing.led, followed: sharing.followed, late: sharing.followed_late },
            hedges: HedgesInfo {
                sent: sharing.hedges,
                won: sharing.hedges_won,
                denied: sharing.hedges_denied,
            },
        }
    }
}

impl From<CacheStats> for CacheInfo {
    fn from(cache: CacheStats) -> Self {
        let CacheStats { hits, disk_hits, misses, entries, bytes, disk_errors } = cache;
        Self { hits, disk_hits, misses, entries: entries as u64, bytes, disk_errors }
    }
}

impl From<Outcomes> for CallsInfo {
    fn from(outcomes: Outcomes) -> Self {
        Self {
            sent: outcomes.sent,
            answered: outcomes.answered,
            overloaded: outcomes.overloaded,
            timed_out: outcomes.timed_out,
            unavailable: outcomes.unavailable,
            rejected: outcomes.rejected,
            garbled: outcomes.garbled,
            cancelled: outcomes.cancelled,
        }
    }
}
