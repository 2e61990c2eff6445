//! What a second process is worth: the same load on one process and on two, which share a `PostgreSQL`.
//!
//! `cargo build --release`, then
//! `cargo run --release -p anabranch-benches --bin workers -- --postgres-bin "$(./.ci/postgres)"`.
//! Each job asks a model four times that takes its time and computes nothing, as one on another machine would: then
//! what a process can have at work at once is what bounds it. Prints JSON: medians of several rounds and their ratio.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anabranch_benches::Failed;
use anabranch_benches::load::{Connection, median, request};
use anabranch_benches::postgres::Server;
use anabranch_benches::service::{Service, arguments, patient_model};
use serde::Deserialize;
use serde_json::json;

const JOBS: usize = 400;
const ROUNDS: usize = 3;
/// Jobs that a process works on at once.
const RUNNING: usize = 16;
const DELAY: Duration = Duration::from_millis(50);
/// Longest time that a round may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Four questions one after the other.
const FLOW: &str = "flow: chain
inputs: { question: text }
nodes:
  a: { op: query.rewrite, in: { question: inputs.question } }
  b: { op: query.rewrite, in: { question: a.query } }
  c: { op: query.rewrite, in: { question: b.query } }
  d: { op: query.rewrite, in: { question: c.query } }
outputs: { query: d.query }
";

/// Where the jobs of a batch are.
#[derive(Debug, Deserialize)]
struct Batch {
    id: String,
    #[serde(default)]
    ended: bool,
    #[serde(default)]
    counts: BTreeMap<String, usize>,
}

/// How long `n_processes` take for the load, in seconds.
async fn timed(binary: &Path, installed: &Path, n_processes: usize) -> Result<f64, Failed> {
    let folder = tempfile::tempdir_in(".")?;
    let server = Server::start(installed, &folder.path().join("postgres"))?;
    let model = patient_model(DELAY).await?;
    let config = format!(
        "store: {{ url: '{}' }}\nserver: {{ flows: flows }}\nlimits: {{ running: {RUNNING} }}\n\
         models: {{ default: {{ url: 'http://{model}', model: patient, stream: false, max_in_flight: 256 }} }}\n",
        server.url()
    );
    let services: Vec<Service> = (0..n_processes)
        .map(|_| Service::start(binary, &config, &[("chain", FLOW)]))
        .collect::<Result<_, _>>()?;
    let first = services.first().ok_or("no process")?;
    let mut connection = Connection::open(&first.address).await?;
    let line = json!({ "flow": "chain", "inputs": { "question": "and now?" } }).to_string() + "\n";
    let submission = request("POST", "/v1/batches", "", &line.repeat(JOBS))
        .replace("application/json", "application/jsonl");
    let began = Instant::now();
    if connection.ask(submission.as_bytes()).await? != 202 {
        return Err(format!("the batch was not taken: {}", connection.json()?).into());
    }
    let batch: Batch = serde_json::from_value(connection.json()?)?;
    let look = request("GET", &format!("/v1/batches/{}", batch.id), "", "");
    loop {
        connection.ask(look.as_bytes()).await?;
        let batch: Batch = serde_json::from_value(connection.json()?)?;
        if batch.ended {
            if batch.counts.get("succeeded") != Some(&JOBS) {
                return Err(format!("not every job succeeded: {:?}", batch.counts).into());
            }
            return Ok(began.elapsed().as_secs_f64());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("the jobs do not end: {:?}", batch.counts).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (binary, others) = arguments()?;
    let installed = match others.as_slice() {
        [flag, folder] if flag == "--postgres-bin" => PathBuf::from(folder),
        _ => return Err("usage: workers --postgres-bin FOLDER [--binary FILE]".into()),
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(timed(&binary, &installed, 1).await?);
        two.push(timed(&binary, &installed, 2).await?);
    }
    let (one, two) = (median(one), median(two));
    let ratio = two / one;
    let report = json!({
        "jobs": JOBS, "model_calls_a_job": 4, "model_ms": DELAY.as_millis(), "running_a_process": RUNNING, "rounds": ROUNDS,
        "one_process_s": (one * 100.0).round() / 100.0,
        "two_processes_s": (two * 100.0).round() / 100.0,
        "best_possible_one_s": JOBS as f64 * 4.0 * DELAY.as_secs_f64() / RUNNING as f64,
        "ratio": { "ours": (ratio * 1000.0).round() / 1000.0, "must_be": "<= 0.6", "met": ratio <= 0.6 },
    });
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    Ok(())
}
