//! What the service costs: jobs a second over REST, durable and not, beside plain HTTP. What it does under overload is
//! measured by `overload`.
//!
//! Starts the built binary on a port of its own (`cargo build --release` first, or `--binary FILE`; memory is that of the
//! shipped one, `--profile dist`), asks it over
//! keep-alive connections as 32 clients would, and prints JSON: the median of several rounds, the ratio to an HTTP
//! server that only echoes, in the same run, and the figures of comparable systems.

use std::time::Duration;

use anabranch_benches::Failed;
use anabranch_benches::load::{median, request, round};
use anabranch_benches::service::{Service, answer_all, arguments};
use serde_json::{Value as Json, json};

const CLIENTS: usize = 32;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);
/// Five nodes that do next to nothing.
const FLOW: &str = "flow: noop
inputs: { text: text }
nodes:
  a: { op: route.rule, in: { text: inputs.text }, with: { routes: { long: size(text) > 100 }, default: short } }
  b: { op: route.rule, in: { text: a.label }, with: { routes: { long: size(text) > 100 }, default: short } }
  c: { op: route.rule, in: { text: b.label }, with: { routes: { long: size(text) > 100 }, default: short } }
  d: { op: route.rule, in: { text: c.label }, with: { routes: { long: size(text) > 100 }, default: short } }
  e: { op: route.rule, in: { text: d.label }, with: { routes: { long: size(text) > 100 }, default: short } }
outputs: { label: e.label }
";

/// Several rounds against one service: jobs a second and p99, medians.
async fn measured(service: &Service, request: &str, clients: usize) -> Result<(f64, f64), Failed> {
    round(&service.address, request, clients, Duration::from_secs(1), None).await?;
    let (mut per_s, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = round(&service.address, request, clients, ROUND, None).await?;
        if round.others > 0 {
            return Err(format!("{} answers were neither 200 nor a refusal", round.others).into());
        }
        per_s.push(round.per_s);
        p99.push(round.percentile(0.99));
    }
    Ok((median(per_s), median(p99)))
}

fn row(ours: f64, must_be: &str, met: bool) -> Json {
    json!({ "ours": (ours * 100.0).round() / 100.0, "must_be": must_be, "met": met })
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (binary, others) = arguments()?;
    if !others.is_empty() {
        return Err("usage: rest [--binary FILE]".into());
    }
    let job = json!({ "flow": "noop", "inputs": { "text": "hello" } }).to_string();
    let sync = request("POST", "/v1/jobs", "prefer: wait=30\r\n", &job);
    let serve = |store: &str| {
        let config = format!("store: {store}\nserver: {{ flows: flows }}\n");
        Service::start(&binary, &config, &[("noop", FLOW)])
    };

    let echo = answer_all(&json!("ok"), Duration::ZERO).await?;
    let plain = round(&echo, &sync, CLIENTS, Duration::from_secs(2), None).await?.per_s;
    let durable = serve("{}")?;
    let (durable_per_s, durable_p99) = measured(&durable, &sync, CLIENTS).await?;
    let durable_rss = durable.rss_mb().unwrap_or(f64::NAN);
    drop(durable);
    let memory = serve("{ url: memory }")?;
    let (memory_per_s, memory_p99) = measured(&memory, &sync, CLIENTS).await?;
    let memory_rss = memory.rss_mb().unwrap_or(f64::NAN);

    let report = json!({
        "flow": "5 no-op nodes", "clients": CLIENTS, "rounds": ROUNDS,
        "plain_http_per_s": plain.round(),
        "durable": {
            "jobs_per_s": row(durable_per_s, ">= 3000", durable_per_s >= 3_000.0),
            "p99_ms": row(durable_p99, "<= 30", durable_p99 <= 30.0),
            "rss_mb": durable_rss.round(),
            "ratio_to_plain_http": (durable_per_s / plain * 1000.0).round() / 1000.0,
        },
        "memory": {
            "jobs_per_s": row(memory_per_s, ">= 5000", memory_per_s >= 5_000.0),
            "p99_ms": row(memory_p99, "<= 20", memory_p99 <= 20.0),
            "rss_mb": row(memory_rss, "<= 60", memory_rss <= 60.0),
            "ratio_to_plain_http": (memory_per_s / plain * 1000.0).round() / 1000.0,
        },
        // Newest releases of November 2026 on a like 2-core machine, +-30 %.
        "peers": { "hayhooks_2.1": { "per_s": 162, "p99_ms": 446, "rss_mb": 137 },
                   "llama_agents_server_0.8": { "per_s": 58, "p99_ms": 961, "rss_mb": 95 } },
    });
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    Ok(())
}
