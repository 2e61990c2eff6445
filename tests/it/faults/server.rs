//! A model server that does wrong on purpose, byte by byte: it reads a request and does what its script says.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that [`Step::Endless`] would send if nobody stopped it.
pub(crate) const GIGABYTE: u64 = 1 << 30;

/// What a server does once it has read a request. After the last step it closes its side.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes, one after the other, with a wait between them.
    Trickle(Vec<u8>, Duration),
    /// Sends the same bytes over and over, up to a gigabyte.
    Endless(Vec<u8>),
    /// Does nothing any more.
    Hang,
}

/// What came with a request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The head: the first line and the headers, in lower case.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A running server. Stops when dropped.
pub(crate) struct Fake {
    /// Its address.
    pub(crate) url: String,
    sent: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// A server that does `script(n)` for the n-th request, from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let script = Arc::new(script);
        let (count, log) = (sent.clone(), requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, script.clone(), count.clone(), log.clone()));
            }
        });
        Self { url, sent, requests, task }
    }

    /// Bytes that its sockets have taken so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection. Whatever fails here is the client's going away.
async fn serve(
    mut socket: TcpStream,
    script: Arc<impl Fn(usize) -> Vec<Step>>,
    sent: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<Request>>>,
) -> Option<()> {
    let request = read_request(&mut socket).await?;
    let n_before = {
        let mut requests = requests.lock().unwrap();
        requests.push(request);
        requests.len() - 1
    };
    let steps = script(n_before);
    for step in steps {
        match step {
            Step::Send(bytes) => send(&mut socket, &bytes, &sent).await?,
            Step::Trickle(bytes, wait) => {
                for byte in bytes {
                    send(&mut socket, &[byte], &sent).await?;
                    tokio::time::sleep(wait).await;
                }
            }
            Step::Endless(bytes) => {
                while sent.load(Ordering::Relaxed) < GIGABYTE {
                    send(&mut socket, &bytes, &sent).await?;
                }
            }
            Step::Hang => std::future::pending().await,
        }
    }
    socket.shutdown().await.ok()?;
    // Bytes that nobody read would turn the close into a reset.
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await.is_ok_and(|n_read| n_read > 0) {}
    Some(())
}

async fn send(socket: &mut TcpStream, bytes: &[u8], sent: &AtomicU64) -> Option<()> {
    socket.write_all(bytes).await.ok()?;
    sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Some(())
}

/// Reads a request to its end.
async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let n_body: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + n_body {
                let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
                return Some(Request { head, body });
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A whole answer.
pub(crate) fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut bytes = head(status, &[headers, &[("content-length", &length)]].concat());
    bytes.extend_from_slice(body);
    bytes
}

/// The beginning of an answer whose end is that of the connection, unless a header says otherwise.
pub(crate) fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text.into_bytes()
}
