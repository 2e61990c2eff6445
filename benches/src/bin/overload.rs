//! Ten times more than the service can do: what is accepted, how fast, and whose it is.
//!
//! `cargo build --release`, then `cargo run --release -p anabranch-benches --bin overload`. Jobs ask a model that takes
//! its time, so that what the service can do is known: its slots over that time. Four tenants then send requests at ten
//! times that rate, one as many as the three others together and so on, each more than a fourth of what can be done.
//! Prints JSON: goodput and time of what was accepted against those without overload in the same run, and how evenly
//! the tenants were served (Jain's index: 1 if all got the same, a fourth if one got everything).

use std::time::Duration;

use anabranch_benches::Failed;
use anabranch_benches::load::{Connection, Round, median, request, round};
use anabranch_benches::service::{ROOT_KEY, Service, arguments, patient_model};
use serde_json::json;

const RUNNING: usize = 16;
const DELAY: Duration = Duration::from_millis(100);
/// Jobs of a tenant that may wait: those of four tenants wait for less than one job takes.
const QUEUED: usize = 3;
/// What the tenants ask for, in parts of all requests.
const PARTS: [usize; 4] = [1, 2, 4, 8];
const OVERLOAD: f64 = 10.0;
/// Each client of the overload begins a request that often.
const EVERY: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
const FLOW: &str = "flow: ask
inputs: { question: text }
nodes: { a: { op: query.rewrite, in: { question: inputs.question } } }
outputs: { query: a.query }
";

/// Jain's fairness index.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// A new key of a tenant of its own, which has the flow.
async fn key(service: &Service, tenant: &str) -> Result<String, Failed> {
    let mut connection = Connection::open(&service.address).await?;
    let body = json!({ "name": "bench", "tenant": tenant, "scopes": ["run", "edit"] }).to_string();
    let asked = request("POST", "/v1/keys", &format!("authorization: Bearer {ROOT_KEY}\r\n"), &body);
    let status = connection.ask(asked.as_bytes()).await?;
    let answer = connection.json()?;
    let key = answer.get("key").and_then(|key| key.as_str()).map(str::to_owned);
    let key = key.ok_or_else(|| format!("no key was made ({status}): {answer}"))?;
    let body = json!({ "flow": FLOW }).to_string();
    let put = request("PUT", "/v1/flows/ask", &format!("authorization: Bearer {key}\r\n"), &body);
    match connection.ask(put.as_bytes()).await? {
        201 => Ok(key),
        status => Err(format!("the flow was not taken in ({status}): {}", connection.json()?).into()),
    }
}

/// All tenants at once, each with so many clients.
async fn together(
    service: &Service,
    requests: &[String],
    clients: &[usize],
    every: Option<Duration>,
) -> Result<Vec<Round>, Failed> {
    let mut asking = Vec::new();
    for (request, clients) in requests.iter().zip(clients) {
        let (address, request, clients) = (service.address.clone(), request.clone(), *clients);
        asking.push(tokio::spawn(async move { round(&address, &request, clients, ROUND, every).await }));
    }
    let mut rounds = Vec::new();
    for part in asking {
        rounds.push(part.await??);
    }
    Ok(rounds)
}

fn p99(rounds: &[Round]) -> f64 {
    let ms = rounds.iter().flat_map(|round| round.ms.iter().copied()).collect();
    Round { ms, ..Round::default() }.percentile(0.99)
}

fn per_s(rounds: &[Round]) -> f64 {
    rounds.iter().map(|round| round.per_s).sum()
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (binary, others) = arguments()?;
    if !others.is_empty() {
        return Err("usage: overload [--binary FILE]".into());
    }
    let model = patient_model(DELAY).await?;
    let config = format!(
        "server: {{ flows: flows, root_key: '${{env:BENCH_ROOT_KEY}}' }}\n\
         limits: {{ running: {RUNNING}, queued: {QUEUED} }}\n\
         models: {{ default: {{ url: 'http://{model}', model: patient, stream: false, max_in_flight: 64 }} }}\n"
    );
    let service = Service::start(&binary, &config, &[])?;
    let job = json!({ "flow": "ask", "inputs": { "question": "and now?" } }).to_string();
    let mut requests = Vec::new();
    for n in 0..PARTS.len() {
        let key = key(&service, &format!("tenant-{n}")).await?;
        let headers = format!("prefer: wait=30\r\nauthorization: Bearer {key}\r\n");
        requests.push(request("POST", "/v1/jobs", &headers, &job));
    }

    let can_do = RUNNING as f64 / DELAY.as_secs_f64();
    let clients_a_part = can_do * OVERLOAD * EVERY.as_secs_f64() / PARTS.iter().sum::<usize>() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
    let many = PARTS.map(|part| (clients_a_part * part as f64).round() as usize);
    let half = [RUNNING / 2 / PARTS.len(); PARTS.len()];
    let all = [RUNNING / PARTS.len() + QUEUED; PARTS.len()];
    let (mut unloaded, mut peak, mut goodput, mut accepted, mut fair) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut refused, mut for_ever, mut other) = (0, 0, 0);
    for _ in 0..ROUNDS {
        unloaded.push(p99(&together(&service, &requests, &half, None).await?));
        peak.push(per_s(&together(&service, &requests, &all, None).await?));
        let over = together(&service, &requests, &many, Some(EVERY)).await?;
        goodput.push(per_s(&over));
        accepted.push(p99(&over));
        fair.push(jain(&over.iter().map(|round| round.per_s).collect::<Vec<_>>()));
        refused += over.iter().map(|round| round.refused).sum::<usize>();
        for_ever += over.iter().map(|round| round.refused_for_ever).sum::<usize>();
        other += over.iter().map(|round| round.others).sum::<usize>();
    }
    if peak.contains(&0.0) {
        return Err("no job was done".into());
    }
    let (unloaded, peak) = (median(unloaded), median(peak));
    let (goodput, accepted, fair) = (median(goodput), median(accepted), median(fair));
    let row = |ours: f64, must_be: &str, met: bool| json!({ "ours": (ours * 1000.0).round() / 1000.0, "must_be": must_be, "met": met });
    let report = json!({
        "tenants_ask_for": PARTS, "overload": OVERLOAD, "rounds": ROUNDS, "slots_over_time_per_s": can_do,
        "unloaded_p99_ms": unloaded.round(), "peak_per_s": peak.round(), "overloaded_per_s": goodput.round(),
        "goodput_of_peak": row(goodput / peak, ">= 0.9", goodput >= 0.9 * peak),
        "accepted_p99_of_unloaded": row(accepted / unloaded, "<= 2", accepted <= 2.0 * unloaded),
        "fairness_jain": row(fair, ">= 0.95", fair >= 0.95),
        "refused": refused,
        "refused_without_retry_after": row(for_ever as f64, "0", for_ever == 0),
        "neither_done_nor_refused": row(other as f64, "0", other == 0),
        "rss_mb": service.rss_mb().unwrap_or(f64::NAN).round(),
    });
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    Ok(())
}
