//! What the scheduler knows of one call before it is sent.

use anabranch_engine::backend::{Call, Caller, ChatRequest};
use anabranch_engine::limits;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::policy::Wish;
use super::prefix::Prefix;

/// What the scheduler knows of one call.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Tokens that it reads and may write: an upper estimate.
    pub(crate) tokens: u64,
    /// How its prompt begins.
    pub(crate) prefix: Prefix,
    /// A name for its session, or its run; of its prompt's beginning if there is none.
    session: u64,
    /// On whose behalf.
    pub(crate) caller: Caller,
    /// After which nobody wants the answer.
    pub(crate) deadline: Option<Instant>,
}

impl Asked {
    /// What is known of `request`, which reads about `prompt_tokens`; its prefixes begin with `seed`.
    pub(crate) fn new(prompt_tokens: u64, seed: u64, request: &ChatRequest, call: &Call<'_>) -> Self {
        let written = u64::from(request.max_tokens.unwrap_or(limits::COMPLETION_TOKENS));
        let prefix = Prefix::new(seed, &request.messages);
        let session = call.caller.session.as_ref().or(call.caller.run.as_ref());
        Self {
            tokens: prompt_tokens.saturating_add(written),
            session: session.map_or(prefix.first(), |name| xxh3_64_with_seed(name.as_bytes(), seed)),
            prefix,
            caller: call.caller.clone(),
            deadline: call.deadline,
        }
    }

    /// What a server is chosen by.
    pub(crate) fn wish(&self) -> Wish<'_> {
        Wish { prefix: &self.prefix, session: self.session }
    }
}
