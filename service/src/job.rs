//! Jobs: runs that were submitted over the API, with what the store keeps of them.

use std::collections::BTreeMap;

use anabranch_engine::budget::Budget;
use anabranch_engine::event::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a job is. The last four are final: they never change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody works on it yet.
    Queued,
    /// A worker has it.
    Running,
    /// It waits for an answer; no worker holds it.
    Waiting,
    /// It reached its end.
    Succeeded,
    /// A node failed and nothing caught it.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
}

impl Status {
    /// Every status, in the order of their numbers in the store.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// Its number in the store.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The status of this number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// What a job is to do: kept as it was asked, so that any worker can begin or resume it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The inputs, as they were given.
    pub inputs: Map<String, Value>,
    /// Seed of all randomness.
    pub seed: u64,
    /// A budget on top of the flow's own.
    pub budget: Budget,
    /// Whether results of nodes with `cache` may be used.
    pub cache: bool,
}

/// A job to be submitted.
#[derive(Debug, Clone, Default)]
pub struct NewJob {
    /// `job_` with a `UUIDv7`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Name of the flow.
    pub flow: String,
    /// Version of the flow; `None` for one that was sent along.
    pub version: Option<i32>,
    /// Hash of the flow's bundle.
    pub hash: String,
    /// What it is to do.
    pub request: Request,
    /// Records that its journal begins with: what a retried job keeps of the one that it repeats.
    pub kept: Vec<Record>,
    /// Higher first, within a tenant.
    pub priority: i16,
    /// Not to be begun before (unix ms).
    pub run_at_ms: i64,
    /// To be ended after (unix ms).
    pub deadline_ms: Option<i64>,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
    /// Whom to tell when it ends.
    pub webhook: Option<String>,
    /// The conversation that it belongs to.
    pub session_id: Option<String>,
    /// W3C `traceparent` of the submission.
    pub trace: Option<String>,
    /// The batch that it belongs to.
    pub batch_id: Option<String>,
    /// The job that it repeats.
    pub retry_of: Option<String>,
    /// The key that submitted it.
    pub created_by: Option<String>,
    /// Unix ms.
    pub created_ms: i64,
    /// Makes the submission repeatable.
    pub idempotency: Option<Idempotency>,
    /// The worker that begins it at once, without the queue.
    pub claimed_by: Option<String>,
}

/// The `Idempotency-Key` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Method and path.
    pub endpoint: String,
    /// As the caller gave it.
    pub key: String,
    /// Hash of the body.
    pub body_hash: String,
}

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is a new job.
    New,
    /// The same request was made before: this is its job.
    Before(String),
    /// Another request was made with the same key before.
    OtherBody,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// A final status.
    pub status: Status,
    /// The outputs that are there.
    pub outputs: Map<String, Value>,
    /// The outputs that are not, with the reason.
    pub absent: Map<String, Value>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What it used.
    pub usage: Usage,
    /// How far it came.
    pub progress: Progress,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobError {
    /// `failed`, `over_budget`, `cancelled`, `timed_out`, `set_aside`, `internal`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of failure of the node, as `retry.on` names it.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The node execution that failed first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Which attempt of it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whether the same job may succeed at another time.
    pub retryable: bool,
}

/// What a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Calls of chat models.
    pub model_calls: u64,
    /// Calls of embedders and rerankers.
    pub encoder_calls: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Of these, read from the servers' caches.
    pub cached_tokens: u64,
    /// Tokens read that stand in stable parts of prompts: what the servers' caches can hold at best. An estimate.
    pub shareable_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// In the money of the price table.
    pub cost: f64,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Progress {
    /// Node executions that have ended.
    pub nodes_ended: u64,
    /// Node executions under way.
    pub nodes_running: u64,
}

/// An open wait of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OpenWait {
    /// The node: `approve`, `hop[2]/approve`.
    pub wait: String,
    /// Type of the answer, as flows write it.
    #[serde(rename = "type")]
    pub ty: String,
    /// What is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What there is to see.
    pub shown: Map<String, Value>,
    /// When the default counts (unix ms).
    pub until_ms: i64,
}

impl OpenWait {
    /// What the engine says of it.
    pub fn of(wait: &anabranch_engine::run::OpenWait) -> Self {
        Self {
            wait: wait.scope.to_string(),
            ty: wait.ty.to_string(),
            about: wait.about.as_deref().map(str::to_owned),
            shown: wait.shown.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect(),
            until_ms: i64::try_from(wait.until_ms).unwrap_or(i64::MAX),
        }
    }
}

/// A job as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// `job_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Name of the flow.
    pub flow: String,
    /// Version of the flow.
    pub version: Option<i32>,
    /// Hash of the flow's bundle.
    pub hash: String,
    /// Where it is.
    pub status: Status,
    /// Higher first.
    pub priority: i16,
    /// What it is to do.
    pub request: Request,
    /// Outputs, once it has ended.
    pub outputs: Option<Map<String, Value>>,
    /// Outputs that are absent, once it has ended.
    pub absent: Option<Map<String, Value>>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// Open waits.
    pub waits: Vec<OpenWait>,
    /// What it used.
    pub usage: Usage,
    /// How far it is.
    pub progress: Progress,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
    /// Whom to tell when it ends.
    pub webhook: Option<String>,
    /// The conversation that it belongs to.
    pub session_id: Option<String>,
    /// W3C `traceparent` of the submission.
    pub trace: Option<String>,
    /// The batch that it belongs to.
    pub batch_id: Option<String>,
    /// The job that it repeats.
    pub retry_of: Option<String>,
    /// Who works on it.
    pub owner: Option<String>,
    /// How often it was claimed.
    pub epoch: i64,
    /// Not to be begun before (unix ms).
    pub wake_ms: i64,
    /// To be ended after (unix ms).
    pub deadline_ms: Option<i64>,
    /// Unix ms.
    pub created_ms: i64,
    /// Unix ms.
    pub started_ms: Option<i64>,
    /// Unix ms.
    pub finished_ms: Option<i64>,
    /// The key that submitted it.
    pub created_by: Option<String>,
}

/// A new id: `prefix_` and a `UUIDv7` without dashes, so that ids sort by time.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}
