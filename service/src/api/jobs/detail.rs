//! One node execution with all that is known of it: how it is set, what it reads, and each of its attempts.

use std::time::Duration;

use anabranch_engine::event::{Event, Record, Timing};
use anabranch_engine::plan::explain::explain_node;
use anabranch_engine::run::AbortedNode;
use anabranch_engine::scope::Scope;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::nodes::{self, NodeError, NodeView};
use super::timeline::{kept_until, ms, times};
use super::{find, view};
use crate::api::App;
use crate::api::caller::{Can, Read};
use crate::api::problem::Problem;
use crate::job::Usage;

/// A node execution with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeDetail {
    /// What became of it.
    #[serde(flatten)]
    pub node: NodeView,
    /// The node as the flow has it: `about`, `needs`, `when`, what its ports read (`in`), its settings as they are written
    /// (`with`), `on_error`.
    #[schema(value_type = Object)]
    pub plan: Value,
    /// Each attempt that ended, in order.
    pub tries: Vec<NodeTry>,
    /// When its first attempt was ready to begin, in milliseconds after the run's begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<f64>,
    /// When its last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// Whether its result was kept from the job that this one repeats, or was put there.
    pub kept: bool,
}

/// An attempt of a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeTry {
    /// Which, from 1.
    pub attempt: u32,
    /// When it ended, in milliseconds after the run's begin.
    pub ended_ms: f64,
    /// How long it waited for a free place.
    pub queued_ms: f64,
    /// How long it ran.
    pub ran_ms: f64,
    /// Whether it was stopped before its end.
    pub aborted: bool,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
    /// What it used.
    pub usage: Usage,
}

/// Show a node execution of a job
///
/// What it read and gave, how it is set, and each of its attempts.
#[utoipa::path(get, path = "/v1/jobs/{id}/nodes/{*scope}", operation_id = "show_node", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job"),
        ("scope" = String, Path, description = "the node execution: `answer`, `hop[2]/search`")),
    responses((status = 200, description = "the node execution", body = NodeDetail)))]
pub async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path((id, scope)): Path<(String, String)>,
) -> Result<Json<NodeDetail>, Problem> {
    let job = find(&app, &can, &id).await?;
    let mut records: Vec<Record> =
        nodes::records(&app, &id).await?.into_iter().map(|(_, record)| record).collect();
    let mut seen = nodes::seen_in(&app, &job, &records).await?;
    let aborted = std::mem::take(&mut seen.aborted);
    let nodes = nodes::views(&app, &job, seen);
    let names: Vec<String> = nodes.iter().map(|node| node.node.clone()).collect();
    let node = nodes.into_iter().find(|node| node.node == scope).ok_or_else(|| {
        let near = anabranch_engine::diagnostic::nearest(&scope, names.iter().map(String::as_str));
        Problem::not_found("node", &scope).maybe_hint(near.map(|near| format!("did you mean `{near}`?")))
    })?;
    let at = Scope::from(&*scope);
    let kept_until = kept_until(&job, &records);
    records.retain(|record| is_about(&record.event, &at));
    let times = times(&records, kept_until, &aborted).remove(&at).unwrap_or_default();
    let plan = nodes::plan(&app, &job).await?;
    Ok(Json(NodeDetail {
        node,
        plan: explain_node(&plan, &at).unwrap_or_default(),
        tries: records.iter().filter_map(|record| tried(record, &aborted)).collect(),
        began_ms: times.began.map(ms),
        ended_ms: times.ended.map(ms),
        kept: times.kept,
    }))
}

fn is_about(event: &Event, at: &Scope) -> bool {
    match event {
        Event::AttemptEnded { scope, .. }
        | Event::AttemptAborted { scope, .. }
        | Event::Given { scope, .. }
        | Event::WaitOpened { scope, .. }
        | Event::WaitAnswered { scope, .. } => scope == at,
        _ => false,
    }
}

fn tried(record: &Record, aborted: &[AbortedNode]) -> Option<NodeTry> {
    let (attempt, usage, timing, error, aborted) = match &record.event {
        Event::AttemptEnded { attempt, usage, timing, result, .. } => {
            (*attempt, *usage, *timing, result.as_ref().err().map(NodeError::from), false)
        }
        Event::AttemptAborted { scope, attempt, usage } => {
            let cut = aborted.iter().find(|cut| cut.scope == *scope && cut.attempt == *attempt);
            let ran = cut.map_or(Duration::ZERO, |cut| cut.at.saturating_sub(cut.since));
            (*attempt, *usage, Timing { ran, ..Timing::default() }, None, true)
        }
        _ => return None,
    };
    Some(NodeTry {
        attempt,
        ended_ms: ms(record.at),
        queued_ms: ms(timing.queued),
        ran_ms: ms(timing.ran),
        aborted,
        error,
        usage: view::usage(usage),
    })
}
