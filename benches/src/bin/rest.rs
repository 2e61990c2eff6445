//! What the service costs: jobs a second over REST, durable and not, beside plain HTTP; what it does under overload.
//!
//! Starts the built binary on a port of its own (`cargo build --release` first, or `--binary FILE`), asks it over
//! keep-alive connections as 32 clients would, and prints JSON: the median of several rounds, the ratio to an HTTP
//! server that only echoes, in the same run, and the figures of comparable systems.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Failed = Box<dyn std::error::Error + Send + Sync>;

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

/// A running service, ended when it is dropped.
struct Service {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Starts `binary` with the section `store` of the configuration.
    fn start(binary: &Path, store: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let flows = folder.path().join("flows");
        std::fs::create_dir(&flows)?;
        std::fs::write(flows.join("noop.yaml"), FLOW)?;
        std::fs::write(
            folder.path().join("anabranch.yaml"),
            format!("store: {store}\nserver: {{ flows: flows }}\n"),
        )?;
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| c.is_whitespace() || c == '/' || c == '"').next())
            .ok_or_else(|| format!("the service did not say where it listens: `{}`", line.trim()))?
            .to_owned();
        Ok(Self { child, address, _folder: folder })
    }

    /// Resident memory at its most, in MB.
    fn rss_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// What a round of requests came to.
#[derive(Default)]
struct Round {
    per_s: f64,
    ms: Vec<f64>,
    refused: usize,
    others: usize,
}

impl Round {
    fn percentile(&self, p: f64) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = ((sorted.len() as f64 - 1.0) * p).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
        sorted.get(at.max(0.0) as usize).copied().unwrap_or(f64::NAN)
    }
}

/// Asks for `length` over `clients` connections, one request after the other on each.
async fn round(address: &str, request: &str, clients: usize, length: Duration) -> Result<Round, Failed> {
    let began = Instant::now();
    let asking = (0..clients).map(|_| {
        let (address, request) = (address.to_owned(), request.to_owned());
        tokio::spawn(async move { client(&address, request.as_bytes(), began + length).await })
    });
    let asking: Vec<_> = asking.collect();
    let mut round = Round::default();
    for client in asking {
        let part = client.await??;
        round.ms.extend(part.ms);
        round.refused += part.refused;
        round.others += part.others;
    }
    round.per_s = round.ms.len() as f64 / began.elapsed().as_secs_f64();
    Ok(round)
}

async fn client(address: &str, request: &[u8], until: Instant) -> Result<Round, Failed> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut round = Round::default();
    let mut buffer = Vec::with_capacity(16 << 10);
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(request).await?;
        match answer(&mut stream, &mut buffer).await? {
            200 => round.ms.push(began.elapsed().as_secs_f64() * 1e3),
            429 | 503 => round.refused += 1,
            _ => round.others += 1,
        }
    }
    Ok(round)
}

/// Reads one answer with a `Content-Length`; its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16, Failed> {
    buffer.clear();
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("the service closed the connection".into());
        }
    };
    let text = String::from_utf8_lossy(buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .ok_or("no content-length")?;
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the service closed the connection".into());
        }
    }
    Ok(status)
}

/// A server that answers every request with the same bytes: what HTTP over this machine costs by itself.
async fn echo() -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn request(body: &Json, headers: &str) -> String {
    let body = body.to_string();
    format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Several rounds against one service: jobs a second and p99, medians.
async fn measured(service: &Service, request: &str, clients: usize) -> Result<(f64, f64), Failed> {
    round(&service.address, request, clients, Duration::from_secs(1)).await?;
    let (mut per_s, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = round(&service.address, request, clients, ROUND).await?;
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
    let mut binary = PathBuf::from("target/release/anabranch");
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--binary", Some(path)) => binary = path.into(),
            _ => return Err("usage: rest [--binary FILE]".into()),
        }
    }
    // The service is started in another folder.
    let binary = binary.canonicalize()?;
    let sync = request(&json!({ "flow": "noop", "inputs": { "text": "hello" } }), "prefer: wait=30\r\n");

    let plain = round(&echo().await?, &sync, CLIENTS, Duration::from_secs(2)).await?.per_s;
    let durable = Service::start(&binary, "{}")?;
    let (durable_per_s, durable_p99) = measured(&durable, &sync, CLIENTS).await?;
    let durable_rss = durable.rss_mb().unwrap_or(f64::NAN);
    let overload = round(&durable.address, &sync, 10 * CLIENTS, ROUND).await?;
    drop(durable);
    let memory = Service::start(&binary, "{ url: memory }")?;
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
        "overload_10x_clients": {
            "goodput_of_peak": row(overload.per_s / durable_per_s, ">= 0.9", overload.per_s >= 0.9 * durable_per_s),
            "accepted_p99_ms": overload.percentile(0.99).round(), "refused": overload.refused, "other": overload.others,
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
