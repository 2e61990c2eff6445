//! How a model's calls are spread over its servers.

use std::num::{NonZeroU32, NonZeroU64};

use anabranch_backends::pool::settings::{REPLICAS_MAX, WINDOW_MAX};
use anabranch_backends::pool::{PoolSettings, ReplicaSettings};
use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::SecretRef;

/// One of several servers behind a model.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaConfig {
    /// Its address.
    pub url: String,
    /// The model's name there; the model's own `model` if unset.
    #[serde(default)]
    pub model: Option<String>,
    /// Its key; the model's own `api_key` if unset.
    #[serde(default)]
    pub api_key: Option<SecretRef>,
    /// Its share of the calls, relative to the others; 1 if unset.
    #[serde(default)]
    #[schemars(range(min = 0.01, max = 100))]
    pub weight: Option<f64>,
    /// Most calls in flight there; the model's own `max_in_flight` if unset.
    #[serde(default)]
    pub max_in_flight: Option<NonZeroU32>,
    /// Most tokens of calls in flight there, read and written; the model's own `max_in_flight_tokens` if unset.
    #[serde(default)]
    pub max_in_flight_tokens: Option<NonZeroU64>,
}

impl ReplicaConfig {
    /// The server at `url`, with defaults for all else.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: None,
            api_key: None,
            weight: None,
            max_in_flight: None,
            max_in_flight_tokens: None,
        }
    }

    /// What it can take, where `of_model` says what it does not.
    pub(crate) fn settings(&self, of_model: ReplicaSettings) -> ReplicaSettings {
        ReplicaSettings {
            weight: self.weight.unwrap_or(of_model.weight),
            max_in_flight: self.max_in_flight.unwrap_or(of_model.max_in_flight),
            max_in_flight_tokens: self.max_in_flight_tokens.or(of_model.max_in_flight_tokens),
        }
    }
}

/// Why `replicas` or `pool` cannot be what is meant.
pub(super) fn problem(replicas: &[ReplicaConfig], pool: &PoolSettings) -> Option<String> {
    let is_share = |number: f64| (0.0..=1.0).contains(&number);
    if replicas.is_empty() || replicas.len() > REPLICAS_MAX {
        return Some(format!("`replicas` are {} servers, not 1 to {REPLICAS_MAX}", replicas.len()));
    }
    for (replica_idx, replica) in replicas.iter().enumerate() {
        if replicas.iter().take(replica_idx).any(|other| other.url == replica.url) {
            return Some(format!(
                "`{}` is among the `replicas` twice; give it a `weight` instead",
                replica.url
            ));
        }
        if let Some(weight) = replica.weight.filter(|weight| !(0.01..=100.0).contains(weight)) {
            return Some(format!("the `weight` {weight} of `{}` is not within 0.01 and 100", replica.url));
        }
    }
    let (affinity, admission, breaker) = (&pool.affinity, &pool.admission, &pool.breaker);
    let hedge = pool.hedge.as_ref();
    let wrong = [
        (!is_share(affinity.exploration), "`affinity.exploration` is a share, from 0 to 1"),
        (
            !affinity.match_weight.is_finite() || affinity.match_weight < 0.0,
            "`affinity.match_weight` is at least 0",
        ),
        (
            !affinity.load_weight.is_finite() || affinity.load_weight < 0.0,
            "`affinity.load_weight` is at least 0",
        ),
        (
            !affinity.imbalance_rel.is_finite() || affinity.imbalance_rel < 1.0,
            "`affinity.imbalance_rel` is at least 1",
        ),
        (!is_share(admission.decrease), "`admission.decrease` is a share, from 0 to 1"),
        (!admission.increase.is_finite() || admission.increase < 0.0, "`admission.increase` is at least 0"),
        (breaker.window.get() > u64::BITS, "`breaker.window` is at most 64"),
        (
            breaker.max_cooldown < breaker.cooldown,
            "`breaker.max_cooldown` is no shorter than `breaker.cooldown`",
        ),
        (
            pool.probe.as_ref().is_some_and(|probe| !probe.path.starts_with('/')),
            "`probe.path` begins with `/`: it starts at the root of the server's address",
        ),
        (
            hedge.is_some_and(|hedge| !(0.5..=0.999).contains(&hedge.percentile)),
            "`hedge.percentile` is a share of the calls, from 0.5 to 0.999",
        ),
        (
            hedge.is_some_and(|hedge| !is_share(hedge.budget)),
            "`hedge.budget` is a share of the calls, from 0 to 1",
        ),
        (hedge.is_some_and(|hedge| hedge.window.get() > WINDOW_MAX), "`hedge.window` is at most 65536"),
        (
            hedge.is_some_and(|hedge| hedge.min_samples > hedge.window),
            "`hedge.min_samples` is no larger than `hedge.window`",
        ),
        (hedge.is_some() && replicas.len() < 2, "`hedge` needs a second server: list both under `replicas`"),
    ];
    wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, message)| message.to_owned())
}
