//! Whether prompts meet the server that has read their beginning.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::pool::settings::Policy;
use anabranch_backends::pool::{PoolSettings, ReplicaSettings};
use anabranch_engine::backend::{Call, ChatModel};
use futures::future::join_all;
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::{Failed, Served, of_run, on_paused_clock, request, rounded, row, taking, text};
use crate::gpu::GpuSettings;

const SERVERS: usize = 4;
/// Runs that loop at once, and how many follow one another.
const LOOPING: usize = 60;
const RUNS_EACH: usize = 4;
const TURNS: usize = 8;
/// Tokens: the instructions of all runs, a run's question, what a turn adds, an answer.
const SYSTEM: usize = 500;
const QUESTION: usize = 100;
const EVIDENCE: usize = 300;
const ANSWER: u32 = 64;
/// Blocks that a server keeps: what a quarter of the runs need, and half as much again.
const CACHE_BLOCKS: usize = LOOPING / SERVERS * (SYSTEM + QUESTION + TURNS * EVIDENCE) / 16 * 3 / 2;

/// 60 looping runs on four servers, beside one large one and beside other policies.
pub fn figure() -> Result<Json, Failed> {
    let infinite = GpuSettings {
        slots: SERVERS * LOOPING,
        prefill_per_sec: SERVERS as f64 * GpuSettings::default().prefill_per_sec,
        cache_blocks: None,
        ..GpuSettings::default()
    };
    let ideal = looped(1, &infinite, Policy::PrefixAffinity, LOOPING)?;
    let mut found = serde_json::Map::new();
    for (name, slots) in [("roomy", 64), ("full", 16), ("crowded", 10)] {
        let gpu =
            GpuSettings { slots, cache_blocks: NonZeroUsize::new(CACHE_BLOCKS), ..GpuSettings::default() };
        let ours = looped(SERVERS, &gpu, Policy::PrefixAffinity, slots)?;
        let others = [
            ("round_robin", Policy::RoundRobin),
            ("least_loaded", Policy::LeastLoaded),
            ("session", Policy::Session),
        ];
        let mut beside = serde_json::Map::new();
        for (name, policy) in others {
            beside.insert(name.to_owned(), looped(SERVERS, &gpu, policy, slots)?.shown(&ideal));
        }
        let share = ours.cached / ideal.cached;
        let figures = json!({
            "cached_share": row(share, ">= 0.95", share >= 0.95, &json!({
                "of": "one server with room for all", "ours": rounded(ours.cached), "baseline": rounded(ideal.cached),
                "ratio": rounded(share),
            })),
            "max_to_min_load": row(ours.spread, "<= 1.5", ours.spread <= 1.5, &json!({})),
            "seconds": rounded(ours.secs),
            "others": beside,
        });
        found.insert(format!("{name}_{slots}_slots"), figures);
    }
    Ok(Json::Object(found))
}

/// What the loops came to.
struct Looped {
    /// Share of the prompts' tokens that was cached.
    cached: f64,
    /// Tokens, read and written, of the server that had most over those of the one that had least.
    spread: f64,
    secs: f64,
}

impl Looped {
    fn shown(&self, ideal: &Self) -> Json {
        json!({
            "cached_share": rounded(self.cached), "ratio": rounded(self.cached / ideal.cached),
            "max_to_min_load": rounded(self.spread), "seconds": rounded(self.secs),
        })
    }
}

fn looped(n_servers: usize, gpu: &GpuSettings, policy: Policy, in_flight: usize) -> Result<Looped, Failed> {
    on_paused_clock(async {
        let settings = PoolSettings { policy, ..PoolSettings::default() };
        let replica: ReplicaSettings = taking(in_flight);
        let served = Arc::new(Served::new(n_servers, gpu, &settings, replica));
        let start = tokio::time::Instant::now();
        let system = text(0, SYSTEM);
        let workers = (0..LOOPING).map(|worker| {
            let (served, system) = (served.clone(), system.clone());
            tokio::spawn(async move {
                // They do not all come at the same moment.
                sleep(Duration::from_millis(37 * worker as u64)).await;
                for round in 0..RUNS_EACH {
                    run(&served, &system, round * LOOPING + worker).await?;
                }
                Ok::<_, Failed>(())
            })
        });
        for worker in join_all(workers).await {
            worker??;
        }
        let stats: Vec<_> = served.gpus.iter().map(|gpu| gpu.stats()).collect();
        let sum = |of: fn(&crate::gpu::GpuStats) -> u64| stats.iter().map(of).sum::<u64>() as f64;
        let loads = stats.iter().map(|stats| (stats.prompt_tokens + stats.completion_tokens) as f64);
        let (least, most) =
            loads.fold((f64::MAX, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
        Ok(Looped {
            cached: sum(|stats| stats.cached_tokens) / sum(|stats| stats.prompt_tokens),
            spread: most / least,
            secs: start.elapsed().as_secs_f64(),
        })
    })
}

/// One run: what is found in each turn is appended, and the prompt asked again.
async fn run(served: &Served, system: &str, number: usize) -> Result<(), Failed> {
    let caller = of_run(number);
    let seed = number as u64 * 1_000 + 1;
    let mut user = text(seed, QUESTION);
    for turn in 1..=TURNS as u64 {
        user += &text(seed + turn, EVIDENCE);
        let call = Call { caller: &caller, ..Call::keyed("k") };
        served.pool.chat(&request(system, &user, ANSWER), &call).await?;
        // Retrieval between two turns.
        sleep(Duration::from_millis(50 + (seed + turn) % 150)).await;
    }
    Ok(())
}
