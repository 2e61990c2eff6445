//! What a process tells another: a line of JSON for each thing, and an empty one where there is nothing to tell.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// How long the other side may send nothing at all: it sends an empty line three times as often.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest line: the texts of all nodes that run.
const LINE_BYTES: usize = 16 << 20;

/// An answer, line by line.
pub(super) struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
    /// How far no end of a line was found.
    looked: usize,
}

impl Lines {
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self { response, buffer: Vec::new(), looked: 0 }
    }

    /// The next line that can be read; `None` if there is no more, or if the other side has gone silent. One that
    /// cannot be read is left out: a newer process may tell of things that this one does not know.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            let line = self.line().await?;
            match serde_json::from_slice(&line) {
                Ok(told) => return Some(told),
                Err(error) if !line.trim_ascii().is_empty() => {
                    tracing::debug!(%error, "another process tells something that is not understood");
                }
                Err(_) => {}
            }
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let fresh = self.buffer.get(self.looked..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.looked + end + 1);
                self.looked = 0;
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            self.looked = self.buffer.len();
            if self.buffer.len() > LINE_BYTES {
                return None;
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await.ok()?.ok()??;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
