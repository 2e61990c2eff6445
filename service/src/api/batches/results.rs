//! What the jobs of a batch came to: a line each, in the order in which they were submitted, read as it is sent.

use std::collections::{BTreeMap, VecDeque};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::App;
use crate::api::caller::{Can, Read};
use crate::api::problem::Problem;
use crate::job::{Job, JobError, Status, Usage};
use crate::store::StoreError;
use crate::store::batches::{job_of, line_of};

/// Jobs that are read at once: their outputs can be large.
const AT_ONCE: u32 = 8;

/// What a job of a batch came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchResult {
    /// Its line in the batch, from 1.
    line: u64,
    /// The job.
    job_id: String,
    /// Where it is; null for one that was forgotten since.
    status: Option<Status>,
    /// Whether it has ended. What follows is there only then.
    ended: bool,
    /// What it was found by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// The outputs that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Map<String, Value>>,
    /// The outputs that are not, each with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<Map<String, Value>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JobError>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

impl BatchResult {
    fn of(line: u64, job: Job) -> Self {
        let ended = job.status.is_final();
        Self {
            line,
            job_id: job.id,
            status: Some(job.status),
            ended,
            labels: job.labels,
            outputs: job.outputs.filter(|_| ended),
            absent: job.absent.filter(|absent| ended && !absent.is_empty()),
            error: job.error,
            usage: ended.then_some(job.usage),
        }
    }

    fn forgotten(batch: &str, line: u64) -> Self {
        Self {
            line,
            job_id: job_of(batch, line),
            status: None,
            ended: true,
            labels: BTreeMap::new(),
            outputs: None,
            absent: None,
            error: None,
            usage: None,
        }
    }
}

/// Where the reading is.
struct Reading {
    app: App,
    batch: String,
    /// The next line.
    line: u64,
    n_lines: u64,
    /// The last job that was read.
    after: String,
    read: VecDeque<Job>,
    is_read: bool,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        if self.line > self.n_lines {
            return Ok(None);
        }
        if self.read.is_empty() && !self.is_read {
            self.read = self.app.store.batch_jobs(&self.batch, &self.after, AT_ONCE).await?.into();
            match self.read.back() {
                Some(last) => self.after.clone_from(&last.id),
                None => self.is_read = true,
            }
        }
        let is_here = self.read.front().is_some_and(|job| line_of(&job.id) == Some(self.line));
        let result = match self.read.pop_front_if(|_| is_here) {
            Some(job) => BatchResult::of(self.line, job),
            None => BatchResult::forgotten(&self.batch, self.line),
        };
        self.line += 1;
        let mut text = serde_json::to_vec(&result)?;
        text.push(b'\n');
        Ok(Some((text.into(), self)))
    }
}

/// Get the results of a batch
///
/// A line for each job, in the order in which they were submitted. Lines of jobs that have not ended say so: it can be
/// asked at any time, and again.
#[utoipa::path(get, path = "/v1/batches/{id}/results", tag = "batches", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the batch")),
    responses((status = 200, description = "a result a line", body = BatchResult, content_type = "application/jsonl")))]
pub(super) async fn results(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let batch = super::find(&app, &can.tenant, &id).await?;
    let reading = Reading {
        app,
        batch: batch.id,
        line: 1,
        n_lines: batch.n_jobs,
        after: String::new(),
        read: VecDeque::new(),
        is_read: false,
    };
    let lines = stream::try_unfold(reading, Reading::next);
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}
