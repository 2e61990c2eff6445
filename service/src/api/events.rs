//! What happens in a job, as a stream (SSE) or a page.
//!
//! What is journaled has its number in the journal as id: a reader that comes back with `Last-Event-ID` goes on right
//! after it, on whichever process. What is not journaled (a node began, a piece of text) is told live, by the process
//! that runs the job through the one that is read, and has no id.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::Query;
use super::caller::{Can, Read};
use super::headers::{Wanted, last_event_id, wanted};
use super::jobs::find;
use super::problem::{Code, Problem};
use crate::job::Job;
use crate::runner::Heard;

mod feed;
mod names;
mod vocabulary;

pub use vocabulary::{Happening, JobEvent};

use names::Names;

/// Events that wait for a slow reader.
const BEHIND: usize = 256;
/// Events of a page, unless the caller says otherwise.
const PAGE: usize = 200;
/// Most events of a page.
const PAGE_MAX: usize = 1_000;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(events))
}

/// How events are asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// The number after which to go on; as `Last-Event-ID`, which counts first.
    after: Option<u64>,
    /// Of a page, most events: 200 if unset, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Of a stream, whether the job is cancelled when the reader goes away before its end.
    cancel_on_disconnect: bool,
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// In order, without holes.
    pub events: Vec<JobEvent>,
    /// `after` of the next page.
    pub next_after: Option<u64>,
    /// Whether this was the last: the job has ended, and its end is on the page or before it.
    pub done: bool,
}

/// Watch a job
///
/// With `Accept: text/event-stream` a stream, else a page. The stream begins with `snapshot` (the job as it is, and what
/// its running nodes have written so far), goes on with what is journaled after `Last-Event-ID` (or from the start), each with its number as id, and closes after
/// `job_ended`. In between come events without an id, which are not repeated: a node began, a piece of text, `lagged` if
/// some of these were dropped because the reader is slow. `: ping` comes every 15 seconds. After the end, a reader that
/// has seen it gets 204.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "follow_job", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job"), EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "the last number that was seen")),
    responses((status = 200, description = "what happened, and happens", content((EventPage = "application/json"), (JobEvent = "text/event-stream"))),
        (status = 204, description = "the job has ended, and the reader has seen it"),
        (status = 406, description = "neither JSON nor a stream is accepted", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn events(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let next = last_event_id(&headers)?.or(query.after).map_or(0, |last| last.saturating_add(1));
    match wanted(&headers, Wanted::Document)? {
        Wanted::Document => {
            let job = find(&app, &can, &id).await?;
            let limit = query.limit.unwrap_or(PAGE);
            if !(1..=PAGE_MAX).contains(&limit) {
                let detail = format!("`limit` is a number from 1 to {PAGE_MAX}");
                return Err(Problem::new(Code::BadParameter, detail));
            }
            page(&app, job, next, limit).await.map(|page| Json(page).into_response())
        }
        Wanted::Stream => {
            if query.cancel_on_disconnect && !can.scopes.contains(&super::caller::Scope::Run) {
                return Err(Problem::new(Code::NoScope, "`cancel_on_disconnect` needs the scope `run`"));
            }
            let heard = app.runner.hear(&id);
            let job = find(&app, &can, &id).await?;
            // The end has the number after the last record.
            if job.status.is_final()
                && next > 0
                && app.store.records(&id, next.saturating_sub(1), 1).await?.is_empty()
            {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            let permit = permit(&app)?;
            let heard = match heard {
                None => app.relay.hear_elsewhere(&job).await,
                here => here,
            };
            let tenant = can.tenant.clone();
            let watched = Watched { id, tenant, next, cancels: query.cancel_on_disconnect };
            stream(&app, watched, permit, heard)
        }
    }
}

async fn page(app: &App, job: Job, next: u64, limit: usize) -> Result<EventPage, Problem> {
    let records = app.store.records(&job.id, next, limit).await?;
    let mut names = Names::of(app, &job, next).await?;
    let mut events: Vec<JobEvent> = Vec::with_capacity(records.len() + 1);
    for (at_ms, record) in &records {
        events.push(JobEvent::recorded(*at_ms, record, &names));
        names.hear(record);
    }
    let after = next.saturating_add(events.len() as u64);
    let is_last = events.len() < limit;
    let is_over = job.status.is_final();
    let mut next_after = after.checked_sub(1);
    if is_last && is_over {
        // A reader that has seen the end asks for what comes after it: nothing.
        let has_seen_it =
            next > 0 && events.is_empty() && app.store.records(&job.id, next - 1, 1).await?.is_empty();
        if !has_seen_it {
            events.push(JobEvent::ended(app, job, after));
            next_after = Some(after);
        }
    }
    Ok(EventPage { events, next_after, done: is_last && is_over })
}

/// Which job is watched, by whom, from where on.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The job.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// The first number that is told.
    pub next: u64,
    /// Whether the job is cancelled when the reader goes away.
    pub cancels: bool,
}

/// A place for one more stream.
pub fn permit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    if app.is_stopping() {
        return Err(Problem::new(Code::Stopping, "the process is stopping and opens no streams"));
    }
    app.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Code::Overloaded, format!("{} streams are open", app.config.limits.streams))
            .hint("read pages instead: the same path with `Accept: application/json`")
    })
}

/// The stream of what happens in a job; `heard` is what is told of it live, if that was asked before.
pub fn stream(
    app: &App,
    watched: Watched,
    permit: OwnedSemaphorePermit,
    heard: Option<Heard>,
) -> Result<Response, Problem> {
    let (to_reader, from_feed) = mpsc::channel::<bytes::Bytes>(BEHIND);
    tokio::spawn(feed::feed(app.clone(), watched, heard, to_reader, permit));
    let parts = futures::stream::unfold(from_feed, |mut from_feed| async move {
        let part = from_feed.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(part), from_feed))
    });
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect answers would hold the stream back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
