//! Whether a run of one call waits for a run of a thousand.

use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::pool::PoolSettings;
use anabranch_engine::backend::{Call, ChatModel};
use anabranch_engine::value::Value;
use futures::future::join_all;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::flows::{has_succeeded, once, plan, resources};
use super::{Failed, Served, largest, median, of_run, on_paused_clock, request, rounded, row, taking, text};
use crate::gpu::GpuSettings;

const SLOTS: usize = 16;
const ITEMS: usize = 1_000;
/// Most items of an each at once.
const CONCURRENCY: usize = 64;
/// One-call runs that come while the large one is under way.
const TRIALS: usize = 20;

/// A run of one call behind an each of a thousand, and behind a thousand calls that all wait already.
pub fn figure() -> Result<Json, Failed> {
    on_paused_clock(async {
        let alone = one(&served(), 0).await?;
        let each = served();
        let running = tokio::spawn(large_each(each.clone()));
        let behind_each = behind(&each, running, alone).await?;
        let calls = served();
        let running = tokio::spawn(large_load(calls.clone()));
        let behind_calls = behind(&calls, running, alone).await?;
        Ok(json!({ "behind_an_each": behind_each, "behind_waiting_calls": behind_calls }))
    })
}

/// A run of a thousand items: seconds that it takes.
async fn large_each(served: Arc<Served>) -> Result<f64, Failed> {
    let many = plan(&format!(
        "flow: many\ninputs: {{ items: list<text> }}\nnodes:\n  fan: {{ each: inputs.items, op: bench.ask, \
         in: {{ text: item }}, concurrency: {CONCURRENCY} }}\noutputs: {{ texts: fan.text }}\n"
    ))?;
    let items = (0..ITEMS).map(|item| Value::Text(text(1_000 + item as u64, 200).into()));
    let (start, resources) = (Instant::now(), resources(served.pool.clone()));
    let report = once(&many, &resources, "many".to_owned(), ("items", Value::list(items)), ITEMS).await?;
    if !has_succeeded(&report) {
        return Err("the large run failed".into());
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A thousand calls of one run at once: seconds that they take.
async fn large_load(served: Arc<Served>) -> Result<f64, Failed> {
    let (start, caller) = (Instant::now(), of_run(ITEMS));
    let asked: Vec<_> = (0..ITEMS).map(|item| request("", &text(item as u64, 200), length(item))).collect();
    let call = Call { caller: &caller, ..Call::keyed("k") };
    for answer in join_all(asked.iter().map(|asked| served.pool.chat(asked, &call))).await {
        answer?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Tokens of an answer, 32 to 128.
fn length(item: usize) -> u32 {
    32 + u32::try_from(item % 97).unwrap_or_default()
}

async fn behind(served: &Served, large: JoinHandle<Result<f64, Failed>>, alone: f64) -> Result<Json, Failed> {
    sleep(Duration::from_millis(500)).await;
    let n_waiting = served.n_queued();
    let mut ratios = Vec::new();
    for trial in 1..=TRIALS {
        ratios.push(one(served, trial).await? / alone);
        sleep(Duration::from_millis(100)).await;
    }
    let is_under_way = !large.is_finished();
    let worst = largest(&ratios);
    Ok(row(
        worst,
        "<= 2",
        worst <= 2.0 && is_under_way,
        &json!({
            "of": "its time alone, the worst of 20", "median": rounded(median(ratios)), "baseline_s": rounded(alone),
            "calls_that_waited": n_waiting, "large_run_s": rounded(large.await??),
        }),
    ))
}

fn served() -> Arc<Served> {
    let gpu = GpuSettings { slots: SLOTS, ..GpuSettings::default() };
    Arc::new(Served::new(1, &gpu, &PoolSettings::default(), taking(SLOTS)))
}

/// Seconds that a run of one call takes.
async fn one(served: &Served, number: usize) -> Result<f64, Failed> {
    let one = plan(
        "flow: one\ninputs: { text: text }\nnodes:\n  ask: { op: bench.ask, in: { text: inputs.text }, \
         with: { min_tokens: 64, max_tokens: 64 } }\noutputs: { text: ask.text }\n",
    )?;
    let start = Instant::now();
    let question = Value::Text(text(number as u64, 200).into());
    let resources = resources(served.pool.clone());
    let report = once(&one, &resources, format!("one{number}"), ("text", question), 1).await?;
    if !has_succeeded(&report) {
        return Err("a run of one call failed".into());
    }
    Ok(start.elapsed().as_secs_f64())
}
