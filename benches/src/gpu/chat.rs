//! The server as a chat model inside the process: what a client of it over HTTP would make of it, without HTTP.

use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::pool::Probe;
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Fault, Gpu, Refusal};

/// How long the client of a server waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time for a whole call.
    pub timeout: Duration,
    /// Longest wait between two pieces.
    pub idle_timeout: Duration,
}

impl Default for Patience {
    /// As the client of OpenAI-compatible servers has it.
    fn default() -> Self {
        Self { timeout: Duration::from_mins(2), idle_timeout: Duration::from_secs(30) }
    }
}

/// A chat model on a simulated server.
#[derive(Debug, Clone)]
pub struct Simulated {
    name: String,
    gpu: Arc<Gpu>,
    patience: Patience,
}

impl Simulated {
    /// The model on `gpu`; `name` tells the server.
    pub fn new(name: impl Into<String>, gpu: Arc<Gpu>, patience: Patience) -> Self {
        Self { name: name.into(), gpu, patience }
    }

    fn error(&self, refusal: Refusal) -> Error {
        let (backend, message) = (self.name.clone(), refusal.to_string());
        match refusal {
            Refusal::Full(_) => Error::Overloaded { backend, message, retry_after: None },
            Refusal::Unavailable(after) => Error::Overloaded { backend, message, retry_after: Some(after) },
            Refusal::Garbled => Error::Garbled { backend, message },
            Refusal::Killed => Error::Unavailable { backend, message, retry_after: None },
        }
    }

    fn response(&self, answer: Answer) -> ChatResponse {
        let usage = Usage {
            prompt_tokens: answer.prompt_tokens,
            cached_tokens: answer.cached_tokens,
            completion_tokens: answer.completion_tokens,
            ..Usage::default()
        };
        ChatResponse {
            text: answer.text,
            finish_reason: FinishReason::Stop,
            usage,
            model: self.name.clone(),
            tool_calls: Vec::new(),
            logprobs: vec![],
        }
    }
}

#[async_trait]
impl ChatModel for Simulated {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let late =
            |message: &str| Error::TimedOut { backend: self.name.clone(), message: message.to_owned() };
        let start = Instant::now();
        // When the latest piece came; nothing before the first, which may take its time.
        let latest = watch::Sender::new(None);
        let on_piece = |piece: &str| {
            (call.on_delta)(piece);
            latest.send_replace(Some(Instant::now()));
        };
        let answering = self.gpu.answer(&request.messages, request.max_tokens, &on_piece);
        let mut pieces = latest.subscribe();
        let stands_still = async {
            loop {
                let piece = *pieces.borrow_and_update();
                let Some(at) = piece else {
                    if pieces.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    continue;
                };
                if timeout_at(at + self.patience.idle_timeout, pieces.changed()).await.is_err() {
                    return;
                }
            }
        };
        let work = async {
            tokio::select! {
                biased;
                answered = answering => answered.map(|answer| self.response(answer)).map_err(|refusal| self.error(refusal)),
                () = stands_still => Err(late("the stream stood still (`idle_timeout`)")),
            }
        };
        let limit = start + self.patience.timeout;
        timeout_at(limit, work).await.unwrap_or_else(|_| Err(late("no complete answer (`timeout`)")))
    }
}

#[async_trait]
impl Probe for Simulated {
    async fn look(&self, path: &str, max_bytes: usize) -> Option<Vec<u8>> {
        if !self.gpu.goes_on().await || matches!(self.gpu.fault(), Some(Fault::Unavailable { .. })) {
            return None;
        }
        let body = if path == "/metrics" { self.gpu.metrics() } else { String::new() };
        Some(body.into_bytes().into_iter().take(max_bytes).collect())
    }
}
