//! Chat models: what one is asked, what it answers.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Error, Usage};
use crate::flow::prompt::Stability;
use crate::value::{Message, Text};

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
    /// How many likely tokens to report at each place, 0 to 20, besides the one that was written; no report if unset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logprobs: Option<u8>,
    /// How long the parts of the messages stay the same; says nothing to the model.
    #[serde(skip)]
    pub layout: Layout,
}

/// The parts that the first messages of a request are made of, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout(Vec<(Stability, usize)>);

impl Layout {
    /// Adds a part of `bytes`.
    pub fn push(&mut self, stability: Stability, bytes: usize) {
        self.0.push((stability, bytes));
    }

    /// Bytes before the first part that is of this call alone.
    pub fn shareable_bytes(&self) -> usize {
        let stable = self.0.iter().take_while(|(stability, _)| *stability < Stability::Item);
        stable.map(|(_, bytes)| bytes).sum()
    }
}

impl ChatRequest {
    /// How much of the `tokens` that it reads stands before the first part that is of this call alone. An estimate.
    pub fn shareable_tokens(&self, tokens: u64) -> u64 {
        let bytes: usize = self.messages.iter().map(|message| message.content.len()).sum();
        let shareable = self.layout.shareable_bytes().min(bytes);
        let share = (u128::from(tokens) * shareable as u128).checked_div(bytes as u128).unwrap_or_default();
        u64::try_from(share).unwrap_or(tokens)
    }
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
    /// What it took; `model_calls` and `cost` are filled in by the engine. Nothing but `shared_calls` where another call's
    /// answer stood in: that call has booked the rest.
    #[serde(default)]
    pub usage: Usage,
    /// The model that answered, as the server names it.
    pub model: String,
    /// How likely each token was, where the request asked for it and the server tells.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logprobs: Vec<TokenLogprob>,
}

/// How likely a token of an answer was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub token: String,
    /// Natural logarithm of its probability, at most 0.
    pub logprob: f64,
    /// The likeliest tokens at this place with theirs, likeliest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub top: Vec<(String, f64)>,
}

/// How a call stands to others that wait for the same servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Nobody waits for it: a batch, a schedule.
    Batch,
    /// Somebody waits for the answer.
    #[default]
    Interactive,
}

/// On whose behalf a call is made: it decides when the call is sent, and to which server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// The tenant.
    pub tenant: Option<Text>,
    /// The API key's id, never the key.
    pub key: Option<Text>,
    /// The run.
    pub run: Option<Text>,
    /// The conversation that the run belongs to.
    pub session: Option<Text>,
    /// How it stands to other callers.
    pub priority: Priority,
}

/// A caller of whom nothing is known.
pub static NOBODY: Caller =
    Caller { tenant: None, key: None, run: None, session: None, priority: Priority::Interactive };

/// What the engine tells a backend about one call.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Names this call of the node execution, stable over retries and restarts: sent as `Idempotency-Key`.
    pub idempotency_key: &'a str,
    /// To be called with each piece of a streamed answer: it shows progress and keeps `idle_timeout` away.
    pub on_delta: &'a (dyn Fn(&str) + Send + Sync),
    /// To be called once the model has begun to answer, be it with a thought: it has read the whole prompt by then. A
    /// model whose answers come in one piece need not.
    pub on_first_token: &'a (dyn Fn() + Send + Sync),
    /// On whose behalf.
    pub caller: &'a Caller,
    /// After which nobody wants the answer.
    pub deadline: Option<Instant>,
    /// Whether it does no harm if the model is asked twice, or if the answer to an identical call is given: not in an
    /// operator with effects.
    pub is_idempotent: bool,
}

impl<'a> Call<'a> {
    /// A call with this key, for nobody in particular, whose pieces nobody watches.
    pub const fn keyed(idempotency_key: &'a str) -> Self {
        Self {
            idempotency_key,
            on_delta: &|_| {},
            on_first_token: &|| {},
            caller: &NOBODY,
            deadline: None,
            is_idempotent: true,
        }
    }
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

    /// How many tokens `text` is in this model's own tokenizer; `None` where nobody said which that is. Operators then
    /// count as `cl100k_base` does.
    fn count_tokens(&self, text: &str) -> Option<usize> {
        let _ = text;
        None
    }

    /// An upper estimate of the tokens that `request` reads, used to reserve budget before the call.
    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        // Three bytes a token is above what common tokenizers need for prose; four more a message for its frame.
        request.messages.iter().map(|message| message.content.len() as u64 / 3 + 4).sum()
    }
}
