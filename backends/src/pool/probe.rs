//! Looks after servers between calls: whether they answer at all, and what vLLM says of its queue and cache.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::replica::Gauges;
use super::scheduler::Scheduler;
use super::settings::ProbeSettings;

#[cfg(test)]
mod tests;

/// Where vLLM says how it fares.
const METRICS: &str = "/metrics";
/// Most bytes read of it.
const METRICS_BYTES: usize = 1024 * 1024;
/// Most bytes read of anything else.
const HEALTH_BYTES: usize = 1024;
/// Numbers that are older than so many intervals are too old.
const STALE: u32 = 3;

/// A server that can be looked at between calls.
#[async_trait]
pub trait Probe: Send + Sync + fmt::Debug {
    /// What lies at `path` from the root of its address, at most `max_bytes` of it; `None` if it does not answer, or
    /// says that it has failed.
    async fn look(&self, path: &str, max_bytes: usize) -> Option<Vec<u8>>;
}

/// The looks at a pool's servers.
#[derive(Debug)]
pub(crate) struct Probing {
    settings: ProbeSettings,
    probes: Vec<Option<Arc<dyn Probe>>>,
    has_begun: AtomicBool,
}

impl Probing {
    pub(crate) fn new(settings: ProbeSettings, probes: Vec<Option<Arc<dyn Probe>>>) -> Self {
        Self { settings, probes, has_begun: AtomicBool::new(false) }
    }

    /// Begins with the first call, and ends with the pool: one task for all of its servers, since somebody has to look
    /// while nobody calls.
    pub(crate) fn begin(&self, scheduler: &Arc<Scheduler>) {
        if self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let (settings, probes) = (self.settings.clone(), self.probes.clone());
        let scheduler = Arc::downgrade(scheduler);
        tokio::spawn(async move {
            let mut ticks = interval(settings.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let looks = probes.iter().map(|probe| look(probe.as_deref(), &settings));
                let found = join_all(looks).await;
                let Some(scheduler) = scheduler.upgrade() else { return };
                for (replica, found) in found.into_iter().enumerate() {
                    if let Some((is_well, gauges)) = found {
                        scheduler.probed(replica, is_well, gauges);
                    }
                }
            }
        });
    }
}

async fn look(probe: Option<&dyn Probe>, settings: &ProbeSettings) -> Option<(bool, Option<Gauges>)> {
    let probe = probe?;
    let health = timeout(settings.timeout, probe.look(&settings.path, HEALTH_BYTES)).await;
    let is_well = matches!(health, Ok(Some(_)));
    if !is_well || !settings.metrics {
        return Some((is_well, None));
    }
    let metrics = timeout(settings.timeout, probe.look(METRICS, METRICS_BYTES)).await;
    let until = Instant::now() + settings.interval * STALE;
    let gauges = metrics.ok().flatten().and_then(|metrics| gauges(&String::from_utf8_lossy(&metrics), until));
    Some((is_well, gauges))
}

/// What vLLM's metrics say; `None` if they are not vLLM's.
fn gauges(text: &str, until: Instant) -> Option<Gauges> {
    let value = |name: &str| {
        let of_name = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with(['{', ' ']);
            is_whole.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        // One line for each engine of a server.
        of_name.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or_default() + value))
    };
    let waiting = value("vllm:num_requests_waiting")?;
    // Its name until version 0.10.
    let cache = value("vllm:kv_cache_usage_perc").or_else(|| value("vllm:gpu_cache_usage_perc"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    Some(Gauges { waiting: waiting as u64, cache_usage: cache.unwrap_or_default().clamp(0.0, 1.0), until })
}
