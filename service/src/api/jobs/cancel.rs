//! Stopping jobs: one, or all that a filter names.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{JobFilter, PAGE_MAX};
use super::{find, view::JobView};
use crate::api::App;
use crate::api::body::{Body, json};
use crate::api::caller::{Can, Run};
use crate::api::problem::{Code, Problem};
use crate::job::Status;
use crate::store::CancelAsked;

/// Most jobs that one request cancels; asked again, it goes on.
const CANCEL_MAX: usize = 10_000;
/// Ids that an answer lists at most.
const LISTED: usize = 100;

/// How a job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelMode {
    /// What is in flight may end, nothing else starts.
    #[default]
    Graceful,
    /// What is in flight is aborted.
    Now,
}

/// How a job is to be stopped.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CancelRequest {
    /// `graceful` (if unset) or `now`.
    pub mode: CancelMode,
}

/// Cancel a job
///
/// Asked again, or of a job that was cancelled before, it answers the same.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the job")),
    request_body(content = Option<CancelRequest>, description = "how; graceful without a body"),
    responses((status = 200, description = "it is cancelled", body = JobView),
        (status = 202, description = "its worker is told", body = JobView),
        (status = 409, description = "it ended in another way before", body = crate::api::problem::ProblemBody, content_type = "application/problem+json")))]
pub async fn cancel(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let request: CancelRequest = if body.is_empty() { CancelRequest::default() } else { json(&body)? };
    let asked = app.store.cancel(&can.tenant, &id, request.mode == CancelMode::Now).await?;
    app.runner.look();
    let status = match asked {
        CancelAsked::NoJob => return Err(Problem::not_found("job", &id)),
        CancelAsked::Ended(status) if status != Status::Cancelled => {
            let detail = format!("job `{id}` had ended before: it is {}", status.as_str());
            return Err(Problem::new(Code::Conflict, detail));
        }
        CancelAsked::Done | CancelAsked::Ended(_) => StatusCode::OK,
        CancelAsked::Asked => StatusCode::ACCEPTED,
    };
    let job = find(&app, &can, &id).await?;
    Ok((status, Json(JobView::whole(&app, job))).into_response())
}

/// Which jobs are to be stopped, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CancelManyRequest {
    /// Which jobs: at least one condition.
    pub filter: JobFilter,
    /// `graceful` (if unset) or `now`.
    pub mode: CancelMode,
    /// Whether only to say how many there are.
    pub dry_run: bool,
}

/// What came of stopping many jobs.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct CancelledMany {
    /// Jobs that the filter names and that have not ended.
    pub matched: usize,
    /// Jobs that are cancelled, or whose workers are told.
    pub cancelled: usize,
    /// The first hundred of them.
    pub ids: Vec<String>,
    /// Whether there are more: ask again.
    pub more: bool,
}

/// Cancel jobs
///
/// All that the filter names and that have not ended; at most 10,000 a request.
#[utoipa::path(post, path = "/v1/jobs:cancel", tag = "jobs", security(("key" = ["run"])), request_body = CancelManyRequest,
    responses((status = 200, description = "what came of it", body = CancelledMany)))]
pub async fn cancel_many(
    State(app): State<App>,
    can: Can<Run>,
    body: Body<CancelManyRequest>,
) -> Result<Json<CancelledMany>, Problem> {
    let request = body.value;
    if request.filter.is_empty() {
        return Err(Problem::invalid("/filter", "the filter is empty, and would name every job")
            .hint("give at least one condition"));
    }
    let mut filter = request.filter.read().map_err(|mut mistake| {
        mistake.pointer = mistake.pointer.map(|pointer| format!("/filter{pointer}"));
        Problem::new(Code::Invalid, mistake.message.clone()).errors(vec![mistake])
    })?;
    let open = [Status::Queued, Status::Running, Status::Waiting];
    filter.statuses.retain(|status| open.contains(status));
    if filter.statuses.is_empty() {
        filter.statuses = open.to_vec();
    }
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    let mut done = CancelledMany::default();
    loop {
        let page = app.store.jobs(&can.tenant, &filter, cursor.as_deref(), PAGE_MAX).await?;
        found.extend(page.items.into_iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() || found.len() >= CANCEL_MAX {
            break;
        }
    }
    done.more = cursor.is_some();
    done.matched = found.len();
    let found = if request.dry_run {
        found
    } else {
        let asked = app.store.cancel_all(&can.tenant, &found, request.mode == CancelMode::Now).await?;
        done.cancelled = asked.len();
        asked.into_iter().map(|(id, _)| id).collect()
    };
    done.ids = found.into_iter().take(LISTED).collect();
    app.runner.look();
    Ok(Json(done))
}
