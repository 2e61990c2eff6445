//! Doing a job again: from what failed, from the start, or from a node; with edited results if need be.

use std::collections::BTreeMap;

use anabranch_engine::run::{Fork, ForkError, ForkFrom, PatchProblem, fork};
use anabranch_engine::value::Value as EngineValue;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::prepare::Prepared;
use super::submit::{replay, take_in};
use super::{find, nodes, view::JobView};
use crate::api::App;
use crate::api::body::{escape, json};
use crate::api::caller::{Can, Run};
use crate::api::headers::{idempotency_key, prefer_wait};
use crate::api::layers::Ids;
use crate::api::problem::{Code, Mistake, Problem};
use crate::flows::Ready;
use crate::job::{Idempotency, NewJob, new_id};

/// What of a job is to be done again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RetryRequest {
    /// `failed` (if unset): at every node that failed or was in flight. `start`: everything. Anything else is a node
    /// (`hop[2]/search`), a turn or an item (`hop[2]`).
    pub from: Option<String>,
    /// Results that are put in place of those of nodes, by node and port. What depends on them is done again.
    pub patch: BTreeMap<String, Map<String, Value>>,
}

/// Repeat a job
///
/// Makes a new job of the same flow and inputs that keeps every result which does not have to be made again; `retry_of`
/// names the old one. Of a job that has ended.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the job"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the request repeatable for 24 hours"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait N seconds for the end, at most 300")),
    request_body(content = Option<RetryRequest>, description = "what; from what failed without a body"),
    responses((status = 200, description = "the new job has ended (`Prefer: wait`)", body = JobView),
        (status = 202, description = "the new job", body = JobView, headers(("Location" = String, description = "the new job"))),
        (status = 409, description = "the job has not ended, or there is nothing to do again", body = crate::api::problem::ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn retry(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let request: RetryRequest = if body.is_empty() { RetryRequest::default() } else { json(&body)? };
    let wait = prefer_wait(&headers);
    let key = idempotency_key(&headers)?;
    let job = find(&app, &can, &id).await?;
    if !job.status.is_final() {
        let detail =
            format!("job `{id}` is {}, and only one that has ended can be repeated", job.status.as_str());
        return Err(Problem::new(Code::Conflict, detail));
    }
    let plan = nodes::plan(&app, &job).await?;
    let records: Vec<_> = nodes::records(&app, &id).await?.into_iter().map(|(_, record)| record).collect();
    let what = Fork {
        from: match request.from.as_deref() {
            None | Some("failed") => ForkFrom::Failed,
            Some("start") => ForkFrom::Start,
            Some(scope) => ForkFrom::Scope(scope.to_owned()),
        },
        patch: request.patch.into_iter().map(|(scope, ports)| (scope, engine_map(ports))).collect(),
    };
    let kept = match (fork(&plan, &records, &what), &what.from) {
        (Ok(kept), _) => kept,
        // One that never began has nothing to keep: it simply begins.
        (Err(ForkError::NotStarted), ForkFrom::Failed | ForkFrom::Start) if what.patch.is_empty() => {
            Vec::new()
        }
        (Err(error), _) => return Err(refused(error)),
    };
    let admitted = app.admission.enter(&app, (&can.tenant, can.key_id.as_deref()), 1).await;
    let now = app.now_ms();
    let new = NewJob {
        id: new_id("job"),
        tenant: job.tenant.clone(),
        flow: job.flow.clone(),
        version: job.version,
        hash: job.hash.clone(),
        request: job.request,
        // From the start is as new; else the journal goes on where the old one is cut.
        kept: if what.from == ForkFrom::Start && what.patch.is_empty() { Vec::new() } else { kept },
        priority: job.priority,
        run_at_ms: now,
        labels: job.labels,
        webhook: job.webhook,
        session_id: job.session_id,
        trace: Ids::current().map(|ids| ids.traceparent()),
        retry_of: Some(id.clone()),
        created_by: can.key_id.clone(),
        created_ms: now,
        idempotency: key.map(|key| Idempotency {
            endpoint: format!("POST /v1/jobs/{id}/retry"),
            key,
            body_hash: blake3::hash(&body).to_hex().to_string(),
        }),
        ..NewJob::default()
    };
    let flow = Ready { name: job.flow, version: job.version, hash: job.hash, plan };
    let taken = match admitted {
        Ok(()) => take_in(&app, Prepared { job: new, flow }, wait).await?,
        Err(problem) => replay(&app, &can.tenant, new.idempotency.as_ref(), wait, problem).await?,
    };
    let job = match taken.job {
        Some(job) => job,
        None => find(&app, &can, &taken.id).await?,
    };
    let status = if job.status.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let view = JobView::whole(&app, job);
    let location = HeaderValue::from_str(&view.links.this);
    let mut response = (status, Json(view)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    if taken.is_replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn engine_map(ports: Map<String, Value>) -> anabranch_engine::value::Map {
    ports.into_iter().map(|(port, value)| (port.into(), EngineValue::from_json(value))).collect()
}

fn refused(error: ForkError) -> Problem {
    let message = error.to_string();
    match error {
        ForkError::UnknownScope { problem, hint, .. } => Problem::invalid("/from", problem).maybe_hint(hint),
        ForkError::DidNotRun { .. } => Problem::invalid("/from", message),
        ForkError::Patch(problems) => {
            let mistakes =
                problems.iter().map(|problem| Mistake::at(place(problem), problem.to_string())).collect();
            Problem::new(Code::Invalid, message).errors(mistakes)
        }
        ForkError::NotStarted | ForkError::NothingFailed | ForkError::SameFailure(_) => {
            Problem::new(Code::Conflict, message)
        }
        ForkError::History(_) => Problem::internal(message),
    }
}

fn place(problem: &PatchProblem) -> String {
    match problem {
        PatchProblem::NotANode { scope } => format!("/patch/{}", escape(scope)),
        PatchProblem::UnknownPort { scope, port, .. }
        | PatchProblem::Type { scope, port, .. }
        | PatchProblem::Missing { scope, port, .. } => format!("/patch/{}/{}", escape(scope), escape(port)),
    }
}
