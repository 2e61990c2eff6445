//! A job as a response of `OpenAI`'s Responses API.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use super::answer::{Answer, Gives, UrlCitation};
use super::chat::Behind;
use super::{call, models};
use crate::job::{Job, Status, Usage};

/// The label of a job that goes on from another response.
pub(super) const PREVIOUS: &str = "previous_response_id";

/// A response: a job that was asked for by `OpenAI`'s Responses API.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseObject {
    /// `resp_N`: the job is `job_N`.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// When it was asked (unix seconds).
    pub created_at: i64,
    /// `queued`, `in_progress`, `completed`, `failed` or `cancelled`.
    pub status: &'static str,
    /// Why there is no answer.
    pub error: Option<ResponseError>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub incomplete_details: Option<()>,
    /// Always null: instructions are passed on as a message.
    pub instructions: Option<String>,
    /// What to find the job by.
    pub metadata: BTreeMap<String, String>,
    /// The flow with the version that answers.
    pub model: String,
    /// One message, once it is there.
    pub output: Vec<OutputMessage>,
    /// Always false.
    pub parallel_tool_calls: bool,
    /// The response that it goes on from.
    pub previous_response_id: Option<String>,
    /// Always null: the flow decides.
    pub temperature: Option<f64>,
    /// Always `none`.
    pub tool_choice: &'static str,
    /// Always empty.
    #[schema(value_type = Vec<Object>)]
    pub tools: Vec<Json>,
    /// Always null: the flow decides.
    pub top_p: Option<f64>,
    /// `disabled`.
    pub truncation: &'static str,
    /// The form of the answer: text.
    #[schema(value_type = Object)]
    pub text: Json,
    /// What was used, once it has ended.
    pub usage: Option<ResponseUsage>,
    /// What is behind it.
    pub anabranch: Behind,
}

/// Why there is no answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseError {
    /// `server_error`.
    pub code: &'static str,
    /// What happened.
    pub message: String,
}

/// What is said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputMessage {
    /// `msg_N`.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`.
    pub role: &'static str,
    /// `in_progress` or `completed`.
    pub status: &'static str,
    /// One text.
    pub content: Vec<OutputText>,
}

/// The text of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputText {
    /// `output_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The answer.
    pub text: String,
    /// What it rests on.
    pub annotations: Vec<TextAnnotation>,
    /// Always empty.
    #[schema(value_type = Vec<Object>)]
    pub logprobs: Vec<Json>,
}

/// What a part of a text rests on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextAnnotation {
    /// `url_citation`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The place.
    #[serde(flatten)]
    pub citation: UrlCitation,
}

/// What was used.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct ResponseUsage {
    /// Tokens read, over all calls of models.
    pub input_tokens: u64,
    /// Of these, what came from caches.
    pub input_tokens_details: super::chat::CachedTokens,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of these, what was only thought: not known, so 0.
    pub output_tokens_details: ReasoningTokens,
    /// Both.
    pub total_tokens: u64,
}

/// Tokens that were only thought.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct ReasoningTokens {
    /// Always 0.
    pub reasoning_tokens: u64,
}

impl ResponseObject {
    /// A job as a response; `gives` says where its flow has the answer.
    pub(super) fn of(job: &Job, gives: &Gives) -> Self {
        let mut answer = Answer::default();
        if job.status == Status::Succeeded {
            let (outputs, absent) =
                (job.outputs.clone().unwrap_or_default(), job.absent.clone().unwrap_or_default());
            answer = gives.answer(&outputs, &absent);
        }
        let has_failed = matches!(job.status, Status::Failed | Status::TimedOut);
        let error = call::failure(job).filter(|_| has_failed);
        let mut metadata = job.labels.clone();
        let previous_response_id = metadata.remove(PREVIOUS);
        Self {
            id: id(&job.id),
            object: "response",
            created_at: job.created_ms / 1000,
            status: status(job.status),
            error: error.map(|problem| ResponseError { code: "server_error", message: problem.detail }),
            incomplete_details: None,
            instructions: None,
            metadata,
            model: models::id(&job.flow, job.version),
            output: (job.status == Status::Succeeded)
                .then(|| message(&job.id, &answer))
                .into_iter()
                .collect(),
            parallel_tool_calls: false,
            previous_response_id,
            temperature: None,
            tool_choice: "none",
            tools: Vec::new(),
            top_p: None,
            truncation: "disabled",
            text: json!({ "format": { "type": "text" } }),
            usage: job.status.is_final().then(|| job.usage.into()),
            anabranch: Behind { job_id: job.id.clone(), usage: job.usage, absent: answer.absent, text: None },
        }
    }
}

/// `resp_N` of `job_N`.
pub(super) fn id(job: &str) -> String {
    format!("resp_{}", job.strip_prefix("job_").unwrap_or(job))
}

/// `job_N` of `resp_N`.
pub(super) fn job_id(response: &str) -> String {
    format!("job_{}", response.strip_prefix("resp_").unwrap_or(response))
}

/// The message of a job's answer.
pub(super) fn message(job: &str, answer: &Answer) -> OutputMessage {
    OutputMessage {
        id: message_id(job),
        kind: "message",
        role: "assistant",
        status: "completed",
        content: vec![text(answer)],
    }
}

/// `msg_N` of `job_N`.
pub(super) fn message_id(job: &str) -> String {
    format!("msg_{}", job.strip_prefix("job_").unwrap_or(job))
}

/// An answer as a text with its annotations.
pub(super) fn text(answer: &Answer) -> OutputText {
    let annotations = answer.annotations().into_iter();
    OutputText {
        kind: "output_text",
        text: answer.text.clone(),
        annotations: annotations.map(|citation| TextAnnotation { kind: "url_citation", citation }).collect(),
        logprobs: Vec::new(),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Running | Status::Waiting => "in_progress",
        Status::Succeeded => "completed",
        Status::Failed | Status::TimedOut => "failed",
        Status::Cancelled => "cancelled",
    }
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: super::chat::CachedTokens { cached_tokens: usage.cached_tokens },
            output_tokens: usage.completion_tokens,
            output_tokens_details: ReasoningTokens { reasoning_tokens: 0 },
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}
