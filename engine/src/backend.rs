//! What a step may reach outside the engine, as traits, and how each of them can fail.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::FailureKind;

mod chat;
mod dialect;
mod encode;
mod filter;
mod index;
mod tool;

pub use chat::{
    Call, Caller, ChatModel, ChatRequest, ChatResponse, FinishReason, Layout, NOBODY, Priority, TokenLogprob,
};
pub use dialect::json_schema;
pub use encode::{Embedder, Embeddings, Passage, Reranker, Reranking, TokenEmbeddings, TokenVector, Vector};
pub use filter::{Bounds, Condition, Filter, Scalar};
pub use index::{By, Index, IndexStats, InvalidNamespace, Namespace, SearchQuery};
pub use tool::{Tool, ToolAnswer, ToolCall, ToolChoice, ToolResult, ToolServer, ToolSpec, ToolTurn};

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
    /// No server took the request, so nothing of it was used: none could be connected to, or none was free in time.
    #[error("{backend} {}: {message}", if *is_late { "timed out" } else { "is unavailable" })]
    Unreached {
        /// Which backend.
        backend: String,
        /// What happened.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
        /// Whether time ran out before there was one, and not all of them were away.
        is_late: bool,
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

impl Error {
    /// The kind of failure that it is, as retries, metrics and traces name it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Overloaded { .. } => FailureKind::Overloaded,
            Self::TimedOut { .. } | Self::Unreached { is_late: true, .. } => FailureKind::TimedOut,
            Self::Unavailable { .. } | Self::Unreached { is_late: false, .. } => FailureKind::Unavailable,
            Self::Rejected { .. } => FailureKind::Rejected,
            Self::Garbled { .. } => FailureKind::Garbled,
        }
    }

    /// How long the backend asked to be left alone, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::Unavailable { retry_after, .. }
            | Self::Unreached { retry_after, .. } => *retry_after,
            Self::TimedOut { .. } | Self::Rejected { .. } | Self::Garbled { .. } => None,
        }
    }

    /// Whether it is known that no server has worked on the request, so that nothing but the call itself counts.
    pub fn used_nothing(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Rejected { .. } | Self::Unreached { .. })
    }

    /// The same, without the secrets in what the backend said.
    #[must_use]
    pub fn redacted(mut self, by: &dyn Redact) -> Self {
        let (Self::Overloaded { message, .. }
        | Self::TimedOut { message, .. }
        | Self::Unavailable { message, .. }
        | Self::Unreached { message, .. }
        | Self::Rejected { message, .. }
        | Self::Garbled { message, .. }) = &mut self;
        *message = by.text(message);
        self
    }
}

/// Takes secrets out of what backends and tools say of a failure: some echo the key that they were sent.
pub trait Redact: fmt::Debug + Send + Sync {
    /// `text` without secrets.
    fn text(&self, text: &str) -> String;

    /// `value` without secrets, be they in texts or in fields with the name of one.
    fn value(&self, value: &mut serde_json::Value);
}

/// How much a model call took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Calls of chat models.
    pub model_calls: u64,
    /// Calls of embedders and rerankers.
    pub encoder_calls: u64,
    /// Calls of tools.
    #[serde(skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// Tokens read, those found in a cache included.
    pub prompt_tokens: u64,
    /// Tokens read that the server had in its cache.
    pub cached_tokens: u64,
    /// Tokens read that stand in stable parts of prompts, before the first that is another one at every call: what a
    /// server can have in its cache at best. An estimate.
    #[serde(skip_serializing_if = "is_zero")]
    pub shareable_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Of the calls, those that the answer to an identical one stood in for: one in flight at the same time, or one whose
    /// answer was kept. They read and write no tokens of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub shared_calls: u64,
    /// Of the calls, those that never got an answer: they broke off or were given up. What they took is not known; their
    /// tokens and cost are what was held for them, which is the most that it can be.
    #[serde(skip_serializing_if = "is_zero")]
    pub unanswered_calls: u64,
    /// Money, in the currency of the price table.
    pub cost: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Tokens read and written.
    pub fn model_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    // Servers count as they like: what they say must not overflow.
    fn add_assign(&mut self, other: Self) {
        self.model_calls = self.model_calls.saturating_add(other.model_calls);
        self.encoder_calls = self.encoder_calls.saturating_add(other.encoder_calls);
        self.tool_calls = self.tool_calls.saturating_add(other.tool_calls);
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.shareable_tokens = self.shareable_tokens.saturating_add(other.shareable_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
        self.shared_calls = self.shared_calls.saturating_add(other.shared_calls);
        self.unanswered_calls = self.unanswered_calls.saturating_add(other.unanswered_calls);
        self.cost += other.cost;
    }
}
