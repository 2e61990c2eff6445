//! Simulated model servers to try things with: `cargo run -p anabranch-benches --bin gpu -- --servers 4`.
//!
//! Each listens on a port of its own and speaks as vLLM does; the addresses are printed. Settings are those of one
//! server: `--slots`, `--waiting`, `--prefill` and `--decode` (tokens a second), `--blocks` (of 16 tokens, 0 for any
//! number), `--model`. `--listen` is the first address; the ports after it follow, unless it is 0.
//!
//! A fault is switched on and off by a line on standard input: `1 killed`, `2 unavailable:5`, `1 well`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anabranch_benches::gpu::{Fault, Gpu, GpuSettings, Server};
use tokio::io::{AsyncBufReadExt as _, BufReader};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: gpu [--servers N] [--listen ADDRESS] [--slots N] [--waiting N] [--prefill TOKENS_PER_SEC] \
                     [--decode TOKENS_PER_SEC] [--blocks N] [--model NAME]";

struct Args {
    n_servers: u16,
    listen: SocketAddr,
    settings: GpuSettings,
}

fn args() -> Result<Args, Failed> {
    let settings = GpuSettings::default();
    let mut found = Args { n_servers: 1, listen: "127.0.0.1:0".parse()?, settings };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let Some(value) = args.next() else { return Err(USAGE.into()) };
        let settings = &mut found.settings;
        match name.as_str() {
            "--servers" => found.n_servers = value.parse()?,
            "--listen" => found.listen = value.parse()?,
            "--slots" => settings.slots = value.parse()?,
            "--waiting" => settings.max_waiting = value.parse()?,
            "--prefill" => settings.prefill_per_sec = value.parse()?,
            "--decode" => settings.decode_per_sec = value.parse()?,
            "--blocks" => settings.cache_blocks = NonZeroUsize::new(value.parse()?),
            "--model" => settings.model = value,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let Args { n_servers, listen, settings } = args()?;
    let mut servers = Vec::new();
    for idx in 0..n_servers {
        let port = if listen.port() == 0 { 0 } else { listen.port().saturating_add(idx) };
        let address = SocketAddr::new(listen.ip(), port).to_string();
        let server = Server::start(Arc::new(Gpu::new(settings.clone())), &address).await?;
        say(&server.url())?;
        servers.push(server);
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Err(problem) = command(&servers, &line) {
            say(&problem.to_string())?;
        }
    }
    // Without anybody to give commands it serves until it is ended.
    std::future::pending().await
}

fn command(servers: &[Server], line: &str) -> Result<(), Failed> {
    let (number, fault) =
        line.trim().split_once(' ').ok_or("write a server's number and a fault: `1 killed`")?;
    let number: usize = number.parse().map_err(|_| format!("`{number}` is no number of a server"))?;
    let server = number.checked_sub(1).and_then(|idx| servers.get(idx));
    let server = server.ok_or_else(|| format!("there are servers 1 to {}", servers.len()))?;
    let fault: Option<Fault> = if fault == "well" { None } else { Some(fault.parse()?) };
    server.gpu().set_fault(fault);
    Ok(())
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
