//! Whether the slots of a server stay full while runs have something to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anabranch_backends::chat::{OpenAiChat, OpenAiSettings};
use anabranch_backends::pool::{PoolSettings, PooledChat, Replica};
use anabranch_engine::backend::{ChatModel, ChatRequest};
use anabranch_engine::value::Value;
use futures::future::join_all;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::flows::{four_calls, has_succeeded, once, resources};
use super::{
    Failed, Load, Served, Watched, closed_loop, median, on_paused_clock, rounded, row, taking, text,
};
use crate::gpu::{Gpu, GpuSettings, Patience, Server, Simulated};

const SLOTS: usize = 64;
const RUNS: usize = 500;
/// Rounds of what is measured in wall time; the median counts.
const ROUNDS: usize = 3;
/// Rounds of the scheduler of tasks in which whatever is due has been done.
const SETTLED: usize = 16;

/// 500 runs of four calls on 64 slots, beside plain load of the same calls.
pub fn figure() -> Result<Json, Failed> {
    on_paused_clock(async {
        let settings = GpuSettings { slots: SLOTS, ..GpuSettings::default() };
        let served = Served::new(1, &settings, &PoolSettings::default(), taking(SLOTS));
        let (ours, idle, requests) =
            measured(served.pool.clone(), served.gpus.first().ok_or("no server")?.clone(), true).await?;
        let plain: Arc<dyn ChatModel> =
            Arc::new(Simulated::new("plain", Arc::new(Gpu::new(settings)), Patience::default()));
        let baseline = closed_loop(&plain, requests, SLOTS).await?;
        Ok(shown(&[(ours, baseline, idle)], "of plain load, simulated time"))
    })
}

/// The same over HTTP, in wall time: faster servers, so that it ends.
pub fn over_http() -> Result<Json, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = GpuSettings {
            slots: SLOTS,
            prefill_per_sec: 1e6,
            decode_per_sec: 250.0,
            piece_tokens: 32,
            ..GpuSettings::default()
        };
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let server = Server::start(Arc::new(Gpu::new(settings.clone())), "127.0.0.1:0").await?;
            let model = Arc::new(OpenAiChat::new(OpenAiSettings::new(server.url()))?);
            let replica = Replica {
                name: "s".to_owned(),
                model: model.clone(),
                probe: Some(model),
                settings: taking(SLOTS),
            };
            let pool = Arc::new(PooledChat::new("default", &PoolSettings::default(), vec![replica]));
            let (ours, idle, requests) = measured(pool, server.gpu().clone(), false).await?;
            let server = Server::start(Arc::new(Gpu::new(settings.clone())), "127.0.0.1:0").await?;
            let plain: Arc<dyn ChatModel> = Arc::new(OpenAiChat::new(OpenAiSettings::new(server.url()))?);
            rounds.push((ours, closed_loop(&plain, requests, SLOTS).await?, idle));
        }
        Ok(shown(&rounds, "of plain load over HTTP, wall time"))
    })
}

fn shown(rounds: &[(Load, Load, f64)], of: &str) -> Json {
    let of_each = |get: fn(&(Load, Load, f64)) -> f64| median(rounds.iter().map(get).collect());
    let ratio = of_each(|(ours, plain, _)| ours.per_sec() / plain.per_sec());
    let idle = of_each(|(_, _, idle)| *idle);
    json!({
        "tokens_per_s": row(ratio, ">= 0.98", ratio >= 0.98, &json!({
            "of": of,
            "ours_per_s": of_each(|(ours, _, _)| ours.per_sec()).round(),
            "baseline_per_s": of_each(|(_, plain, _)| plain.per_sec()).round(),
            "ours_s": rounded(of_each(|(ours, _, _)| ours.took.as_secs_f64())),
        })),
        "idle_share_while_calls_wait": row(idle, "<= 0.01", idle <= 0.01, &json!({})),
    })
}

/// How often was looked, and how often a slot was idle while calls waited.
#[derive(Default)]
struct Looks {
    all: AtomicU64,
    idle: AtomicU64,
}

/// The runs' load, the share of the time in which a slot was idle while calls waited, and what was asked.
async fn measured(
    pool: Arc<PooledChat>,
    gpu: Arc<Gpu>,
    is_paused: bool,
) -> Result<(Load, f64, Vec<ChatRequest>), Failed> {
    let watched = Arc::new(Watched::new(pool.clone()));
    let (plan, resources) = (four_calls("")?, resources(watched.clone()));
    let looks = Arc::new(Looks::default());
    let watching = tokio::spawn({
        let looks = looks.clone();
        async move {
            loop {
                sleep(Duration::from_millis(1)).await;
                if is_paused {
                    // What is due at the same moment comes first: a slot that is taken again at once was never idle.
                    for _ in 0..SETTLED {
                        tokio::task::yield_now().await;
                    }
                }
                let is_idle = pool.stats().queued_interactive > 0 && gpu.stats().running < SLOTS;
                looks.all.fetch_add(1, Ordering::Relaxed);
                looks.idle.fetch_add(u64::from(is_idle), Ordering::Relaxed);
            }
        }
    });
    let start = Instant::now();
    let runs = (0..RUNS).map(|run| {
        let (plan, resources) = (plan.clone(), resources.clone());
        tokio::spawn(async move {
            let question = text(run as u64 + 1, 100);
            let report =
                once(&plan, &resources, format!("run{run}"), ("text", Value::Text(question.into())), 8);
            Ok::<_, Failed>(has_succeeded(&report.await?))
        })
    });
    for run in join_all(runs).await {
        if !run?? {
            return Err("a run failed".into());
        }
    }
    let took = start.elapsed();
    watching.abort();
    let calls = watched.calls();
    let tokens = calls.iter().filter_map(|call| call.result.as_ref().ok()).sum();
    let idle = looks.idle.load(Ordering::Relaxed) as f64 / looks.all.load(Ordering::Relaxed) as f64;
    Ok((Load { tokens, took }, idle, calls.into_iter().map(|call| call.request).collect()))
}
