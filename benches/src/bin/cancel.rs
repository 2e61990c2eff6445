//! How soon a job is over once it is cancelled: 1,000 jobs, each at a random moment of its life.
//!
//! `cargo build --release`, then `cargo run --release -p anabranch-benches --bin cancel`. The jobs ask a model that
//! never answers in time, more of them at once than the service works on, so that some are cancelled while they wait
//! and some while they are at work. Prints JSON: the time from the request to the first look that finds the job final.

use std::time::{Duration, Instant};

use anabranch_benches::Failed;
use anabranch_benches::load::{Connection, Round, request};
use anabranch_benches::service::{Service, arguments, patient_model};
use serde::Deserialize;
use serde_json::json;

const JOBS: usize = 1_000;
/// Jobs that are there at once.
const CLIENTS: usize = 50;
/// Jobs that are at work at once.
const RUNNING: usize = 32;
const SEED: u64 = 7;
/// Longest wait before a job is cancelled.
const LONGEST: u64 = 200;
/// Longest time in which a cancelled job must be over, in ms.
const GOAL: f64 = 1_000.0;
/// Longest time that is waited for it.
const PATIENCE: Duration = Duration::from_secs(30);
const FLOW: &str = "flow: ask
inputs: { question: text }
nodes:
  a: { op: query.rewrite, in: { question: inputs.question } }
  b: { op: query.rewrite, in: { question: a.query } }
outputs: { query: b.query }
";

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    status: String,
}

/// Submits and cancels `n` jobs one after the other; how long each took to be over, in ms.
async fn client(address: String, n: usize, seed: u64) -> Result<Vec<f64>, Failed> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connection = Connection::open(&address).await?;
    let body = json!({ "flow": "ask", "inputs": { "question": "and now?" } }).to_string();
    let submission = request("POST", "/v1/jobs", "", &body);
    let mut ms = Vec::with_capacity(n);
    for _ in 0..n {
        if connection.ask(submission.as_bytes()).await? != 202 {
            return Err(format!("a job was not taken: {}", connection.json()?).into());
        }
        let job: Job = serde_json::from_value(connection.json()?)?;
        tokio::time::sleep(Duration::from_millis(random.u64(0..LONGEST))).await;
        let cancel = request("POST", &format!("/v1/jobs/{}/cancel", job.id), "", r#"{"mode":"now"}"#);
        let look = request("GET", &format!("/v1/jobs/{}", job.id), "", "");
        let began = Instant::now();
        let status = connection.ask(cancel.as_bytes()).await?;
        if !(200..300).contains(&status) {
            return Err(format!("a job was not cancelled ({status}): {}", connection.json()?).into());
        }
        loop {
            connection.ask(look.as_bytes()).await?;
            let job: Job = serde_json::from_value(connection.json()?)?;
            match job.status.as_str() {
                "cancelled" => break,
                "queued" | "running" if began.elapsed() < PATIENCE => {}
                status => return Err(format!("`{}` is {status} after its cancel", job.id).into()),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(ms)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (binary, others) = arguments()?;
    if !others.is_empty() {
        return Err("usage: cancel [--binary FILE]".into());
    }
    let model = patient_model(Duration::from_mins(1)).await?;
    let config = format!(
        "server: {{ flows: flows }}\nlimits: {{ running: {RUNNING} }}\n\
         models: {{ default: {{ url: 'http://{model}', model: patient, stream: false, max_in_flight: 64 }} }}\n"
    );
    let service = Service::start(&binary, &config, &[("ask", FLOW)])?;
    let clients = (0..CLIENTS as u64)
        .map(|n| tokio::spawn(client(service.address.clone(), JOBS / CLIENTS, SEED + n)))
        .collect::<Vec<_>>();
    let mut round = Round::default();
    for client in clients {
        round.ms.extend(client.await??);
    }
    let longest = round.percentile(1.0);
    let report = json!({
        "jobs": JOBS, "at_once": CLIENTS, "at_work": RUNNING, "seed": SEED,
        "p50_ms": round.percentile(0.5).round(), "p99_ms": round.percentile(0.99).round(),
        "longest_ms": { "ours": longest.round(), "must_be": format!("<= {GOAL}"), "met": longest <= GOAL },
    });
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    Ok(())
}
