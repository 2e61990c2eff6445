//! The span of one call of a model, an encoder or a tool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use anabranch_engine::backend::{ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::cx::{Answered, Asked, Asking, WatchCall};
use anabranch_engine::operator::OpError;
use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry::{Array, StringValue, Value};
use serde_json::json;

use super::attributes::{Attributes, Over};
use super::parent::{new_span, traceparent};
use super::{Pipeline, messages, names};

/// Texts of an encoder, and messages of a model, that are told.
const TEXTS: usize = 32;
/// Whose interface our model servers have; who stands behind it nobody says.
const PROVIDER: &str = "openai";
/// Whose the embedders are that this program has itself.
const OWN: &str = "anabranch";

/// A call under way, told as a span.
pub(super) struct CallSpan {
    pipeline: Arc<Pipeline>,
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    traceparent: String,
    kind: Kind,
    name: String,
    start: SystemTime,
    first_token: OnceLock<SystemTime>,
    attributes: Attributes,
    /// What counts as used if it is given up.
    held: Usage,
    is_over: AtomicBool,
}

#[derive(Clone, Copy)]
enum Kind {
    Chat,
    Embed,
    Rerank,
    Tool,
}

impl CallSpan {
    pub(super) fn new(pipeline: Arc<Pipeline>, trace: TraceId, parent: SpanId, asking: &Asking<'_>) -> Self {
        let mut attributes = Attributes::default();
        let (kind, operation) = match asking.asked {
            Asked::Chat(request) => {
                chat(&mut attributes, asking.model, request, &pipeline);
                (Kind::Chat, "chat")
            }
            Asked::Embed { texts, .. } => {
                attributes.set(names::KIND, "EMBEDDING");
                attributes.set(names::OPERATION, "embeddings");
                attributes.set(names::PROVIDER, provider_of(asking.model));
                attributes.set(names::REQUEST_MODEL, asking.model.to_owned());
                attributes.set(names::EMBEDDING_MODEL, asking.model.to_owned());
                attributes.count(names::TEXTS, texts.len() as u64);
                for (index, text) in texts.iter().take(TEXTS).enumerate() {
                    if let Some(text) = pipeline.contents.text(text) {
                        attributes.set(format!("embedding.embeddings.{index}.embedding.text"), text);
                    }
                }
                (Kind::Embed, "embeddings")
            }
            Asked::Rerank { query, texts } => {
                attributes.set(names::KIND, "RERANKER");
                attributes.set(names::RERANKER_MODEL, asking.model.to_owned());
                attributes.set_some(names::RERANKER_QUERY, pipeline.contents.text(query));
                attributes.count(names::TEXTS, texts.len() as u64);
                for (index, text) in texts.iter().take(TEXTS).enumerate() {
                    if let Some(text) = pipeline.contents.text(text) {
                        attributes.set(format!("reranker.input_documents.{index}.document.content"), text);
                    }
                }
                (Kind::Rerank, "rerank")
            }
            Asked::Tool(arguments) => {
                attributes.set(names::KIND, "TOOL");
                attributes.set(names::OPERATION, "execute_tool");
                attributes.set(names::TOOL, asking.name.to_owned());
                attributes.set(names::TOOL_NAME, asking.name.to_owned());
                let given = pipeline.contents.json(|| serde_json::Value::Object(arguments.clone()));
                attributes.set_some(names::TOOL_ARGUMENTS, given.clone());
                attributes.value(names::INPUT, names::INPUT_TYPE, given);
                (Kind::Tool, "execute_tool")
            }
        };
        attributes.set(names::MODEL, asking.name.to_owned());
        attributes.set(names::SCOPE, asking.scope.to_string());
        attributes.count(names::ATTEMPT, u64::from(asking.attempt));
        let span = new_span();
        Self {
            traceparent: traceparent(trace, span, true),
            name: format!("{operation} {}", asking.model),
            start: SystemTime::now(),
            first_token: OnceLock::new(),
            is_over: AtomicBool::new(false),
            held: asking.held,
            pipeline,
            trace,
            span,
            parent,
            kind,
            attributes,
        }
    }

    fn over(&self, attributes: Attributes, error: Option<(String, String)>) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        Over {
            trace: self.trace,
            span: self.span,
            parent: Some(self.parent),
            is_parent_remote: false,
            kind: SpanKind::Client,
            name: self.name.clone(),
            start: self.start,
            end: SystemTime::now(),
            attributes,
            events: Vec::new(),
            error,
        }
        .export(&self.pipeline);
    }
}

impl WatchCall for CallSpan {
    fn traceparent(&self) -> Option<&str> {
        Some(&self.traceparent)
    }

    fn first_token(&self) {
        self.first_token.get_or_init(SystemTime::now);
    }

    fn ended(&self, result: Result<Answered<'_>, &OpError>, usage: &Usage) {
        let mut attributes = self.attributes.clone();
        if let Some(waited) = self.first_token.get().and_then(|at| at.duration_since(self.start).ok()) {
            attributes.set(names::FIRST_TOKEN, waited.as_secs_f64() * 1e3);
        }
        let error = match result {
            Ok(answer) => {
                answered(&mut attributes, answer, &self.pipeline);
                used(&mut attributes, self.kind, usage);
                None
            }
            Err(error) => {
                if usage.unanswered_calls > 0 {
                    estimated(&mut attributes, self.kind, usage);
                }
                Some((kind_of(error).to_owned(), error.to_string()))
            }
        };
        self.over(attributes, error);
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let error = ("cancelled".to_owned(), "the call was given up".to_owned());
        let mut attributes = std::mem::take(&mut self.attributes);
        estimated(&mut attributes, self.kind, &self.held);
        self.over(attributes, Some(error));
    }
}

/// The trace that a call belongs to although it has no span.
pub(super) struct PassedOn(pub(super) Arc<str>);

impl WatchCall for PassedOn {
    fn traceparent(&self) -> Option<&str> {
        Some(&self.0)
    }

    fn first_token(&self) {}

    fn ended(&self, _: Result<Answered<'_>, &OpError>, _: &Usage) {}
}

fn chat(attributes: &mut Attributes, model: &str, request: &ChatRequest, pipeline: &Pipeline) {
    attributes.set(names::KIND, "LLM");
    attributes.set(names::OPERATION, "chat");
    attributes.set(names::PROVIDER, PROVIDER);
    attributes.set(names::REQUEST_MODEL, model.to_owned());
    attributes.set_some(names::TEMPERATURE, request.temperature);
    attributes.set_some(names::MAX_TOKENS, request.max_tokens.map(i64::from));
    attributes.set_some(names::SEED, request.seed.and_then(|seed| i64::try_from(seed).ok()));
    if !request.stop.is_empty() {
        attributes.set(names::STOP, strings(request.stop.iter().map(|text| text.clone().into())));
    }
    let parameters =
        json!({ "temperature": request.temperature, "max_tokens": request.max_tokens, "seed": request.seed });
    attributes.set(names::LLM_PARAMETERS, parameters.to_string());
    messages::asked(attributes, request, &pipeline.contents);
}

fn answered(attributes: &mut Attributes, answer: Answered<'_>, pipeline: &Pipeline) {
    match answer {
        Answered::Chat(response) => {
            attributes.set(names::RESPONSE_MODEL, response.model.clone());
            attributes.set(names::LLM_MODEL, response.model.clone());
            let reason = finish(response);
            attributes.set(names::FINISH, strings([reason.into()]));
            messages::answered(attributes, response, reason, &pipeline.contents);
        }
        Answered::Embed(_) => {}
        Answered::Tool(answer) => {
            attributes.set_some(names::OUTPUT, pipeline.contents.text(&answer.words()));
            if answer.is_error {
                attributes.set(names::ERROR, "tool_error");
            }
        }
        Answered::Rerank(scores) => {
            for (index, score) in scores.iter().take(TEXTS).enumerate() {
                attributes.set(format!("reranker.output_documents.{index}.document.score"), *score);
            }
        }
    }
}

/// Tokens and cost: on the calls alone, so that nobody adds them up twice.
fn used(attributes: &mut Attributes, kind: Kind, usage: &Usage) {
    if usage.shared_calls > 0 {
        attributes.set(names::SHARED, true);
    }
    match kind {
        Kind::Chat => {
            attributes.count(names::INPUT_TOKENS, usage.prompt_tokens);
            attributes.count(names::OUTPUT_TOKENS, usage.completion_tokens);
            attributes.count(names::CACHED_TOKENS, usage.cached_tokens);
            attributes.count(names::LLM_PROMPT, usage.prompt_tokens);
            attributes.count(names::LLM_CACHED, usage.cached_tokens);
            attributes.count(names::LLM_COMPLETION, usage.completion_tokens);
            attributes.count(names::LLM_TOTAL, usage.model_tokens());
            attributes.set(names::LLM_COST, usage.cost);
        }
        Kind::Embed => {
            attributes.count(names::INPUT_TOKENS, usage.prompt_tokens);
            attributes.set(names::COST, usage.cost);
        }
        Kind::Rerank => attributes.set(names::COST, usage.cost),
        Kind::Tool => {}
    }
}

/// As [`used`], of a call that nobody heard the end of.
fn estimated(attributes: &mut Attributes, kind: Kind, held: &Usage) {
    attributes.set(names::IS_ESTIMATE, true);
    used(attributes, kind, held);
}

fn strings(texts: impl IntoIterator<Item = StringValue>) -> Value {
    Value::Array(Array::String(texts.into_iter().collect()))
}

fn finish(response: &ChatResponse) -> &'static str {
    match response.finish_reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop if response.tool_calls.is_empty() => "stop",
        FinishReason::Stop => "tool_call",
    }
}

/// Whose interface an embedder has: its identity begins with it, or it needs no server.
fn provider_of(identity: &str) -> &'static str {
    let word = identity.split(|c: char| !c.is_ascii_alphanumeric()).next();
    [PROVIDER, "tei"].into_iter().find(|known| word == Some(known)).unwrap_or(OWN)
}

/// The kind of a failed call, as `retry.on` names it.
fn kind_of(error: &OpError) -> &'static str {
    match error {
        OpError::Backend(error) => error.kind().as_str(),
        _ => "failed",
    }
}
