//! All that is known of a job, in one document.

use anabranch_engine::event::Record;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::caller::{Can, Read};
use super::jobs::find;
use super::jobs::nodes::{self, NodeView};
use super::jobs::view::{JobView, time};
use super::problem::Problem;
use crate::store::Answer;

/// Version of the document's form.
const VERSION: u32 = 1;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(export))
}

/// A job with everything that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Export {
    /// Version of this form.
    pub version: u32,
    /// The job.
    pub job: JobView,
    /// What it was asked to do, as it was kept.
    #[schema(value_type = Object)]
    pub request: Value,
    /// Its flow, with sub-flows and prompts.
    #[schema(value_type = Object)]
    pub flow: Value,
    /// Its journal.
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<Value>,
    /// Its node executions.
    pub nodes: Vec<NodeView>,
    /// Answers that were given to its waits.
    #[schema(value_type = Vec<Object>)]
    pub answers: Vec<Value>,
}

/// Export a job
///
/// Its request, flow, journal and node executions: enough to look at it, or to run it again, elsewhere.
#[utoipa::path(get, path = "/v1/jobs/{id}/export", operation_id = "export_job", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "all of it", body = Export)))]
async fn export(State(app): State<App>, can: Can<Read>, Path(id): Path<String>) -> Result<Response, Problem> {
    let job = find(&app, &can, &id).await?;
    let bundle = app.flows.bundle(&job.hash).await.map_err(|error| Problem::flow(error, None))?;
    let records = nodes::records(&app, &id).await?;
    let answers = app.store.answers(&id).await?;
    let export = Export {
        version: VERSION,
        request: serde_json::to_value(&job.request).map_err(Problem::internal)?,
        flow: serde_json::to_value(&*bundle).map_err(Problem::internal)?,
        records: records.iter().map(|(at_ms, record)| with_time(*at_ms, record)).collect::<Result<_, _>>()?,
        nodes: nodes::of(&app, &job).await?,
        answers: answers.iter().map(answer).collect(),
        job: JobView::whole(&app, job),
    };
    let name = format!("attachment; filename=\"{id}.json\"");
    Ok(([(CONTENT_DISPOSITION, name)], Json(export)).into_response())
}

fn with_time(at_ms: i64, record: &Record) -> Result<Value, Problem> {
    let mut json = serde_json::to_value(record).map_err(Problem::internal)?;
    if let Value::Object(fields) = &mut json {
        fields.insert("recorded_at".to_owned(), time(at_ms).into());
    }
    Ok(json)
}

fn answer(answer: &Answer) -> Value {
    serde_json::json!({ "wait": answer.wait, "value": answer.value, "by": answer.by })
}
