//! A job as the API shows it.

use std::collections::BTreeMap;

use anabranch_engine::backend::Usage as EngineUsage;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::nodes::NodeView;
use super::request::BudgetRequest;
use crate::api::App;
use crate::api::layers::trace_of_job;
use crate::job::{Job, JobError, OpenWait, Progress, Status, Usage};

/// Characters of an input that a list shows.
const PREVIEW_CHARS: usize = 160;

/// A job: a run of a flow that was submitted here.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// `job_…`.
    pub id: String,
    /// Name of the flow.
    pub flow: String,
    /// Version of the flow; null for one that was sent along.
    pub version: Option<i32>,
    /// Where it is. The last four are final.
    pub status: Status,
    /// How it ended: as `status`, once that is final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Status>,
    /// The beginning of its question, or of the first of its inputs that is a text: to know it by in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// The inputs, as they were given. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Map<String, Value>>,
    /// The outputs that are there, once it has ended. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Map<String, Value>>,
    /// The outputs that are not, each with the reason, once it has ended. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<Map<String, Value>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What it waits for, while it waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<WaitView>,
    /// What it used.
    pub usage: Usage,
    /// The limits on top of the flow's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetRequest>,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
    /// Higher first, within a tenant.
    pub priority: i16,
    /// The conversation that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The batch that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// The job that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// Who is told when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The key that submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it was submitted.
    pub created_at: String,
    /// Not to be begun before; while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// To be ended after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// When it first began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How long it was queued before it began, or has been so far.
    pub queue_wait_ms: u64,
    /// How far it is.
    pub progress: Progress,
    /// Every node execution (`include=nodes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeView>>,
    /// What each operator used, all its executions together (`include=usage`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_by_op: Option<BTreeMap<String, Usage>>,
    /// Where more is found.
    pub links: Links,
}

/// Something that a job waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Wait)]
pub struct WaitView {
    /// The node: `approve`, `hop[2]/approve`. Answers name it.
    pub wait: String,
    /// Type of the answer, as flows write it.
    #[serde(rename = "type")]
    pub ty: String,
    /// What is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What there is to see.
    pub shown: Map<String, Value>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When its default counts, or the node fails.
    pub until: String,
}

/// Where more is found; relative unless `server.public_url` is set.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// What happens in it.
    pub events: String,
    /// Its node executions.
    pub nodes: String,
    /// Its flow, as a graph.
    pub graph: String,
    /// All that is known of it.
    pub export: String,
    /// The job that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// Its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

impl JobView {
    /// All of a job.
    pub fn whole(app: &App, job: Job) -> Self {
        let (inputs, outputs, absent) = (job.request.inputs.clone(), job.outputs.clone(), job.absent.clone());
        Self { inputs: Some(inputs), outputs, absent, ..Self::short(app, job) }
    }

    /// A job without what can be large.
    pub fn short(app: &App, job: Job) -> Self {
        let links = Links {
            this: app.url(&format!("/v1/jobs/{}", job.id)),
            events: app.url(&format!("/v1/jobs/{}/events", job.id)),
            nodes: app.url(&format!("/v1/jobs/{}/nodes", job.id)),
            graph: app.url(&format!("/v1/jobs/{}/graph", job.id)),
            export: app.url(&format!("/v1/jobs/{}/export", job.id)),
            retry_of: job.retry_of.as_ref().map(|id| app.url(&format!("/v1/jobs/{id}"))),
            batch: job.batch_id.as_ref().map(|id| app.url(&format!("/v1/batches/{id}"))),
        };
        let waited_until = job.started_ms.or(job.finished_ms).unwrap_or_else(|| app.now_ms());
        let is_later =
            job.status == Status::Queued && job.wake_ms > job.created_ms && job.started_ms.is_none();
        Self {
            preview: preview(&job.request.inputs),
            outcome: job.status.is_final().then_some(job.status),
            inputs: None,
            outputs: None,
            absent: None,
            error: job.error,
            waits: job.waits.into_iter().map(WaitView::from).collect(),
            usage: job.usage,
            budget: BudgetRequest::of(&job.request.budget),
            labels: job.labels,
            priority: job.priority,
            trace_id: job.trace.as_deref().and_then(trace_of_job).map(str::to_owned),
            created_at: time(job.created_ms),
            run_at: is_later.then(|| time(job.wake_ms)),
            deadline: job.deadline_ms.map(time),
            started_at: job.started_ms.map(time),
            finished_at: job.finished_ms.map(time),
            queue_wait_ms: u64::try_from(waited_until.saturating_sub(job.created_ms)).unwrap_or(0),
            progress: job.progress,
            nodes: None,
            usage_by_op: None,
            links,
            id: job.id,
            flow: job.flow,
            version: job.version,
            status: job.status,
            session_id: job.session_id,
            batch_id: job.batch_id,
            retry_of: job.retry_of,
            webhook: job.webhook,
            created_by: job.created_by,
        }
    }
}

impl From<OpenWait> for WaitView {
    fn from(wait: OpenWait) -> Self {
        Self {
            wait: wait.wait,
            ty: wait.ty,
            about: wait.about,
            shown: wait.shown,
            since: wait.since_ms.map(time),
            until: time(wait.until_ms),
        }
    }
}

/// What tells a job from others of its flow.
fn preview(inputs: &Map<String, Value>) -> Option<String> {
    let named = ["question", "query"].iter().filter_map(|name| inputs.get(*name));
    let text = named
        .chain(inputs.values())
        .find_map(|value| value.as_str().filter(|text| !text.trim().is_empty()))?;
    // Of a text that may be long, no more is looked at than is shown.
    let mut shown: String = text.chars().take(PREVIEW_CHARS + 1).collect();
    if let Some((cut, _)) = shown.char_indices().nth(PREVIEW_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    Some(shown.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// RFC 3339 in UTC, with milliseconds.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// What the engine counts, as the API shows it.
pub fn usage(usage: EngineUsage) -> Usage {
    Usage {
        model_calls: usage.model_calls,
        encoder_calls: usage.encoder_calls,
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        shareable_tokens: usage.shareable_tokens,
        unanswered_calls: usage.unanswered_calls,
        completion_tokens: usage.completion_tokens,
        cost: usage.cost,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_known_by_its_question() {
        let of = |inputs: Value| preview(inputs.as_object().unwrap());
        assert_eq!(of(json!({ "style": "short", "question": "What\n is it?" })).unwrap(), "What is it?");
        assert_eq!(of(json!({ "n": 3, "topic": "rivers" })).unwrap(), "rivers");
        assert_eq!(of(json!({ "n": 3, "text": " " })), None);
        let long = of(json!({ "text": "ä".repeat(1_000) })).unwrap();
        assert_eq!(long, format!("{}…", "ä".repeat(PREVIEW_CHARS)));
    }
}
