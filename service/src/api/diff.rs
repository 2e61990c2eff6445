//! Two jobs side by side.

use anabranch_engine::run::{Change, Found, diff};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::Query;
use super::caller::{Can, Read};
use super::jobs::nodes::inspection;
use super::jobs::view::{JobView, usage};
use super::jobs::{NodeError, find, values};
use super::problem::Problem;
use crate::job::Usage;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(compare))
}

/// Which two jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// The first job.
    a: String,
    /// The second job.
    b: String,
}

/// In what two jobs differ.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobDiff {
    /// The first job.
    pub a: JobView,
    /// The second job.
    pub b: JobView,
    /// Whether both run the same flow, word for word.
    pub same_flow: bool,
    /// Inputs in which they differ.
    pub inputs: Vec<FieldDiff>,
    /// Outputs in which they differ.
    pub outputs: Vec<FieldDiff>,
    /// Node executions that only one of them has, or in which they differ, in the order of the first.
    pub nodes: Vec<NodeDiffView>,
    /// Node executions in which they agree.
    pub n_same: usize,
}

/// A value that is not the same in both.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldDiff {
    /// Its name.
    pub name: String,
    /// In the first job, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub a: Option<Value>,
    /// In the second job, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub b: Option<Value>,
}

/// A node execution in two jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeDiff)]
pub struct NodeDiffView {
    /// Which.
    pub node: String,
    /// `both`, `only_a` or `only_b`.
    #[schema(value_type = String)]
    pub found: Found,
    /// In what they differ: `op`, `skipped`, `inputs`, `outputs`, `failure`, `attempts`.
    #[schema(value_type = Vec<String>)]
    pub changed: Vec<Change>,
    /// In the first job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<SideView>,
    /// In the second job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<SideView>,
}

/// A node execution in one of two jobs. Of inputs and outputs, those that are not the same in the other.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Side)]
pub struct SideView {
    /// The operator.
    pub op: String,
    /// Attempts made; turns or items of a loop or each.
    pub attempts: u32,
    /// Why it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
    /// What it read.
    pub inputs: Map<String, Value>,
    /// What it gave.
    pub outputs: Map<String, Value>,
    /// What it used.
    pub usage: Usage,
    /// How long its last attempt ran.
    pub ran_ms: f64,
}

/// Compare two jobs
///
/// Node by node: what only one of them has, and in what the others differ. Times and what was used are told, not compared.
#[utoipa::path(get, path = "/v1/jobs/diff", operation_id = "compare_jobs", tag = "jobs", security(("key" = ["read"])), params(DiffQuery),
    responses((status = 200, description = "in what they differ", body = JobDiff),
        (status = 404, description = "one of them is not there", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn compare(
    State(app): State<App>,
    can: Can<Read>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<JobDiff>, Problem> {
    let (a, b) = (find(&app, &can, &query.a).await?, find(&app, &can, &query.b).await?);
    let (in_a, in_b) = (inspection(&app, &a).await?, inspection(&app, &b).await?);
    let mut n_same = 0;
    let mut nodes = Vec::new();
    for node in diff(&in_a.nodes, &in_b.nodes) {
        if node.is_same() {
            n_same += 1;
            continue;
        }
        nodes.push(NodeDiffView {
            node: node.scope.to_string(),
            found: node.found,
            changed: node.changed,
            a: node.a.map(side),
            b: node.b.map(side),
        });
    }
    let none = Map::new();
    Ok(Json(JobDiff {
        same_flow: a.hash == b.hash,
        inputs: fields(&a.request.inputs, &b.request.inputs),
        outputs: fields(a.outputs.as_ref().unwrap_or(&none), b.outputs.as_ref().unwrap_or(&none)),
        nodes,
        n_same,
        a: JobView::short(&app, a),
        b: JobView::short(&app, b),
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "made into what is shown")]
fn side(side: anabranch_engine::run::Side) -> SideView {
    SideView {
        op: side.op.to_string(),
        attempts: side.attempts,
        skipped: side.skipped.as_deref().map(str::to_owned),
        error: side.failure.as_ref().map(NodeError::from),
        inputs: values(&side.inputs),
        outputs: values(&side.outputs),
        usage: usage(side.usage),
        ran_ms: side.timing.ran.as_secs_f64() * 1e3,
    }
}

fn fields(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<FieldDiff> {
    let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
    names
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| FieldDiff { name: name.clone(), a: a.get(name).cloned(), b: b.get(name).cloned() })
        .collect()
}
