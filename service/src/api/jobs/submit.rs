//! Taking jobs in: at once, with a wait for the end, or as a stream of events; never twice.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{LOCATION, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::prepare::{Prepared, prepare};
use super::request::{JobRequest, TypedJobRequest};
use super::view::JobView;
use crate::api::body::{Body, Query};
use crate::api::caller::{Can, Run};
use crate::api::headers::{Wanted, idempotency_key, prefer_wait, wanted};
use crate::api::problem::{Code, Problem};
use crate::api::{App, events};
use crate::job::{Idempotency, Job, NewJob, Status, Submitted};

/// When a caller who did not wait should look again.
const LOOK_AGAIN: HeaderValue = HeaderValue::from_static("1");

/// How a submission is answered.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct SubmitQuery {
    /// Whether the job is cancelled when the caller goes away while it waits or reads the stream. Nothing else that
    /// happens to a connection ever touches a job.
    pub cancel_on_disconnect: bool,
}

/// What became of a submission.
#[derive(Debug)]
pub struct Taken {
    /// The job.
    pub id: String,
    /// Whether an earlier request with the same key had made it.
    pub is_replayed: bool,
    /// The job as it is, if the caller waited for it.
    pub job: Option<Job>,
}

/// Submit a job
///
/// Answers at once with 202 and the job, which is on disk by then. With `Prefer: wait=30` it waits for the end and
/// answers 200, or 202 if that takes longer; with `Accept: text/event-stream` it answers with what happens, as
/// `GET /v1/jobs/{id}/events` does. An `Idempotency-Key` makes a repeated request answer with the same job for 24 hours.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "create_job", tag = "jobs", security(("key" = ["run"])),
    params(SubmitQuery, ("Prefer" = Option<String>, Header, description = "`wait=N`: wait N seconds for the end, at most 300"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the submission repeatable for 24 hours")),
    request_body = JobRequest,
    responses(
        (status = 200, description = "the job has ended (`Prefer: wait`), or a stream of its events",
            content((JobView = "application/json"), (events::JobEvent = "text/event-stream"))),
        (status = 202, description = "the job is taken in", body = JobView,
            headers(("Location" = String, description = "the job"))),
        (status = 406, description = "neither JSON nor a stream is accepted", body = crate::api::problem::ProblemBody, content_type = "application/problem+json"),
    ))]
pub async fn create(
    State(app): State<App>,
    can: Can<Run>,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    body: Body<JobRequest>,
) -> Result<Response, Problem> {
    answer(&app, &can, query, &headers, "POST /v1/jobs", body.hash, Ok(body.value)).await
}

/// Submit a job of a flow
///
/// The same as `POST /v1/jobs`, for one flow: `/openapi.json` has the inputs of each.
#[utoipa::path(post, path = "/v1/flows/{name}/jobs", tag = "jobs", security(("key" = ["run"])),
    params(SubmitQuery, ("name" = String, Path, description = "the flow"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait N seconds for the end, at most 300"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the submission repeatable for 24 hours")),
    request_body = TypedJobRequest,
    responses(
        (status = 200, description = "the job has ended (`Prefer: wait`), or a stream of its events",
            content((JobView = "application/json"), (events::JobEvent = "text/event-stream"))),
        (status = 202, description = "the job is taken in", body = JobView,
            headers(("Location" = String, description = "the job"))),
        (status = 406, description = "neither JSON nor a stream is accepted", body = crate::api::problem::ProblemBody, content_type = "application/problem+json"),
    ))]
pub async fn create_typed(
    State(app): State<App>,
    can: Can<Run>,
    Path(name): Path<String>,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    body: Body<TypedJobRequest>,
) -> Result<Response, Problem> {
    let (version, endpoint) = (body.value.version, format!("POST /v1/flows/{name}/jobs"));
    // The flow is in the path: without it there is no such endpoint, unless it is a request of before.
    let found = app.flows.get(&can.tenant, &name, version).await;
    let request = found.map(|_| body.value.of(&name)).map_err(|error| Problem::flow(error, None));
    answer(&app, &can, query, &headers, &endpoint, body.hash, request).await
}

async fn answer(
    app: &App,
    can: &Can<Run>,
    query: SubmitQuery,
    headers: &HeaderMap,
    endpoint: &str,
    body_hash: String,
    request: Result<JobRequest, Problem>,
) -> Result<Response, Problem> {
    let wanted = wanted(headers, Wanted::Document)?;
    let wait = prefer_wait(headers);
    let once =
        idempotency_key(headers)?.map(|key| Idempotency { endpoint: endpoint.to_owned(), key, body_hash });
    let tenant = can.tenant.as_str();
    let admitted = match request {
        Ok(request) => admit(app, can, request, once.as_ref()).await,
        Err(problem) => Err(problem),
    };
    let mut response = match (wanted, admitted) {
        (Wanted::Stream, Ok(prepared)) => {
            return stream(app, tenant, prepared, query.cancel_on_disconnect).await;
        }
        (Wanted::Stream, Err(problem)) => {
            let taken = replay(app, tenant, once.as_ref(), None, problem).await?;
            return stream_of(app, tenant, &taken, events::permit(app)?, None, false);
        }
        (Wanted::Document, Ok(prepared)) => {
            let guard =
                Guard::new(app, tenant, &prepared.job.id, query.cancel_on_disconnect && wait.is_some());
            let taken = take_in(app, prepared, wait).await;
            guard.disarm();
            respond(app, tenant, taken?, wait.is_some()).await?
        }
        (Wanted::Document, Err(problem)) => {
            let taken = replay(app, tenant, once.as_ref(), wait, problem).await?;
            respond(app, tenant, taken, wait.is_some()).await?
        }
    };
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert("preference-applied", applied);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Prefer"));
    Ok(response)
}

/// Checks a submission, and whether there is room for it.
async fn admit(
    app: &App,
    can: &Can<Run>,
    request: JobRequest,
    once: Option<&Idempotency>,
) -> Result<Prepared, Problem> {
    let mut prepared = prepare(app, can, request).await?;
    prepared.job.idempotency = once.cloned();
    let who = (can.tenant.as_str(), can.key_id.as_deref());
    app.admission.enter_at(app, who, prepared.job.run_at_ms).await?;
    Ok(prepared)
}

/// What the same request made before, for one that would be refused now: it is no new work, and whatever has changed
/// since does not concern it.
pub async fn replay(
    app: &App,
    tenant: &str,
    once: Option<&Idempotency>,
    wait: Option<Duration>,
    problem: Problem,
) -> Result<Taken, Problem> {
    let Some(id) = made_before(app, tenant, once).await else { return Err(problem) };
    let job = match wait.filter(|wait| !wait.is_zero()) {
        Some(wait) => tokio::select! {
            job = app.runner.wait(tenant, &id, wait) => job?,
            () = app.handed_over.cancelled() => None,
        },
        None => None,
    };
    Ok(Taken { id, is_replayed: true, job })
}

/// The job or batch that the same request made before, as far as that can be known.
pub async fn made_before(app: &App, tenant: &str, once: Option<&Idempotency>) -> Option<String> {
    match app.store.made_before(tenant, once?).await {
        Ok(id) => id,
        Err(error) => {
            tracing::debug!(%error, "whether a request was made before cannot be read");
            None
        }
    }
}

/// Takes a job in, and waits for its end if asked to.
pub async fn take_in(app: &App, prepared: Prepared, wait: Option<Duration>) -> Result<Taken, Problem> {
    let Prepared { job, flow } = prepared;
    let named = Named::of(&job);
    let (submitted, ended) = match wait.filter(|wait| !wait.is_zero()) {
        Some(wait) => tokio::select! {
            ended = app.runner.submit_and_wait(job, &flow, wait) => ended?,
            // Its end will be seen elsewhere; whether it was taken in at all is in the store.
            () = app.handed_over.cancelled() => {
                return Ok(Taken { id: named.id, is_replayed: false, job: None });
            }
        },
        None => (app.runner.submit(job, &flow).await?, None),
    };
    came_of(app, named, submitted, ended)
}

/// What is known of a job when it has been given away.
struct Named {
    id: String,
    tenant: String,
    flow: String,
}

impl Named {
    fn of(job: &NewJob) -> Self {
        Self { id: job.id.clone(), tenant: job.tenant.clone(), flow: job.flow.clone() }
    }
}

fn came_of(app: &App, named: Named, submitted: Submitted, job: Option<Job>) -> Result<Taken, Problem> {
    match submitted {
        Submitted::New => {
            app.metrics.submitted(&named.tenant, &named.flow, 1);
            Ok(Taken { id: named.id, is_replayed: false, job })
        }
        Submitted::Before(id) => Ok(Taken { id, is_replayed: true, job }),
        Submitted::OtherBody => Err(Problem::new(
            Code::KeyReused,
            "the `Idempotency-Key` was used for another request within the last 24 hours",
        )
        .hint("take a new key for a new request; the same key is for repeating the same one")),
    }
}

async fn respond(app: &App, tenant: &str, taken: Taken, is_waiting: bool) -> Result<Response, Problem> {
    let job = match taken.job {
        Some(job) => job,
        None => match app.store.job(Some(tenant), &taken.id).await? {
            Some(job) => job,
            None if app.is_stopping() => {
                return Err(Problem::unsure(
                    "the process is stopping, and it is not known whether the job was taken in",
                    Code::Stopping,
                ));
            }
            // It was deleted at this very moment.
            None => return Err(Problem::not_found("job", &taken.id)),
        },
    };
    let is_over = job.status.is_final();
    let view = JobView::whole(app, job);
    let location = HeaderValue::from_str(&view.links.this).ok();
    // Whoever did not wait is told that it was taken in, however fast it ended.
    let status = if is_over && is_waiting { StatusCode::OK } else { StatusCode::ACCEPTED };
    let must_look = !is_over && view.status != Status::Waiting;
    let mut response = (status, Json(view)).into_response();
    let headers = response.headers_mut();
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    if must_look {
        headers.insert(RETRY_AFTER, LOOK_AGAIN);
    }
    if taken.is_replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn stream(app: &App, tenant: &str, prepared: Prepared, cancels: bool) -> Result<Response, Problem> {
    let permit = events::permit(app)?;
    let Prepared { job, flow } = prepared;
    let named = Named::of(&job);
    let receipt = app.runner.submit(job, &flow);
    // Before anything is awaited: nothing that the job shows is missed.
    let live = app.runner.watch_with_texts(&named.id);
    let taken = came_of(app, named, receipt.await?, None)?;
    let live = if taken.is_replayed { None } else { live };
    stream_of(app, tenant, &taken, permit, live, cancels)
}

/// Answers with what happens in a job.
fn stream_of(
    app: &App,
    tenant: &str,
    taken: &Taken,
    permit: tokio::sync::OwnedSemaphorePermit,
    live: Option<events::Heard>,
    cancels: bool,
) -> Result<Response, Problem> {
    let watched = events::Watched { id: taken.id.clone(), tenant: tenant.to_owned(), next: 0, cancels };
    let mut response = events::stream(app, watched, permit, live)?;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&app.url(&format!("/v1/jobs/{}", taken.id))) {
        headers.insert(LOCATION, location);
    }
    if taken.is_replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Cancels a job when the request that waits for it is dropped.
struct Guard(Option<(App, String, String)>);

impl Guard {
    fn new(app: &App, tenant: &str, id: &str, is_armed: bool) -> Self {
        Self(is_armed.then(|| (app.clone(), tenant.to_owned(), id.to_owned())))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((app, tenant, id)) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = app.store.cancel(&tenant, &id, true).await {
                    tracing::warn!(job = id, %error, "a job whose caller went away could not be cancelled");
                }
                app.runner.look();
            });
        }
    }
}
