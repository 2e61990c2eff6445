//! `anabranch health`: asks a service whether it is ready, for containers without any other program.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Ended;
use crate::exit::{Error, Exit};

/// Longest time for the answer.
const TIME: Duration = Duration::from_secs(3);
/// Most bytes of the answer that are looked at.
const ANSWER_BYTES: u64 = 16 << 10;

/// Ask a service whether requests may be sent to it; exits with 0 if so, with 4 if not
///
/// Asks without encryption, and without a key: it is for the machine, or the container, that the service runs in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch health
  anabranch health --server http://127.0.0.1:7118")]
pub(crate) struct Args {
    /// The service: `http://HOST:PORT`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7117")]
    server: String,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let Some(host) = args.server.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        return Err(Error::usage(format!("`{}` is no address", args.server)).hint("write `http://HOST:PORT`"));
    };
    let unavailable = |why: String| Error::new(Exit::Unavailable, format!("the service at `{host}` {why}"));
    match tokio::time::timeout(TIME, ask(host)).await {
        Err(_) => Err(unavailable(format!("did not answer within {} s", TIME.as_secs()))),
        Ok(Err(error)) => Err(unavailable(format!("cannot be reached: {error}"))),
        Ok(Ok(answer)) => {
            let mut parts = answer.splitn(2, "\r\n\r\n");
            let status = parts.next().and_then(|head| head.split_whitespace().nth(1)).unwrap_or("nothing");
            if status == "200" {
                return Ok(Exit::Ok);
            }
            Err(unavailable(format!("is not ready: {status} {}", parts.next().unwrap_or_default())))
        }
    }
}

async fn ask(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
