//! The JSON of the chat completions API: the request that is sent, the answers that are read.

use anabranch_engine::backend::{ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::value::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::Failures;

/// The body of `POST /chat/completions`.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

impl<'a> Body<'a> {
    pub(super) fn new(model: &'a str, request: &'a ChatRequest, stream: bool) -> Self {
        Self {
            model,
            messages: &request.messages,
            stream,
            stream_options: stream.then(|| json!({ "include_usage": true })),
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            stop: &request.stop,
            seed: request.seed,
            response_format: request.response_schema.as_ref().map(|schema| {
                json!({
                    "type": "json_schema",
                    "json_schema": { "name": "answer", "schema": schema, "strict": true },
                })
            }),
        }
    }
}

/// The answer of `GET /models`.
#[derive(Deserialize)]
pub(super) struct Models {
    pub(super) data: Vec<ModelEntry>,
}

/// One model that a server serves.
#[derive(Deserialize)]
pub(super) struct ModelEntry {
    pub(super) id: String,
}

/// An answer in one piece, or one piece of a streamed answer.
#[derive(Deserialize)]
pub(super) struct Completion {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

/// One of the answers; we ask for one.
#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default, alias = "delta")]
    pub(super) message: Option<Said>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

/// What the model said.
#[derive(Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
}

/// Tokens, as the server counts them.
#[derive(Deserialize, Default)]
pub(super) struct WireUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt_tokens = wire.prompt_tokens.unwrap_or_default();
        let cached = wire.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or_default();
        Self {
            prompt_tokens,
            // A server that counts more cached than read would make the rest of the prompt cost less than nothing.
            cached_tokens: cached.min(prompt_tokens),
            completion_tokens: wire.completion_tokens.unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// An answer as it comes in: all at once, or piece by piece.
#[derive(Default)]
pub(super) struct Assembly {
    model: Option<String>,
    text: Option<String>,
    refusal: Option<String>,
    finish_reason: Option<String>,
    usage: Usage,
    has_choice: bool,
}

impl Assembly {
    /// Takes in a piece, and says what text it added.
    pub(super) fn add(&mut self, piece: Completion, failures: &Failures) -> Result<Option<String>, Error> {
        if let Some(error) = piece.error.filter(|error| !error.is_null()) {
            return Err(failures.in_stream(&error));
        }
        if let Some(usage) = piece.usage {
            self.usage = usage.into();
        }
        if piece.model.as_ref().is_some_and(|model| !model.is_empty()) {
            self.model = piece.model;
        }
        let Some(choice) = piece.choices.and_then(|choices| choices.into_iter().next()) else {
            return Ok(None);
        };
        self.has_choice = true;
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
        let Some(said) = choice.message else { return Ok(None) };
        if let Some(refusal) = said.refusal {
            self.refusal.get_or_insert_default().push_str(&refusal);
        }
        if let Some(content) = &said.content {
            self.text.get_or_insert_default().push_str(content);
        }
        Ok(said.content.filter(|content| !content.is_empty()))
    }

    /// Whether the model said that it was done.
    pub(super) fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// The whole answer.
    pub(super) fn finish(self, asked: &str, failures: &Failures) -> Result<ChatResponse, Error> {
        if !self.has_choice {
            return Err(failures.garbled("the answer has no `choices`"));
        }
        let mut finish_reason = match self.finish_reason.as_deref() {
            Some("length" | "model_length" | "max_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            // Servers have names of their own for a model that was done: `eos_token`, `stop_sequence`, `end_turn`.
            _ => FinishReason::Stop,
        };
        let text = match (self.text, self.refusal) {
            (Some(text), _) if !text.is_empty() => text,
            (_, Some(refusal)) if !refusal.is_empty() => {
                finish_reason = FinishReason::ContentFilter;
                refusal
            }
            (Some(text), _) => text,
            // A model that thinks before it speaks can run out of tokens before its first word.
            (None, _) if finish_reason != FinishReason::Stop => String::new(),
            (None, _) => return Err(failures.garbled("the answer has no `content`")),
        };
        let model = self.model.unwrap_or_else(|| asked.to_owned());
        Ok(ChatResponse { text, finish_reason, usage: self.usage, model, logprobs: Vec::new() })
    }
}
