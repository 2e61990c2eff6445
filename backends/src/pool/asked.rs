//! What the scheduler knows of one call before it is sent.

use anabranch_engine::backend::{Call, Caller, ChatModel, ChatRequest};
use anabranch_engine::limits;
use tokio::time::Instant;

/// What the scheduler knows of one call.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Tokens that it reads and may write: an upper estimate.
    pub(crate) tokens: u64,
    /// Whether the same question has the same answer: temperature 0, or a seed.
    pub(crate) is_deterministic: bool,
    /// On whose behalf.
    pub(crate) caller: Caller,
    /// After which nobody wants the answer.
    pub(crate) deadline: Option<Instant>,
}

impl Asked {
    /// What `model` would make of `request`.
    pub(crate) fn new(model: &dyn ChatModel, request: &ChatRequest, call: &Call<'_>) -> Self {
        let written = u64::from(request.max_tokens.unwrap_or(limits::COMPLETION_TOKENS));
        Self {
            tokens: model.estimate_prompt_tokens(request).saturating_add(written),
            is_deterministic: request.temperature == Some(0.0) || request.seed.is_some(),
            caller: call.caller.clone(),
            deadline: call.deadline,
        }
    }
}
