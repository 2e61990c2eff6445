//! `POST /v1/chat/completions`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use utoipa::ToSchema;

use super::answer::{Answer, UrlCitation};
use super::call::{self, Asked, Model, Once};
use super::follow::{self, Piece, follow};
use super::request::{ChatMessage, Common, messages};
use super::{error, models};
use crate::api::body::Body;
use crate::api::caller::Run;
use crate::api::problem::Problem;
use crate::api::{App, Can};
use crate::job::{Job, Usage};

/// The header that names the job of an answer.
pub(super) const JOB_ID: HeaderName = HeaderName::from_static("x-anabranch-job-id");
/// How often a silent stream shows that it is still there.
pub(super) const PING: Duration = Duration::from_secs(15);
/// Where requests are sent, for `Idempotency-Key`.
const ENDPOINT: &str = "POST /v1/chat/completions";

/// A conversation that is to be answered.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// `flow/NAME` or `flow/NAME@VERSION`.
    pub model: String,
    /// The conversation; the last message is the user's.
    pub messages: Vec<ChatMessage>,
    /// How many answers: one.
    pub n: Option<u32>,
    /// Seed of all randomness.
    pub seed: Option<i64>,
    /// Whether to show how likely each token was: refused, unless it is false.
    pub logprobs: Option<bool>,
    /// The form of the answer, which is the flow's affair: refused, unless it is `text`.
    #[schema(value_type = Option<Object>)]
    pub response_format: Option<JsonValue>,
    /// Functions, which flows do not call: refused unless there are none.
    #[schema(value_type = Option<Vec<Object>>)]
    pub functions: Option<Vec<JsonValue>>,
    /// What to tell in a stream.
    pub stream_options: Option<StreamOptions>,
    /// What all requests can say.
    #[serde(flatten)]
    pub common: Common,
}

/// What to tell in a stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether to end with what was used.
    pub include_usage: Option<bool>,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// `chatcmpl-N`: the job is `job_N`.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// When it was asked (unix seconds).
    pub created: i64,
    /// The flow with the version that answered.
    pub model: String,
    /// One answer.
    pub choices: Vec<Choice>,
    /// What was used.
    pub usage: ChatUsage,
    /// What only this service knows.
    pub anabranch: Behind,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Choice {
    /// 0.
    pub index: u32,
    /// What is said.
    pub message: Said,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub logprobs: Option<()>,
    /// `stop`.
    pub finish_reason: &'static str,
}

/// What is said.
#[derive(Debug, Serialize, ToSchema)]
pub struct Said {
    /// `assistant`.
    pub role: &'static str,
    /// The answer.
    pub content: String,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub refusal: Option<()>,
    /// What it rests on.
    pub annotations: Vec<ChatAnnotation>,
}

/// What a part of an answer rests on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatAnnotation {
    /// `url_citation`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The place.
    pub url_citation: UrlCitation,
}

/// What was used.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct ChatUsage {
    /// Tokens read, over all calls of models.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// Of those read, what came from caches.
    pub prompt_tokens_details: CachedTokens,
}

/// Tokens from caches.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct CachedTokens {
    /// Tokens that servers had in their caches.
    pub cached_tokens: u64,
}

/// What is behind an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Behind {
    /// The job.
    pub job_id: String,
    /// What it used.
    pub usage: Usage,
    /// Why there is no answer, if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub absent: Option<JsonValue>,
    /// The answer as it came out in the end, where that is not what was streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Answer a conversation with a flow
///
/// The last message is the flow's input `question` (or its only text that must be given), what was said before its
/// input `history` or `messages`. What the flow decides by itself, such as `temperature` and `max_tokens`, is tolerated
/// and has no effect; what would be answered otherwise than asked, such as `n: 2` or `tools`, is refused.
#[utoipa::path(post, path = "/v1/chat/completions", operation_id = "openai_chat", tag = "openai", security(("key" = ["run"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "makes sending it again harmless")),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "the answer, or a stream of its pieces", content(
            (ChatCompletion = "application/json"), (String = "text/event-stream"))),
        (status = 404, description = "there is no such flow", body = error::OpenAiError),
        (status = 409, description = "the job was cancelled, or waits for somebody", body = error::OpenAiError),
        (status = 502, description = "the job failed", body = error::OpenAiError),
        (status = 503, description = "the process takes no more work", body = error::OpenAiError),
        (status = 504, description = "the job has not ended in time", body = error::OpenAiError),
    ))]
pub(super) async fn complete(
    State(app): State<App>,
    can: Can<Run>,
    headers: HeaderMap,
    body: Body<ChatRequest>,
) -> Result<Response, Problem> {
    let request = body.value;
    check(&request)?;
    let messages = messages(&request.messages, "/messages")?;
    let once = Once::of(&headers, ENDPOINT, body.hash)?;
    let model = Model::find(&app, &can, &request.model).await?;
    let asked = Asked {
        common: &request.common,
        messages: &messages,
        pointer: "/messages",
        seed: request.seed,
        session_id: None,
        labels: std::collections::BTreeMap::new(),
    };
    let prepared = model.prepare(&app, &can, asked).await?;
    if request.common.stream != Some(true) {
        let job = call::finish(&app, prepared, once).await?;
        if let Some(problem) = call::failure(&job) {
            return Ok(with_job(&job.id, problem.into_response()));
        }
        let (outputs, absent) =
            (job.outputs.clone().unwrap_or_default(), job.absent.clone().unwrap_or_default());
        let answer = model.gives.answer(&outputs, &absent);
        return Ok(with_job(&job.id.clone(), Json(completion(&job, answer)).into_response()));
    }
    let place = follow::place(&app)?;
    let created = prepared.job.created_ms / 1000;
    let begun = call::begin(&app, prepared, once).await?;
    let id = begun.id.clone();
    let writer = Writer {
        id: chat_id(&id),
        model: models::id(&model.flow.name, model.flow.version),
        created,
        tells_usage: request.stream_options.unwrap_or_default().include_usage == Some(true),
    };
    let followed = follow(app, can.tenant.clone(), begun, model.gives, place);
    let sse = Sse::new(writer.events(followed)).keep_alive(KeepAlive::new().interval(PING).text("ping"));
    Ok(with_job(&id, sse.into_response()))
}

fn check(request: &ChatRequest) -> Result<(), Problem> {
    request.common.check()?;
    if request.messages.is_empty() {
        return Err(Problem::invalid("/messages", "there are no messages"));
    }
    if request.n.is_some_and(|n| n != 1) {
        return Err(Problem::invalid("/n", "a flow gives one answer: `n` is 1"));
    }
    if request.logprobs == Some(true) {
        return Err(Problem::invalid("/logprobs", "a flow has no probabilities of tokens"));
    }
    if request.functions.as_ref().is_some_and(|functions| !functions.is_empty()) {
        return Err(Problem::invalid("/functions", "a flow calls no functions of its caller"));
    }
    let form = request.response_format.as_ref().and_then(|form| form.get("type")?.as_str());
    if form.is_some_and(|form| form != "text") {
        return Err(Problem::invalid(
            "/response_format",
            "the form of an answer is the flow's affair: only `text` can be asked for",
        ));
    }
    Ok(())
}

/// `chatcmpl-N` of `job_N`.
fn chat_id(job: &str) -> String {
    format!("chatcmpl-{}", job.strip_prefix("job_").unwrap_or(job))
}

pub(super) fn with_job(id: &str, mut response: Response) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(JOB_ID, value);
    }
    response
}

fn completion(job: &Job, answer: Answer) -> ChatCompletion {
    let annotations = annotations(&answer);
    ChatCompletion {
        id: chat_id(&job.id),
        object: "chat.completion",
        created: job.created_ms / 1000,
        model: models::id(&job.flow, job.version),
        choices: vec![Choice {
            index: 0,
            message: Said { role: "assistant", content: answer.text, refusal: None, annotations },
            logprobs: None,
            finish_reason: "stop",
        }],
        usage: job.usage.into(),
        anabranch: Behind { job_id: job.id.clone(), usage: job.usage, absent: answer.absent, text: None },
    }
}

fn annotations(answer: &Answer) -> Vec<ChatAnnotation> {
    let one = |url_citation| ChatAnnotation { kind: "url_citation", url_citation };
    answer.annotations().into_iter().map(one).collect()
}

impl From<Usage> for ChatUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: CachedTokens { cached_tokens: usage.cached_tokens },
        }
    }
}

/// Writes the chunks of a streamed answer.
struct Writer {
    id: String,
    model: String,
    created: i64,
    tells_usage: bool,
}

impl Writer {
    fn events(
        self,
        pieces: impl Stream<Item = Piece> + Send + 'static,
    ) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        let first = self.chunk(json!({ "role": "assistant", "content": "" }), None);
        let first = futures::stream::iter([Ok(event(&first))]);
        first
            .chain(pieces.flat_map(move |piece| futures::stream::iter(self.piece(piece).into_iter().map(Ok))))
    }

    fn piece(&self, piece: Piece) -> VecDeque<Event> {
        let broken = |problem: &Problem| json!(error::body(problem));
        match piece {
            Piece::Text(text) => [event(&self.chunk(json!({ "content": text }), None))].into(),
            Piece::Broken(problem) => [event(&broken(&problem))].into(),
            Piece::End(job, answer, is_whole) => {
                if let Some(problem) = call::failure(&job) {
                    return [event(&broken(&problem))].into();
                }
                let mut events = VecDeque::new();
                let annotations = annotations(&answer);
                let delta =
                    if annotations.is_empty() { json!({}) } else { json!({ "annotations": annotations }) };
                let mut last = self.chunk(delta, Some("stop"));
                let text = (!is_whole).then(|| answer.text.clone());
                let behind = Behind { job_id: job.id.clone(), usage: job.usage, absent: answer.absent, text };
                insert(&mut last, "anabranch", json!(behind));
                events.push_back(event(&last));
                if self.tells_usage {
                    let mut used = self.chunk(json!({}), None);
                    insert(&mut used, "choices", json!([]));
                    insert(&mut used, "usage", json!(ChatUsage::from(job.usage)));
                    events.push_back(event(&used));
                }
                events.push_back(Event::default().data("[DONE]"));
                events
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "made on the spot by every caller")]
    fn chunk(&self, delta: JsonValue, finish_reason: Option<&str>) -> JsonValue {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }],
        });
        if self.tells_usage {
            insert(&mut chunk, "usage", JsonValue::Null);
        }
        chunk
    }
}

fn insert(object: &mut JsonValue, key: &str, value: JsonValue) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn event(data: &JsonValue) -> Event {
    // JSON has no line ends outside its strings, where they are escaped.
    Event::default().data(data.to_string())
}
