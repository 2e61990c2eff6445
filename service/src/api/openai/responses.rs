//! `/v1/responses`: asked for, perhaps in the background, looked at, stopped, forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_engine::value::{Message, Role};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use utoipa::{IntoParams, ToSchema};

use super::answer::Gives;
use super::call::{self, Asked, Begun, Model, Once};
use super::chat::{PING, with_job};
use super::error;
use super::events::Events;
use super::follow::{self, follow};
use super::request::{ChatMessage, Common, messages, text};
use super::resource::{self, PREVIOUS, ResponseObject};
use crate::api::body::{Body, Query};
use crate::api::caller::{Caller, Read, Run};
use crate::api::problem::{Code, Problem};
use crate::api::{App, Can};
use crate::job::{Job, Status};
use crate::store::CancelAsked;

/// Where requests are sent, for `Idempotency-Key`.
const ENDPOINT: &str = "POST /v1/responses";
/// How long a cancel waits for the job to have ended.
const CANCEL_TIME: Duration = Duration::from_secs(2);

/// A conversation that is to be answered.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ResponseRequest {
    /// `flow/NAME` or `flow/NAME@VERSION`.
    pub model: String,
    /// The question, or the conversation as a list of messages.
    #[schema(value_type = Object)]
    pub input: JsonValue,
    /// What holds for the whole conversation: a message of the role `system` before all others.
    pub instructions: Option<String>,
    /// The response that it goes on from: what was said there comes before `input`.
    pub previous_response_id: Option<String>,
    /// Whether to answer at once, with the job under way.
    pub background: Option<bool>,
    /// A conversation that is kept, which there is none of: refused.
    #[schema(value_type = Option<Object>)]
    pub conversation: Option<JsonValue>,
    /// The form of the answer, which is the flow's affair: refused, unless it is text.
    #[schema(value_type = Option<Object>)]
    pub text: Option<JsonValue>,
    /// What all requests can say.
    #[serde(flatten)]
    pub common: Common,
}

/// How to look at a response.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct LookAt {
    /// Whether to follow it to its end.
    pub stream: Option<bool>,
    /// The number of the last event that the caller has.
    pub starting_after: Option<u64>,
}

/// A response that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forgotten {
    /// `resp_N`.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// True.
    pub deleted: bool,
}

/// Answer a conversation with a flow, perhaps in the background
///
/// With `background`, the answer comes at once with the status `queued` or `in_progress`; ask for it again by its id.
/// `previous_response_id` takes what was said there from the inputs of that job: for flows with an input `history` or
/// `messages`.
#[utoipa::path(post, path = "/v1/responses", operation_id = "openai_create_response", tag = "openai", security(("key" = ["run"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "makes sending it again harmless")),
    request_body = ResponseRequest,
    responses(
        (status = 200, description = "the response, or a stream of its events", content(
            (ResponseObject = "application/json"), (String = "text/event-stream"))),
        (status = 404, description = "there is no such flow, or no such response before", body = error::OpenAiError),
        (status = 503, description = "the process takes no more work", body = error::OpenAiError),
        (status = 504, description = "the job has not ended in time", body = error::OpenAiError),
    ))]
pub(super) async fn create(
    State(app): State<App>,
    can: Can<Run>,
    headers: HeaderMap,
    body: Body<ResponseRequest>,
) -> Result<Response, Problem> {
    let request = body.value;
    check(&request)?;
    let once = Once::of(&headers, ENDPOINT, body.hash)?;
    let model = Model::find(&app, &can, &request.model).await?;
    let (mut said, mut labels, mut session_id) = (Vec::new(), BTreeMap::new(), None);
    if let Some(instructions) = request.instructions.as_deref().filter(|text| !text.is_empty()) {
        said.push(Message { role: Role::System, content: instructions.into() });
    }
    if let Some(previous) = &request.previous_response_id {
        let before = find(&app, &can, previous).await?;
        said.extend(go_on(&app, &model, &before).await?);
        labels.insert(PREVIOUS.to_owned(), previous.clone());
        session_id = Some(before.session_id.unwrap_or_else(|| previous.clone()));
    }
    said.extend(items(&request.input)?);
    let common = &request.common;
    let asked = Asked { common, messages: &said, pointer: "/input", seed: None, session_id, labels };
    let prepared = model.prepare(&app, &can, asked).await?;
    let is_streamed = request.common.stream == Some(true);
    if !is_streamed && request.background != Some(true) {
        let job = call::finish(&app, prepared, once).await?;
        return Ok(answer(&job, &model.gives));
    }
    let place = if is_streamed { Some(follow::place(&app)?) } else { None };
    let begun = call::begin(&app, prepared, once).await?;
    let job = crate::api::jobs::find(&app, &can, &begun.id).await?;
    match place {
        Some(place) => {
            let events = Events::new(&job.id, model.gives.clone());
            Ok(stream(&app, &can, begun, model.gives, place, events, &job))
        }
        None => Ok(answer(&job, &model.gives)),
    }
}

/// Look at a response
#[utoipa::path(get, path = "/v1/responses/{id}", operation_id = "openai_show_response", tag = "openai", security(("key" = ["read"])),
    params(("id" = String, Path, description = "`resp_…`"), LookAt),
    responses((status = 200, description = "the response, or a stream of its events", content(
        (ResponseObject = "application/json"), (String = "text/event-stream"))),
        (status = 503, description = "too many streams are open", body = error::OpenAiError)))]
pub(super) async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
    Query(look): Query<LookAt>,
) -> Result<Response, Problem> {
    let job = find(&app, &can, &id).await?;
    let gives = gives(&app, &job).await?;
    if look.stream != Some(true) {
        return Ok(answer(&job, &gives));
    }
    let place = follow::place(&app)?;
    let events = match look.starting_after {
        Some(after) => Events::resumed(&job.id, gives.clone(), after),
        None => Events::new(&job.id, gives.clone()),
    };
    let begun = Begun { id: job.id.clone(), ear: app.relay.ear(&job.id, None) };
    Ok(stream(&app, &can, begun, gives, place, events, &job))
}

/// Stop a response
#[utoipa::path(post, path = "/v1/responses/{id}/cancel", operation_id = "openai_cancel_response", tag = "openai", security(("key" = ["run"])),
    params(("id" = String, Path, description = "`resp_…`")),
    responses((status = 200, description = "the response, which has ended or soon will", body = ResponseObject)))]
pub(super) async fn cancel(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&app, &can, &id).await?;
    let asked = app.store.cancel(&can.tenant, &job.id, true).await?;
    if asked == CancelAsked::NoJob {
        return Err(Problem::not_found("response", &id));
    }
    app.runner.look();
    let ended = app.runner.wait(&can.tenant, &job.id, CANCEL_TIME).await?;
    let job = match ended {
        Some(job) => job,
        None => find(&app, &can, &id).await?,
    };
    Ok(answer(&job, &gives(&app, &job).await?))
}

/// Forget a response
#[utoipa::path(delete, path = "/v1/responses/{id}", operation_id = "openai_delete_response", tag = "openai", security(("key" = ["run"])),
    params(("id" = String, Path, description = "`resp_…`")),
    responses(
        (status = 200, description = "it is gone", body = Forgotten),
        (status = 409, description = "it has not ended", body = error::OpenAiError)))]
pub(super) async fn forget(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
) -> Result<Json<Forgotten>, Problem> {
    let job = find(&app, &can, &id).await?;
    if !app.store.delete(&can.tenant, &job.id).await? {
        return Err(Problem::new(Code::Conflict, format!("the response `{id}` has not ended"))
            .hint("cancel it first"));
    }
    Ok(Json(Forgotten { id: resource::id(&job.id), object: "response", deleted: true }))
}

fn check(request: &ResponseRequest) -> Result<(), Problem> {
    request.common.check()?;
    if request.conversation.as_ref().is_some_and(|conversation| !conversation.is_null()) {
        return Err(Problem::invalid("/conversation", "no conversations are kept")
            .hint("go on with `previous_response_id`, or send the whole conversation as `input`"));
    }
    let form = request.text.as_ref().and_then(|text| text.get("format")?.get("type")?.as_str());
    if form.is_some_and(|form| form != "text") {
        return Err(Problem::invalid(
            "/text/format",
            "the form of an answer is the flow's affair: only `text` can be asked for",
        ));
    }
    Ok(())
}

/// The job of a response.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Job, Problem> {
    let job = app.store.job(Some(&caller.tenant), &resource::job_id(id)).await?;
    job.ok_or_else(|| Problem::not_found("response", id))
}

/// Where the flow of a job gives its answer.
async fn gives(app: &App, job: &Job) -> Result<Gives, Problem> {
    let plan = app.flows.pinned(&job.hash).await.map_err(|error| Problem::flow(error, None))?;
    Gives::of(&plan)
}

/// What was said up to the end of the job `before`, for one that goes on from it.
async fn go_on(app: &App, model: &Model, before: &Job) -> Result<Vec<Message>, Problem> {
    let pointer = "/previous_response_id";
    if !model.takes.remembers() {
        let message =
            format!("the flow `{}` takes no conversation, so it cannot go on from one", model.flow.name);
        return Err(Problem::invalid(pointer, message).hint("it would need an input `history` or `messages`"));
    }
    if before.status != Status::Succeeded {
        let id = resource::id(&before.id);
        return Err(Problem::invalid(pointer, format!("the response `{id}` has no answer to go on from")));
    }
    let plan = app.flows.pinned(&before.hash).await.map_err(|error| Problem::flow(error, None))?;
    let mut said = super::conversation::Takes::of(&plan)?.said(&before.request.inputs);
    // As OpenAI has it: instructions hold for one response, and are not passed on.
    said.retain(|message| message.role != Role::System);
    let outputs = before.outputs.clone().unwrap_or_default();
    let answer = Gives::of(&plan)?.answer(&outputs, &before.absent.clone().unwrap_or_default());
    said.push(Message { role: Role::Assistant, content: answer.text.into() });
    Ok(said)
}

/// The messages of an `input`: a text, or items of a conversation.
fn items(input: &JsonValue) -> Result<Vec<Message>, Problem> {
    match input {
        JsonValue::String(question) => {
            Ok(vec![Message { role: Role::User, content: question.as_str().into() }])
        }
        JsonValue::Array(items) => {
            let mut given = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let pointer = format!("/input/{index}");
                let kind = item.get("type").and_then(JsonValue::as_str).unwrap_or("message");
                if kind != "message" {
                    let message = format!("a flow takes messages, and no items of the type `{kind}`");
                    return Err(Problem::invalid(pointer, message));
                }
                let message: ChatMessage = serde_json::from_value(item.clone()).map_err(|error| {
                    Problem::invalid(pointer.clone(), format!("this is no message: {error}"))
                })?;
                text(&message.content, &format!("{pointer}/content"))?;
                given.push(message);
            }
            messages(&given, "/input")
        }
        _ => Err(Problem::invalid("/input", "the input is neither a text nor a list of messages")),
    }
}

fn answer(job: &Job, gives: &Gives) -> Response {
    with_job(&job.id, Json(ResponseObject::of(job, gives)).into_response())
}

fn stream(
    app: &App,
    caller: &Caller,
    begun: Begun,
    gives: Gives,
    place: tokio::sync::OwnedSemaphorePermit,
    events: Events,
    job: &Job,
) -> Response {
    let followed = follow(app.clone(), caller.tenant.clone(), begun, gives, place);
    let sse = Sse::new(events.stream(job, followed)).keep_alive(KeepAlive::new().interval(PING).text("ping"));
    with_job(&job.id, sse.into_response())
}
