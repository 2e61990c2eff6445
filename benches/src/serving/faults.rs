//! What a server that breaks in the middle does to runs and to the others' work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anabranch_backends::pool::PoolSettings;
use anabranch_backends::pool::settings::ProbeSettings;
use anabranch_backends::pool::stats::Moved;
use anabranch_engine::value::Value;
use futures::future::join_all;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::flows::{four_calls, has_succeeded, once, resources};
use super::{Failed, Served, Watched, on_paused_clock, rounded, row, taking, text};
use crate::gpu::{Fault, GpuSettings};

const SERVERS: usize = 4;
const SLOTS: usize = 16;
/// Runs at once: a quarter more than there are slots.
const RUNS: usize = 80;
const BEFORE: Duration = Duration::from_secs(20);
/// Longer than a client waits for a stream that stands still.
const BROKEN: Duration = Duration::from_secs(45);
const AFTER: Duration = Duration::from_secs(30);
/// When goodput must have recovered.
const RECOVERY: Duration = Duration::from_secs(2);
/// What goodput is taken over; before, it ends early enough that no answer in it is broken off.
const WINDOW: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(5);

/// One of four servers breaks in the middle, in each way, with and without looks at them.
pub fn figure() -> Result<Json, Failed> {
    let faults = [
        Fault::Killed,
        Fault::Garbled,
        Fault::Stalled,
        Fault::Unavailable { retry_after: Duration::from_secs(1) },
    ];
    let mut figures = serde_json::Map::new();
    for fault in faults {
        for (suffix, probe) in [("", None), ("_probed", Some(ProbeSettings::default()))] {
            let found = broken(fault, probe)?;
            let goodput = found.after / found.before;
            let is_met = goodput >= 0.73 && found.n_failed == 0;
            let details = json!({
                "of": "goodput before, from 2 s after it broke on",
                "before_per_s": rounded(found.before), "after_per_s": rounded(found.after),
                "first_2_s": rounded(found.first / found.before),
                "worst_second": rounded(found.worst / found.before),
                "once_it_is_well": rounded(found.well / found.before),
                "runs": found.n_runs, "runs_failed": found.n_failed, "calls_moved": found.moved,
            });
            let name = fault.to_string().replace(':', "_") + suffix;
            figures.insert(name, row(goodput, ">= 0.73, no run failed", is_met, &details));
        }
    }
    Ok(Json::Object(figures))
}

struct Broken {
    before: f64,
    first: f64,
    after: f64,
    worst: f64,
    well: f64,
    n_runs: usize,
    n_failed: usize,
    moved: Moved,
}

fn broken(fault: Fault, probe: Option<ProbeSettings>) -> Result<Broken, Failed> {
    on_paused_clock(async {
        let gpu = GpuSettings { slots: SLOTS, ..GpuSettings::default() };
        let settings = PoolSettings { probe, ..PoolSettings::default() };
        let served = Served::new(SERVERS, &gpu, &settings, taking(SLOTS));
        let watched = Arc::new(Watched::new(served.pool.clone()));
        let (plan, resources) = (four_calls(", retry: {}")?, resources(watched.clone()));
        let is_over = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let workers = (0..RUNS).map(|worker| {
            let (plan, resources, is_over) = (plan.clone(), resources.clone(), is_over.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(13 * worker as u64)).await;
                let (mut n_runs, mut n_failed) = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    let number = n_runs * RUNS + worker;
                    let question = Value::Text(text(number as u64, 100).into());
                    let report =
                        once(&plan, &resources, format!("run{number}"), ("text", question), 8).await?;
                    n_runs += 1;
                    n_failed += usize::from(!has_succeeded(&report));
                }
                Ok::<_, Failed>((n_runs, n_failed))
            })
        });
        let workers: Vec<_> = workers.collect();
        let sick = served.gpus.get(1).ok_or("no second server")?;
        let breaks = start + BEFORE;
        sleep_until(breaks).await;
        sick.set_fault(Some(fault));
        sleep_until(breaks + BROKEN).await;
        sick.set_fault(None);
        sleep_until(breaks + BROKEN + AFTER).await;
        is_over.store(true, Ordering::Relaxed);
        let (mut n_runs, mut n_failed) = (0, 0);
        for worker in join_all(workers).await {
            let (runs, failed) = worker??;
            (n_runs, n_failed) = (n_runs + runs, n_failed + failed);
        }
        let recovered = breaks + RECOVERY;
        let end = breaks + BROKEN + AFTER;
        let seconds = (0..WINDOW.as_secs()).map(|second| {
            let from = recovered + Duration::from_secs(second);
            watched.goodput(from, from + Duration::from_secs(1))
        });
        Ok(Broken {
            before: watched.goodput(breaks - WINDOW - MARGIN, breaks - MARGIN),
            first: watched.goodput(breaks, recovered),
            after: watched.goodput(recovered, recovered + WINDOW),
            worst: seconds.fold(f64::MAX, f64::min),
            well: watched.goodput(end - WINDOW - MARGIN, end - MARGIN),
            n_runs,
            n_failed,
            moved: served.pool.stats().moved,
        })
    })
}
