//! The built service in a process of its own, in a folder of its own, ended when it is dropped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Failed;

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Where it listens.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Starts `binary` with that configuration and those flows, by name.
    pub fn start(binary: &Path, config: &str, flows: &[(&str, &str)]) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("flows"))?;
        for (name, flow) in flows {
            std::fs::write(folder.path().join(format!("flows/{name}.yaml")), flow)?;
        }
        std::fs::write(folder.path().join("anabranch.yaml"), config)?;
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env("BENCH_ROOT_KEY", ROOT_KEY)
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
    pub fn rss_mb(&self) -> Option<f64> {
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

/// The key of the installation where `server.root_key` is `${env:BENCH_ROOT_KEY}`.
pub const ROOT_KEY: &str = "the-key-of-the-benchmark-and-of-nothing-else";

/// The built program: `--binary FILE`, or that of the last release build; and what else was on the command line.
pub fn arguments() -> Result<(PathBuf, Vec<String>), Failed> {
    let mut binary = PathBuf::from("target/release/anabranch");
    let mut others = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--binary" {
            binary = args.next().ok_or("`--binary` needs a file")?.into();
        } else {
            others.push(arg);
        }
    }
    // Services are started in other folders.
    let found = binary.canonicalize().map_err(|error| {
        format!(
            "{}: {error}; `cargo build --release` makes it, `--binary FILE` names another",
            binary.display()
        )
    })?;
    Ok((found, others))
}

/// A chat model that takes `delay` for every answer and computes nothing; its address.
pub async fn patient_model(delay: Duration) -> Result<String, Failed> {
    let answer = json!({
        "choices": [{ "message": { "role": "assistant", "content": "{\"query\": \"and then\"}" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2 },
    });
    answer_all(&answer, delay).await
}

/// A server that answers every request with the same JSON, after `delay`; its address.
pub async fn answer_all(answer: &Json, delay: Duration) -> Result<String, Failed> {
    let body = answer.to_string();
    let answer: Arc<str> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_each(stream, answer.clone(), delay));
        }
    });
    Ok(address)
}

/// Answers every request of a connection once it has come whole.
async fn answer_each(mut stream: TcpStream, answer: Arc<str>, delay: Duration) {
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        while let Some(length) = whole(&buffer) {
            buffer.drain(..length);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if !stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
            return;
        }
    }
}

/// How long the first request is, if all of it is there.
fn whole(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or(0);
    (buffer.len() >= head + length).then_some(head + length)
}
