//! Whether calls that come together and begin alike are read once a server.

use std::sync::Arc;

use anabranch_backends::pool::settings::WarmupSettings;
use anabranch_backends::pool::{PoolSettings, ReplicaSettings};
use anabranch_engine::backend::{Call, ChatModel};
use futures::future::join_all;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::{Failed, Served, median, of_run, on_paused_clock, request, rounded, row, taking, text};
use crate::gpu::{GpuSettings, Shares};

const CALLS: usize = 32;
/// Tokens: what all prompts begin with, what each asks, an answer.
const PREFIX: usize = 2_000;
const QUESTION: usize = 20;
const ANSWER: u32 = 64;

/// A fan-out over one server and over four, beside the same calls without a leader.
pub fn figure() -> Result<Json, Failed> {
    let mut figures = serde_json::Map::new();
    for n_servers in [1, 4] {
        let ours = fanned_out(n_servers, Shares::Read, true)?;
        let at_once = fanned_out(n_servers, Shares::Read, false)?;
        // What vLLM does when all of them fall into one step of its scheduler: there, waiting can only lose.
        let (shared, shared_at_once) = (
            fanned_out(n_servers, Shares::Scheduled, true)?,
            fanned_out(n_servers, Shares::Scheduled, false)?,
        );
        let copies = row(
            ours.copies as f64,
            "= servers used",
            ours.copies == ours.used,
            &json!({
                "servers_used": ours.used, "baseline": at_once.copies,
                "ratio": rounded(ours.copies as f64 / at_once.copies as f64),
            }),
        );
        let latency = row(
            ours.p50,
            "<= baseline",
            ours.p50 <= at_once.p50,
            &json!({
                "unit": "s", "of": "all at once", "baseline": rounded(at_once.p50),
                "ratio": rounded(ours.p50 / at_once.p50),
            }),
        );
        let beside = json!({
            "p50": rounded(shared.p50), "baseline": rounded(shared_at_once.p50),
            "ratio": rounded(shared.p50 / shared_at_once.p50), "prefix_copies": shared.copies,
        });
        let name = if n_servers == 1 { "1_server".to_owned() } else { format!("{n_servers}_servers") };
        let all = json!({
            "prefix_copies": copies, "p50_latency": latency,
            "servers_that_share_what_they_are_reading": beside,
        });
        figures.insert(name, all);
    }
    Ok(Json::Object(figures))
}

/// What a fan-out came to.
struct FannedOut {
    /// How often the common beginning was read, on all servers together.
    copies: u64,
    /// Servers that got a call.
    used: u64,
    /// Seconds that half of the calls took at most.
    p50: f64,
}

fn fanned_out(n_servers: usize, shares: Shares, has_leader: bool) -> Result<FannedOut, Failed> {
    on_paused_clock(async {
        let gpu = GpuSettings { shares, ..GpuSettings::default() };
        let warmup = WarmupSettings { enabled: has_leader, ..WarmupSettings::default() };
        let replica: ReplicaSettings = taking(gpu.slots);
        let settings = PoolSettings { warmup, ..PoolSettings::default() };
        let served = Arc::new(Served::new(n_servers, &gpu, &settings, replica));
        let prefix = text(0, PREFIX);
        let calls = (1..=CALLS as u64).map(|number| {
            let (served, request) = (served.clone(), request(&prefix, &text(number, QUESTION), ANSWER));
            tokio::spawn(async move {
                let caller = of_run(0);
                let start = Instant::now();
                served.pool.chat(&request, &Call { caller: &caller, ..Call::keyed("k") }).await?;
                Ok::<_, Failed>(start.elapsed().as_secs_f64())
            })
        });
        let mut latencies = Vec::new();
        for call in join_all(calls).await {
            latencies.push(call??);
        }
        let stats: Vec<_> = served.gpus.iter().map(|gpu| gpu.stats()).collect();
        // What all calls have read of their own is less than one beginning.
        let copies = stats.iter().map(|stats| (stats.prompt_tokens - stats.cached_tokens) / PREFIX as u64);
        Ok(FannedOut {
            copies: copies.sum(),
            used: stats.iter().filter(|stats| stats.asked > 0).count() as u64,
            p50: median(latencies),
        })
    })
}
