//! What three times as many calls as a server can take do to those that it could have taken.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::pool::PoolSettings;
use anabranch_backends::pool::settings::QueueSettings;
use anabranch_engine::backend::{Call, ChatModel, Error};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Failed, Served, closed_loop, of_run, on_paused_clock, request, rounded, row, taking, text};
use crate::gpu::{Gpu, GpuSettings, Patience, Simulated};

const SLOTS: usize = 64;
const LENGTH: Duration = Duration::from_mins(1);
/// What is counted begins so late: the queue has filled by then.
const WARM_UP: Duration = Duration::from_secs(10);
/// Calls come so many times faster than they can be answered.
const FACTOR: f64 = 3.0;
const PROMPT: usize = 200;
const ANSWER: u32 = 64;
const QUEUE: usize = 500;

/// Three times the capacity for a minute.
pub fn figure() -> Result<Json, Failed> {
    let gpu = GpuSettings { slots: SLOTS, ..GpuSettings::default() };
    let capacity = on_paused_clock(async {
        let plain: Arc<dyn ChatModel> =
            Arc::new(Simulated::new("plain", Arc::new(Gpu::new(gpu.clone())), Patience::default()));
        let requests = (0..3_000).map(|n| request("", &text(n, PROMPT), ANSWER)).collect();
        Ok(closed_loop(&plain, requests, SLOTS).await?.per_sec() / f64::from(ANSWER))
    })?;
    let small = GpuSettings { max_waiting: 16, ..gpu.clone() };
    let patient = Duration::from_secs(30);
    let cases = [
        ("known_capacity", &gpu, SLOTS, patient, "calls wait at most 30 s"),
        ("hasty_callers", &gpu, SLOTS, Duration::from_secs(5), "calls are worthless after 5 s"),
        (
            "unknown_capacity",
            &small,
            256,
            patient,
            "the server refuses with 429; nobody said how much it takes",
        ),
    ];
    let mut figures = serde_json::Map::new();
    for (name, gpu, in_flight, patience, what) in cases {
        let found = flooded(gpu, in_flight, patience, capacity)?;
        let goodput = found.answered_per_s / capacity;
        let is_met = goodput >= 0.95 && found.untyped == 0 && found.queue <= QUEUE;
        let details = json!({
            "of": "capacity", "what": what, "answered_per_s": rounded(found.answered_per_s),
            "baseline_per_s": rounded(capacity), "came": found.came, "answered": found.answered,
            "refused_overloaded": found.overloaded, "refused_late": found.late, "given_up": found.given_up,
            "other_errors": found.untyped, "longest_queue": found.queue, "refused_by_the_server": found.by_server,
            "rss_mb_at_20_s": found.rss_early.map(rounded), "rss_mb_at_60_s": found.rss_late.map(rounded),
        });
        figures.insert(
            name.to_owned(),
            row(goodput, ">= 0.95, every refusal typed, the queue bounded", is_met, &details),
        );
    }
    Ok(Json::Object(figures))
}

#[derive(Default)]
struct Flooded {
    came: usize,
    answered: usize,
    answered_per_s: f64,
    overloaded: usize,
    late: usize,
    given_up: usize,
    untyped: usize,
    queue: usize,
    by_server: u64,
    rss_early: Option<f64>,
    rss_late: Option<f64>,
}

enum Ended {
    Answered(Instant),
    Refused(Error),
    GivenUp,
}

fn flooded(
    gpu: &GpuSettings,
    in_flight: usize,
    patience: Duration,
    capacity: f64,
) -> Result<Flooded, Failed> {
    on_paused_clock(async {
        let queue = QueueSettings {
            max_calls: NonZeroUsize::new(QUEUE).unwrap_or(NonZeroUsize::MIN),
            ..QueueSettings::default()
        };
        let settings = PoolSettings { queue, ..PoolSettings::default() };
        let served = Arc::new(Served::new(1, gpu, &settings, taking(in_flight)));
        let mut found = Flooded::default();
        let mut random = fastrand::Rng::with_seed(7);
        let (start, mut at) = (Instant::now(), Instant::now());
        let mut calls = JoinSet::new();
        let mut ends = Vec::new();
        while at < start + LENGTH {
            // Calls that know nothing of each other come in bursts and gaps.
            at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / (FACTOR * capacity));
            sleep_until(at).await;
            let (pool, number) = (served.pool.clone(), found.came);
            calls.spawn(async move {
                let caller = of_run(number);
                let deadline = Instant::now() + patience;
                let call = Call { caller: &caller, deadline: Some(deadline), ..Call::keyed("k") };
                let asked = request("", &text(10_000 + number as u64, PROMPT), ANSWER);
                // As the engine does with an attempt whose time is up.
                match timeout_at(deadline, pool.chat(&asked, &call)).await {
                    Ok(Ok(_)) => Ended::Answered(Instant::now()),
                    Ok(Err(error)) => Ended::Refused(error),
                    Err(_) => Ended::GivenUp,
                }
            });
            found.came += 1;
            found.queue = found.queue.max(served.n_queued());
            while let Some(end) = calls.try_join_next() {
                ends.push(end?);
            }
            if found.rss_early.is_none() && at >= start + LENGTH / 3 {
                found.rss_early = rss_mb();
            }
        }
        found.rss_late = rss_mb();
        while let Some(end) = calls.join_next().await {
            ends.push(end?);
        }
        let mut in_time = 0;
        for end in ends {
            match end {
                Ended::Answered(at) => {
                    found.answered += 1;
                    in_time += usize::from((start + WARM_UP..start + LENGTH).contains(&at));
                }
                Ended::Refused(Error::Overloaded { .. }) => found.overloaded += 1,
                Ended::Refused(Error::TimedOut { .. }) => found.late += 1,
                Ended::Refused(_) => found.untyped += 1,
                Ended::GivenUp => found.given_up += 1,
            }
        }
        found.answered_per_s =
            f64::from(u32::try_from(in_time)?) / LENGTH.saturating_sub(WARM_UP).as_secs_f64();
        found.by_server = served.gpus.iter().map(|gpu| gpu.stats().refused).sum();
        Ok(found)
    })
}

/// Resident memory of this process, in MB.
fn rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
