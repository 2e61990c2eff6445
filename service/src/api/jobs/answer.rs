//! Answering a job that waits for somebody.

use anabranch_engine::types::Type;
use anabranch_engine::value::Value as EngineValue;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{find, view::JobView};
use crate::api::App;
use crate::api::body::Body;
use crate::api::caller::{Can, Run};
use crate::api::problem::{Code, Problem};
use crate::store::{Answer, Answered};

/// An answer to a wait.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerRequest {
    /// The node that waits, as `waits` of the job names it; may be left out if the job waits for one thing alone.
    #[serde(default)]
    pub wait: Option<String>,
    /// The answer, of the type that the wait asks for.
    #[schema(value_type = Value)]
    pub value: Value,
}

/// Answer a wait
///
/// The job goes on from there; nothing before it is repeated. A second answer to the same wait is refused (409).
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", operation_id = "answer_job", tag = "jobs", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the job")), request_body = AnswerRequest,
    responses((status = 200, description = "the answer is kept, and the job goes on", body = JobView),
        (status = 409, description = "the wait has an answer, or the job waits for nothing", body = crate::api::problem::ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn resume(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
    body: Body<AnswerRequest>,
) -> Result<Json<JobView>, Problem> {
    let AnswerRequest { wait, value } = body.value;
    let job = find(&app, &can, &id).await?;
    if job.status.is_final() {
        let detail = format!("job `{id}` has ended: it is {}", job.status.as_str());
        return Err(Problem::new(Code::Conflict, detail));
    }
    let answers = app.store.answers(&id).await?;
    if let Some(wait) = &wait
        && answers.iter().any(|answer| answer.wait == *wait)
    {
        return Err(answered(wait));
    }
    // A job that is running may have waits besides: they stand in its journal.
    let mut waits = job.waits.clone();
    if waits.is_empty() {
        let seen = super::nodes::inspection(&app, &job).await?;
        waits = seen.waits.iter().map(crate::job::OpenWait::of).collect();
    }
    waits.retain(|open| !answers.iter().any(|answer| answer.wait == open.wait));
    let names: Vec<String> = waits.iter().map(|open| format!("`{}`", open.wait)).collect();
    let open = match (&wait, waits.as_slice()) {
        (_, []) => return Err(Problem::new(Code::Conflict, format!("job `{id}` waits for nothing"))),
        (None, [only]) => only,
        (None, _) => {
            let message = format!("`wait` is missing: the job waits for {}", names.join(", "));
            return Err(Problem::invalid("/wait", message));
        }
        (Some(wait), open) => open.iter().find(|open| open.wait == *wait).ok_or_else(|| {
            let message = format!("the job does not wait for `{wait}`");
            Problem::invalid("/wait", message).hint(format!("it waits for {}", names.join(", ")))
        })?,
    };
    if let Ok(ty) = open.ty.parse::<Type>()
        && let Err(mismatch) = EngineValue::from_json(value.clone()).into_type(&ty)
    {
        return Err(Problem::invalid("/value", mismatch.to_string()));
    }
    let answer = Answer { wait: open.wait.clone(), value, by: can.key_id.clone() };
    match app.store.answer(&can.tenant, &id, &answer).await? {
        Answered::Taken => {}
        Answered::Before => return Err(answered(&answer.wait)),
        Answered::Ended => return Err(Problem::new(Code::Conflict, format!("job `{id}` has ended"))),
        Answered::NoJob => return Err(Problem::not_found("job", &id)),
    }
    app.runner.look();
    Ok(Json(JobView::whole(&app, find(&app, &can, &id).await?)))
}

fn answered(wait: &str) -> Problem {
    Problem::new(Code::Answered, format!("`{wait}` has an answer already, and that is the one which counts"))
}
