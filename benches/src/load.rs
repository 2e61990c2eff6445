//! Requests over keep-alive connections, as clients of the service would send them, and how long the answers take.

use std::time::{Duration, Instant};

use anabranch_evaluation::statistics::percentile;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failed;

/// What a round of requests came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Answers with 200 in a second.
    pub per_s: f64,
    /// How long each of them took.
    pub ms: Vec<f64>,
    /// Answers with 429 or 503.
    pub refused: usize,
    /// Refusals that did not say when to come back.
    pub refused_for_ever: usize,
    /// All other answers.
    pub others: usize,
}

impl Round {
    /// The time within which the share `p` of the answers came, in ms.
    pub fn percentile(&self, p: f64) -> f64 {
        percentile(&self.ms, p).unwrap_or(f64::NAN)
    }
}

/// A connection, and what was read from it last.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    head: usize,
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: &str) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10), head: 0 })
    }

    /// Sends a request and reads its answer, which has a `Content-Length`; its status.
    pub async fn ask(&mut self, request: &[u8]) -> Result<u16, Failed> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        self.head = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let status = self.head().split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
        let length: usize = self
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .ok_or("no content-length")?;
        while self.buffer.len() < self.head + length {
            self.more().await?;
        }
        Ok(status)
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head().lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim().to_owned())
        })
    }

    /// The last answer.
    pub fn json(&self) -> Result<Json, Failed> {
        Ok(serde_json::from_slice(self.buffer.get(self.head..).unwrap_or_default())?)
    }

    fn head(&self) -> String {
        String::from_utf8_lossy(self.buffer.get(..self.head).unwrap_or_default()).to_ascii_lowercase()
    }

    async fn more(&mut self) -> Result<(), Failed> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the service closed the connection".into());
        }
        Ok(())
    }
}

/// A request, as it goes over the wire. `headers` end in a line break each.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks for `length` over `clients` connections, one request after the other on each; with `every`, each begins a
/// request that often at most, and those of all are spread over that time.
pub async fn round(
    address: &str,
    request: &str,
    clients: usize,
    length: Duration,
    every: Option<Duration>,
) -> Result<Round, Failed> {
    let began = Instant::now();
    let asking = (0..clients).map(|n| {
        let (address, request) = (address.to_owned(), request.to_owned());
        let first = began + every.unwrap_or_default().mul_f64(n as f64 / clients as f64);
        tokio::spawn(async move { client(&address, request.as_bytes(), first, began + length, every).await })
    });
    let asking: Vec<_> = asking.collect();
    let mut round = Round::default();
    for client in asking {
        let part = client.await??;
        round.ms.extend(part.ms);
        round.refused += part.refused;
        round.refused_for_ever += part.refused_for_ever;
        round.others += part.others;
    }
    round.per_s = round.ms.len() as f64 / began.elapsed().as_secs_f64();
    Ok(round)
}

async fn client(
    address: &str,
    request: &[u8],
    first: Instant,
    until: Instant,
    every: Option<Duration>,
) -> Result<Round, Failed> {
    let mut connection = Connection::open(address).await?;
    let mut round = Round::default();
    let mut next = first;
    loop {
        if every.is_some() {
            tokio::time::sleep_until(next.into()).await;
        }
        let began = Instant::now();
        if began >= until {
            return Ok(round);
        }
        match connection.ask(request).await? {
            200 => round.ms.push(began.elapsed().as_secs_f64() * 1e3),
            429 | 503 => {
                round.refused += 1;
                round.refused_for_ever += usize::from(connection.header("retry-after").is_none());
            }
            _ => round.others += 1,
        }
        next = (next + every.unwrap_or_default()).max(Instant::now());
    }
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
