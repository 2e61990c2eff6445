//! The JSON of the chat completions API: the request that is sent, the answers that are read.

use std::borrow::Cow;

use anabranch_engine::backend::{ChatRequest, TokenLogprob, Usage};
use anabranch_engine::value::{Message, Role};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::dialect::{Dialect, Extra};
use super::tools::{self, Names, WireCall, WireFunction, WireMessage};

/// Most likely tokens at each place that any server reports.
const TOP_LOGPROBS_MAX: u8 = 20;

/// The body of `POST /chat/completions`.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    /// vLLM: how many more likely tokens to tell at each place of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<u8>,
}

impl<'a> Body<'a> {
    pub(super) fn new(
        model: &'a str,
        request: &'a ChatRequest,
        names: &Names,
        stream: bool,
        dialect: Dialect,
    ) -> Self {
        let takes = |extra| dialect.takes(extra);
        let (max_tokens, max_completion_tokens) =
            if takes(Extra::MaxTokens) { (request.max_tokens, None) } else { (None, request.max_tokens) };
        let logprobs = request.logprobs.filter(|_| takes(Extra::Logprobs));
        let (messages, response_format) = match &request.response_schema {
            None => (Cow::Borrowed(request.messages.as_slice()), None),
            Some(schema) if takes(Extra::Schema) => {
                (Cow::Borrowed(request.messages.as_slice()), Some(json_schema(schema)))
            }
            Some(schema) => {
                let format = takes(Extra::JsonObject).then(|| json_object(schema));
                (Cow::Owned(with_schema(&request.messages, schema)), format)
            }
        };
        Self {
            model,
            messages: tools::messages(request, messages, names),
            stream,
            stream_options: (stream && takes(Extra::StreamOptions)).then(|| json!({ "include_usage": true })),
            tools: tools::offered(&request.tools, names),
            tool_choice: tools::choice(request.tool_choice).filter(|_| !request.tools.is_empty()),
            temperature: request.temperature.filter(|_| takes(Extra::Temperature)),
            max_tokens,
            max_completion_tokens,
            stop: &request.stop,
            seed: request.seed.filter(|_| takes(Extra::Seed)),
            response_format,
            logprobs: logprobs.map(|_| true),
            top_logprobs: logprobs.map(|n| n.min(TOP_LOGPROBS_MAX)),
            prompt_logprobs: request.prompt_logprobs.then_some(0),
        }
    }
}

fn json_schema(schema: &Value) -> Value {
    json!({
        "type": "json_schema",
        "json_schema": { "name": "answer", "schema": schema, "strict": is_strict(schema) },
    })
}

/// What came before `json_schema`: TGI reads `value`, llama.cpp and Together read `schema`, others neither.
fn json_object(schema: &Value) -> Value {
    json!({ "type": "json_object", "schema": schema, "value": schema })
}

/// Whether `OpenAI`'s strict mode takes `schema`: no object in it may leave out a property or have others.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().all(is_strict),
        Value::Object(entries) => {
            let properties = entries.get("properties").and_then(Value::as_object);
            let required = entries.get("required").and_then(Value::as_array);
            let is_object = properties.is_some() || entries.get("type").is_some_and(|kind| kind == "object");
            let is_closed = entries.get("additionalProperties") == Some(&Value::Bool(false));
            let is_required = |name: &String| {
                required.is_some_and(|names| names.iter().any(|required| required.as_str() == Some(name)))
            };
            let is_whole = properties.is_none_or(|properties| properties.keys().all(is_required));
            (!is_object || is_closed && is_whole) && entries.values().all(is_strict)
        }
        _ => true,
    }
}

/// `messages` with `schema` written into the last one of the user.
fn with_schema(messages: &[Message], schema: &Value) -> Vec<Message> {
    let asked = format!("Answer with nothing but JSON that satisfies this schema:\n{schema}");
    let mut messages = messages.to_vec();
    match messages.iter_mut().rev().find(|message| message.role == Role::User) {
        Some(message) => message.content = format!("{}\n\n{asked}", message.content).into(),
        None => messages.push(Message { role: Role::User, content: asked.into() }),
    }
    messages
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
    pub(super) object: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default, deserialize_with = "prompt_logprobs")]
    pub(super) prompt_logprobs: Vec<TokenLogprob>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    /// What stands beside an error.
    #[serde(default)]
    pub(super) error_type: Option<Value>,
    #[serde(default)]
    pub(super) message: Option<Value>,
    #[serde(default)]
    pub(super) code: Option<Value>,
}

/// One of the answers; we ask for one.
#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default, alias = "delta")]
    pub(super) message: Option<Said>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default, deserialize_with = "logprobs")]
    pub(super) logprobs: Vec<TokenLogprob>,
}

/// What the model said.
#[derive(Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<Content>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<WireCall>>,
    /// A call as it was written before there could be several.
    #[serde(default)]
    pub(super) function_call: Option<WireFunction>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    /// Thoughts: vLLM, `SGLang`, llama.cpp, `DeepSeek`.
    #[serde(default)]
    pub(super) reasoning_content: Option<IgnoredAny>,
    /// Thoughts: Ollama, newer vLLM.
    #[serde(default)]
    pub(super) reasoning: Option<IgnoredAny>,
}

/// The words of an answer: as a text, or in parts of several kinds.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

impl Content {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

/// A part of an answer; only those of type `text` have one.
#[derive(Deserialize)]
pub(super) struct Part {
    #[serde(default)]
    text: Option<String>,
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
    /// `DeepSeek`.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot.
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt_tokens = wire.prompt_tokens.unwrap_or_default();
        let cached = wire.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let cached = cached.or(wire.prompt_cache_hit_tokens).or(wire.cached_tokens).unwrap_or_default();
        Self {
            prompt_tokens,
            // A server that counts more cached than read would make the rest of the prompt cost less than nothing.
            cached_tokens: cached.min(prompt_tokens),
            completion_tokens: wire.completion_tokens.unwrap_or_default(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct WireLogprobs {
    content: Vec<WireLogprob>,
}

#[derive(Deserialize)]
struct WireLogprob {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Option<Vec<WireTop>>,
}

#[derive(Deserialize)]
struct WireTop {
    token: String,
    logprob: f64,
}

/// Whatever has another shape than `OpenAI`'s is passed over: the answer is of use without.
fn logprobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TokenLogprob>, D::Error> {
    let found = serde_json::from_value::<WireLogprobs>(Value::deserialize(deserializer)?);
    Ok(found.map_or_else(|_| Vec::new(), |found| found.content.into_iter().map(token).collect()))
}

#[derive(Deserialize)]
struct WirePromptToken {
    logprob: f64,
    decoded_token: String,
}

/// A token of the prompt by its number, which stands first, and those that were likelier; nothing for the first token.
fn prompt_logprobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TokenLogprob>, D::Error> {
    type Places = Vec<Option<serde_json::Map<String, Value>>>;
    let places = serde_json::from_value::<Places>(Value::deserialize(deserializer)?).unwrap_or_default();
    let first = |place: serde_json::Map<String, Value>| {
        let (_, token) = place.into_iter().next()?;
        let token: WirePromptToken = serde_json::from_value(token).ok()?;
        Some(TokenLogprob { token: token.decoded_token, logprob: token.logprob.min(0.0), top: Vec::new() })
    };
    Ok(places.into_iter().flatten().filter_map(first).collect())
}

fn token(wire: WireLogprob) -> TokenLogprob {
    let top = wire.top_logprobs.unwrap_or_default();
    let mut top: Vec<_> = top.into_iter().map(|top| (top.token, top.logprob.min(0.0))).collect();
    top.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    // Rounding on the server's side can end above certainty.
    TokenLogprob { token: wire.token, logprob: wire.logprob.min(0.0), top }
}
