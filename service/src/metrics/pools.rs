//! The numbers of the models' schedulers.

use std::fmt;

use anabranch_backends::pool::PoolStats;
use anabranch_backends::pool::stats::{BreakerState, ReplicaStats, Sharing, Times, WAIT_BUCKETS};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{Counted, family, histograms};
use super::names::{self, Metric};
use crate::resources::Pools;

/// The schedulers of a process. Their models and servers are those of the configuration.
#[derive(Debug)]
pub(super) struct Schedulers(pub(super) Pools);

type Stats = Vec<(String, PoolStats)>;

impl Collector for Schedulers {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let stats: Stats = self.0.iter().map(|(model, pool)| (model.clone(), pool.stats())).collect();
        servers(&mut to, &stats)?;
        queues(&mut to, &stats)
    }
}

fn servers(to: &mut DescriptorEncoder<'_>, stats: &Stats) -> Result<(), fmt::Error> {
    // Not before a trial was answered: a breaker is half-open from the end of its cooldown on, whether anybody calls or not.
    each(to, stats, &names::BACKEND_UP, |replica| f64::from(replica.breaker == BreakerState::Closed))?;
    each(to, stats, &names::BACKEND_BREAKER, |replica| match replica.breaker {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    })?;
    each(to, stats, &names::BACKEND_IN_FLIGHT, |replica| f64::from(replica.in_flight))?;
    each(to, stats, &names::BACKEND_IN_FLIGHT_TOKENS, |replica| replica.in_flight_tokens as f64)?;
    each(to, stats, &names::BACKEND_LIMIT, |replica| f64::from(replica.limit))?;
    each(to, stats, &names::BACKEND_PREFIX_BLOCKS, |replica| replica.prefix_blocks as f64)?;
    by_word(to, stats, &names::BACKEND_CALLS, |replica| {
        let outcomes = replica.outcomes;
        vec![
            ("answered", outcomes.answered as f64),
            ("overloaded", outcomes.overloaded as f64),
            ("timed_out", outcomes.timed_out as f64),
            ("unavailable", outcomes.unavailable as f64),
            ("rejected", outcomes.rejected as f64),
            ("garbled", outcomes.garbled as f64),
            ("cancelled", outcomes.cancelled as f64),
        ]
    })?;
    let answers = replicas(stats).map(|(model, replica)| ([model, &replica.name], counted(&replica.answers)));
    histograms(to, &names::BACKEND_CALL, answers)?;
    by_word(to, stats, &names::BACKEND_TOKENS, |replica| {
        vec![
            ("prompt", replica.prompt_tokens as f64),
            ("cached", replica.cached_tokens as f64),
            ("completion", replica.completion_tokens as f64),
        ]
    })?;
    by_word(to, stats, &names::BACKEND_RATE, |replica| {
        vec![("prompt", replica.prompt_tokens_per_sec), ("completion", replica.completion_tokens_per_sec)]
    })
}

fn queues(to: &mut DescriptorEncoder<'_>, stats: &Stats) -> Result<(), fmt::Error> {
    words(to, stats, &names::BACKEND_QUEUE, |pool| {
        vec![("interactive", pool.queued_interactive as f64), ("batch", pool.queued_batch as f64)]
    })?;
    let tokens = stats.iter().map(|(model, pool)| ([model.as_str()], pool.queued_tokens as f64));
    family(to, &names::BACKEND_QUEUE_TOKENS, tokens)?;
    let waits = stats.iter().map(|(model, pool)| ([model.as_str()], counted(&pool.waits)));
    histograms(to, &names::BACKEND_QUEUE_WAIT, waits)?;
    words(to, stats, &names::BACKEND_REFUSED, |pool| {
        vec![
            ("full", pool.refused_full as f64),
            ("late", pool.refused_late as f64),
            ("down", pool.refused_down as f64),
            ("left", pool.left as f64),
        ]
    })?;
    words(to, stats, &names::BACKEND_SHARED, |pool| {
        let Sharing { single_flight, cache, led, followed, hedges, hedges_won, hedges_denied, .. } =
            pool.sharing;
        let kept = cache.map(|cache| ("cache", (cache.hits + cache.disk_hits) as f64));
        [
            ("single_flight", single_flight as f64),
            ("led", led as f64),
            ("followed", followed as f64),
            ("hedged", hedges as f64),
            ("hedge_won", hedges_won as f64),
            ("hedge_denied", hedges_denied as f64),
        ]
        .into_iter()
        .chain(kept)
        .collect()
    })?;
    words(to, stats, &names::BACKEND_RETRIES, |pool| {
        let moved = pool.moved;
        vec![
            ("overloaded", moved.overloaded as f64),
            ("timed_out", moved.timed_out as f64),
            ("unavailable", moved.unavailable as f64),
            ("garbled", moved.garbled as f64),
        ]
    })
}

/// A number of each server.
fn each(
    to: &mut DescriptorEncoder<'_>,
    stats: &Stats,
    metric: &Metric,
    number: impl Fn(&ReplicaStats) -> f64,
) -> Result<(), fmt::Error> {
    let series = replicas(stats).map(|(model, replica)| ([model, replica.name.as_str()], number(replica)));
    family(to, metric, series)
}

/// Several numbers of each server, each under its word.
fn by_word(
    to: &mut DescriptorEncoder<'_>,
    stats: &Stats,
    metric: &Metric,
    numbers: impl Fn(&ReplicaStats) -> Vec<(&'static str, f64)>,
) -> Result<(), fmt::Error> {
    let series = replicas(stats).flat_map(|(model, replica)| {
        numbers(replica).into_iter().map(move |(word, number)| ([model, replica.name.as_str(), word], number))
    });
    family(to, metric, series)
}

/// Several numbers of each model, each under its word.
fn words(
    to: &mut DescriptorEncoder<'_>,
    stats: &Stats,
    metric: &Metric,
    numbers: impl Fn(&PoolStats) -> Vec<(&'static str, f64)>,
) -> Result<(), fmt::Error> {
    let series = stats.iter().flat_map(|(model, pool)| {
        numbers(pool).into_iter().map(move |(word, number)| ([model.as_str(), word], number))
    });
    family(to, metric, series)
}

fn replicas(stats: &Stats) -> impl Iterator<Item = (&str, &ReplicaStats)> {
    stats.iter().flat_map(|(model, pool)| pool.replicas.iter().map(move |replica| (model.as_str(), replica)))
}

fn counted(times: &Times) -> Counted {
    let bounds = WAIT_BUCKETS.into_iter().chain([f64::INFINITY]);
    Counted {
        sum: times.total.as_secs_f64(),
        count: times.count,
        buckets: bounds.zip(times.buckets).collect(),
    }
}
