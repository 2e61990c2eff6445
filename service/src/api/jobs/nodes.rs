//! The node executions of a job, worked out from its journal; its flow as a graph with what became of each node.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::event::{Event, Failure, Record};
use anabranch_engine::plan::Plan;
use anabranch_engine::plan::explain::{self, Format};
use anabranch_engine::run::{Inspection, NodeReport, OpenWait, inspect};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{find, view};
use crate::api::App;
use crate::api::body::Query;
use crate::api::caller::{Can, Read};
use crate::api::problem::{Code, Problem};
use crate::flows::graph::Graph;
use crate::job::{Job, Status, Usage};

/// What became of a node execution.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeView {
    /// Which: `answer`, `hop[2]/search`.
    pub node: String,
    /// The operator, or `flow`, `loop`, `each`, `wait`.
    pub op: String,
    /// Where it is.
    pub status: NodeStatus,
    /// Attempts made; turns or items of a loop or each.
    pub attempts: u32,
    /// Why it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it failed, or failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
    /// What it read.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Value>,
    /// What it gave.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// What it used, over all attempts.
    pub usage: Usage,
    /// How long its last attempt waited for a free place.
    pub queued_ms: f64,
    /// How long its last attempt ran.
    pub ran_ms: f64,
    /// Its page.
    pub link: String,
}

/// Where a node execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It has begun.
    Running,
    /// It waits for an answer.
    Waiting,
    /// It has ended.
    Succeeded,
    /// It failed.
    Failed,
    /// It did not run.
    Skipped,
    /// It was stopped before its end.
    Cancelled,
}

/// Why a node failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeError {
    /// The kind of failure, as `retry.on` names it.
    pub code: String,
    /// What happened.
    pub message: String,
    /// Which attempt.
    pub attempt: u32,
}

impl From<&Failure> for NodeError {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.kind.as_str().to_owned(),
            message: failure.message.clone(),
            attempt: failure.attempt,
        }
    }
}

/// The node executions of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeList {
    /// In the order in which they were first heard of.
    pub items: Vec<NodeView>,
}

/// List the node executions of a job
#[utoipa::path(get, path = "/v1/jobs/{id}/nodes", operation_id = "list_nodes", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the node executions", body = NodeList)))]
pub async fn list(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<NodeList>, Problem> {
    let job = find(&app, &can, &id).await?;
    Ok(Json(NodeList { items: of(&app, &job).await? }))
}

/// In which form.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct GraphQuery {
    /// `json` (if unset), `mermaid`, `dot` or `text`.
    pub format: Option<String>,
    /// Of JSON, whether what became of each node is told; true if unset.
    pub states: Option<bool>,
}

/// Show the flow of a job as a graph
///
/// As JSON `{flow, graph, nodes}`: the plan, its nodes and edges, and what became of each node.
#[utoipa::path(get, path = "/v1/jobs/{id}/graph", operation_id = "show_graph", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job"), GraphQuery),
    responses((status = 200, description = "the graph", content((Object = "application/json"), (str = "text/plain")))))]
pub async fn graph(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
    Query(query): Query<GraphQuery>,
) -> Result<Response, Problem> {
    let job = find(&app, &can, &id).await?;
    let plan = plan(&app, &job).await?;
    let format = match query.format.as_deref() {
        None | Some("json") => {
            let graph: Value =
                serde_json::from_str(&explain::explain(&plan, Format::Json)).map_err(Problem::internal)?;
            let drawn = Graph::of(&plan);
            if !query.states.unwrap_or(true) {
                return Ok(Json(json!({ "flow": graph, "graph": drawn })).into_response());
            }
            let nodes = of(&app, &job).await?;
            let states: BTreeMap<&str, NodeStatus> =
                nodes.iter().map(|node| (node.node.as_str(), node.status)).collect();
            return Ok(Json(json!({ "flow": graph, "graph": drawn, "nodes": states })).into_response());
        }
        Some("mermaid") => Format::Mermaid,
        Some("dot") => Format::Dot,
        Some("text") => Format::Text,
        Some(other) => {
            return Err(Problem::new(Code::BadParameter, format!("there is no format `{other}`"))
                .hint("there are `json`, `mermaid`, `dot` and `text`"));
        }
    };
    let text = explain::explain(&plan, format);
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// The flow that a job pins.
pub(crate) async fn plan(app: &App, job: &Job) -> Result<Arc<Plan>, Problem> {
    app.flows.pinned(&job.hash).await.map_err(|error| Problem::flow(error, None))
}

/// All records of a job so far.
pub(crate) async fn records(app: &App, id: &str) -> Result<Vec<(i64, Record)>, Problem> {
    // At once: thousands of records can stand in one row, which would be read anew for each part of it.
    Ok(app.store.records(id, 0, usize::MAX).await?)
}

/// The job as its journal shows it.
pub(crate) async fn inspection(app: &App, job: &Job) -> Result<Inspection, Problem> {
    let records: Vec<Record> = records(app, &job.id).await?.into_iter().map(|(_, record)| record).collect();
    seen_in(app, job, &records).await
}

/// The job as these records show it: those that its journal begins with.
pub(super) async fn seen_in(app: &App, job: &Job, records: &[Record]) -> Result<Inspection, Problem> {
    if !matches!(records.first().map(|record| &record.event), Some(Event::RunStarted { .. })) {
        return Ok(Inspection::default());
    }
    inspect(&plan(app, job).await?, records).map_err(Problem::internal)
}

/// The node executions of a job.
pub(crate) async fn of(app: &App, job: &Job) -> Result<Vec<NodeView>, Problem> {
    Ok(views(app, job, inspection(app, job).await?))
}

/// The node executions of a job that was looked at.
pub(super) fn views(app: &App, job: &Job, seen: Inspection) -> Vec<NodeView> {
    let base = format!("/v1/jobs/{}/nodes/", job.id);
    let link = |node: &str| app.url(&format!("{base}{}", encoded(node)));
    let mut nodes: Vec<NodeView> = Vec::with_capacity(seen.nodes.len() + seen.open.len());
    for report in &seen.nodes {
        let node = report.scope.to_string();
        let status = status_of(report, &seen.waits, job.status);
        nodes.push(NodeView {
            link: link(&node),
            node,
            op: report.op.to_string(),
            status,
            attempts: report.attempts,
            skipped: report.skipped.as_deref().map(str::to_owned),
            error: report.failure.as_ref().map(NodeError::from),
            inputs: values(&report.inputs),
            outputs: values(&report.outputs),
            usage: view::usage(report.usage),
            queued_ms: report.timing.queued.as_secs_f64() * 1e3,
            ran_ms: report.timing.ran.as_secs_f64() * 1e3,
        });
    }
    for open in seen.open {
        let node = open.scope.to_string();
        if let Some(known) = nodes.iter_mut().find(|known| known.node == node) {
            known.status = NodeStatus::Running;
            known.attempts = open.attempt;
            continue;
        }
        nodes.push(NodeView {
            link: link(&node),
            node,
            op: open.op.to_owned(),
            status: NodeStatus::Running,
            attempts: open.attempt,
            skipped: None,
            error: None,
            inputs: values(&open.inputs),
            outputs: Map::new(),
            usage: Usage::default(),
            queued_ms: 0.0,
            ran_ms: 0.0,
        });
    }
    nodes
}

/// Where a node execution is.
pub(super) fn status_of(report: &NodeReport, waits: &[OpenWait], job: Status) -> NodeStatus {
    let is_waiting = waits.iter().any(|wait| wait.scope == report.scope);
    let is_whole = job.is_final() || !report.outputs.is_empty() || report.op.contains('.');
    match (&report.skipped, &report.failure) {
        _ if is_waiting => NodeStatus::Waiting,
        (_, None) if report.aborted => NodeStatus::Cancelled,
        (Some(_), _) => NodeStatus::Skipped,
        (None, Some(_)) => NodeStatus::Failed,
        (None, None) if is_whole || report.attempts > 0 => NodeStatus::Succeeded,
        (None, None) => NodeStatus::Running,
    }
}

/// What each operator used, all its executions together.
pub(crate) fn by_operator(nodes: &[NodeView]) -> BTreeMap<String, Usage> {
    let mut sums: BTreeMap<String, Usage> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.op.contains('.')) {
        let sum = sums.entry(node.op.clone()).or_default();
        sum.model_calls = sum.model_calls.saturating_add(node.usage.model_calls);
        sum.encoder_calls = sum.encoder_calls.saturating_add(node.usage.encoder_calls);
        sum.prompt_tokens = sum.prompt_tokens.saturating_add(node.usage.prompt_tokens);
        sum.cached_tokens = sum.cached_tokens.saturating_add(node.usage.cached_tokens);
        sum.shareable_tokens = sum.shareable_tokens.saturating_add(node.usage.shareable_tokens);
        sum.unanswered_calls = sum.unanswered_calls.saturating_add(node.usage.unanswered_calls);
        sum.completion_tokens = sum.completion_tokens.saturating_add(node.usage.completion_tokens);
        sum.cost += node.usage.cost;
    }
    sums
}

/// Values by name, as JSON.
pub(crate) fn values(map: &anabranch_engine::value::Map) -> Map<String, Value> {
    map.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect()
}

/// A path of nodes as part of a URL.
fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace('[', "%5B").replace(']', "%5D")
}
