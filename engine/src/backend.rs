//! What a step may reach outside the engine, as traits, and how each of them can fail.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::value::{Chunk, Message, Metadata};

/// Why a backend gave no usable answer. Whether trying again can help is in the variant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// It refused for now: too many requests, or a full queue.
    #[error("{backend} is overloaded: {message}")]
    Overloaded {
        /// Which backend.
        backend: String,
        /// What it said.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It did not answer, or not go on answering, in time.
    #[error("{backend} timed out: {message}")]
    TimedOut {
        /// Which backend.
        backend: String,
        /// Which limit ran out.
        message: String,
    },
    /// It could not be reached, or failed on its side.
    #[error("{backend} is unavailable: {message}")]
    Unavailable {
        /// Which backend.
        backend: String,
        /// What happened.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It understood and said no; the same request will be refused again.
    #[error("{backend} rejected the request: {message}")]
    Rejected {
        /// Which backend.
        backend: String,
        /// What it said.
        message: String,
    },
    /// It answered with something that is no answer.
    #[error("{backend} gave a garbled answer: {message}")]
    Garbled {
        /// Which backend.
        backend: String,
        /// What is wrong with it.
        message: String,
    },
}

/// How much a model call took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Calls of models.
    pub model_calls: u64,
    /// Tokens read, those found in a cache included.
    pub prompt_tokens: u64,
    /// Tokens read that the server had in its cache.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Money, in the currency of the price table.
    pub cost: f64,
}

impl Usage {
    /// Tokens read and written.
    pub fn model_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.model_calls += other.model_calls;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cost += other.cost;
    }
}

/// What a chat model is asked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Sampling temperature, 0 to 2; the server's default if unset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub temperature: Option<f64>,
    /// Most tokens to write.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stop: Vec<String>,
    /// JSON Schema that the answer must satisfy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response_schema: Option<serde_json::Value>,
    /// Seed for sampling, where the server takes one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed: Option<u64>,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done, or met a stop text.
    Stop,
    /// It ran into `max_tokens` or the model's context length: the answer is cut.
    Length,
    /// The server withheld the answer.
    ContentFilter,
}

/// What a chat model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// The text.
    pub text: String,
    /// Why it ended there.
    pub finish_reason: FinishReason,
    /// What it took; `model_calls` and `cost` are filled in by the engine.
    #[serde(default)]
    pub usage: Usage,
    /// The model that answered, as the server names it.
    pub model: String,
}

/// What the engine tells a backend about one call.
pub struct Call<'a> {
    /// Names the node execution, stable over retries and restarts: sent as `Idempotency-Key`.
    pub idempotency_key: &'a str,
    /// To be called with each piece of a streamed answer: it shows progress and keeps `idle_timeout` away.
    pub on_delta: &'a (dyn Fn(&str) + Send + Sync),
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("idempotency_key", &self.idempotency_key).finish_non_exhaustive()
    }
}

/// A model that holds a conversation. Dropping the future must abort the call.
#[async_trait]
pub trait ChatModel: Send + Sync + fmt::Debug {
    /// The model's name as its server knows it.
    fn name(&self) -> &str;

    /// Answers.
    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error>;

    /// An upper estimate of the tokens that `request` reads, used to reserve budget before the call.
    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        // Three bytes a token is above what common tokenizers need for prose; four more a message for its frame.
        request.messages.iter().map(|message| message.content.len() as u64 / 3 + 4).sum()
    }
}

/// What an index is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// The words to look for.
    pub text: String,
    /// How many chunks to give back at most, best first.
    pub top_k: usize,
    /// BM25 term saturation, ≥ 0.
    pub k1: f32,
    /// BM25 length normalisation, 0 to 1.
    pub b: f32,
    /// Only chunks whose metadata has these values.
    pub filter: Metadata,
}

/// How large an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct IndexStats {
    /// Documents in it.
    pub documents: u64,
    /// Chunks in it.
    pub chunks: u64,
}

/// Chunks that can be searched.
#[async_trait]
pub trait Index: Send + Sync + fmt::Debug {
    /// The chunks that match best, best first, each with its score; equal scores in the order of document and place.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error>;

    /// How much it holds.
    async fn stats(&self) -> Result<IndexStats, Error>;
}
