//! One job: shown, deleted.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::VARY;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{find, nodes, view::JobView};
use crate::api::App;
use crate::api::body::Query;
use crate::api::caller::{Can, Read, Run};
use crate::api::headers::{prefer_wait, preference_applied};
use crate::api::problem::{Code, Problem};
use crate::job::Status;

/// What is shown besides.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowQuery {
    /// What is shown besides: `nodes` (every node execution), `usage` (what each operator used); separated by commas.
    include: Option<String>,
}

/// Show a job
///
/// With `Prefer: wait=30` it waits for the job to end, or to wait for an answer, and shows it as it is then; after that
/// time it shows it as it is.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job"), ShowQuery,
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait N seconds for the end, at most 300")),
    responses((status = 200, description = "the job", body = JobView)))]
pub(super) async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut with_nodes, mut with_usage) = (false, false);
    for word in query.include.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
        match word {
            "nodes" => with_nodes = true,
            "usage" => with_usage = true,
            _ => {
                return Err(Problem::new(Code::BadParameter, format!("`include` cannot be `{word}`"))
                    .hint("there are `nodes` and `usage`"));
            }
        }
    }
    let mut job = find(&app, &can, &id).await?;
    let wait = prefer_wait(&headers);
    if let Some(wait) = wait.filter(|_| job.status < Status::Waiting) {
        let rested = tokio::select! {
            rested = app.runner.wait(&can.tenant, &id, wait) => rested?,
            // It will be seen elsewhere.
            () = app.stopping.cancelled() => None,
        };
        job = match rested {
            Some(job) => job,
            None => find(&app, &can, &id).await?,
        };
    }
    let nodes = if with_nodes || with_usage { Some(nodes::of(&app, &job).await?) } else { None };
    let mut view = JobView::whole(&app, job);
    if let Some(nodes) = nodes {
        view.usage_by_op = with_usage.then(|| nodes::by_operator(&nodes));
        view.nodes = with_nodes.then_some(nodes);
    }
    let mut response = Json(view).into_response();
    if let Some(wait) = wait {
        preference_applied(wait, &mut response);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Prefer"));
    Ok(response)
}

/// Delete a job
///
/// With its journal and all that it gave; only one that has ended.
#[utoipa::path(delete, path = "/v1/jobs/{id}", operation_id = "delete_job", tag = "jobs", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 204, description = "it is gone"),
        (status = 409, description = "it has not ended", body = crate::api::problem::ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if app.store.delete(&can.tenant, &id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let job = find(&app, &can, &id).await?;
    Err(Problem::new(
        Code::Conflict,
        format!("job `{id}` is {}, and only one that has ended can be deleted", job.status.as_str()),
    )
    .hint("cancel it first"))
}
