//! What is kept: jobs, their journals, flows, keys. One store over SQLite or PostgreSQL.
//!
//! Whatever changes a job goes through one writer task a process, which commits many jobs at once ([`Receipt`]s say
//! when); everything else reads and writes by itself.

pub(crate) mod database;
mod feedback;
mod flows;
mod keys;
pub mod limits;
mod schedules;
#[cfg(test)]
mod tests;
mod usage;
mod webhooks;

pub use database::migrations;
pub use feedback::{Feedback, FeedbackPut};
pub use flows::{Expected, FlowPut, FlowVersion, NewVersion};
pub use keys::{KeyRecord, Tenant};
pub use schedules::{Fired, Schedule, ScheduleChange, SchedulePut};
pub use usage::{By, Used};
pub use webhooks::{Delivery, DeliveryState, Due, Sent, Webhook, WebhookChange, WebhookPut};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::event::Record;
use anabranch_engine::journal::Journal;

use crate::job::{End, Job, NewJob, OpenWait, Progress, Request, Status, Submitted, Usage};

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or refuses for now: trying again can help.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// Another worker has the job.
    #[error("job `{0}` belongs to another worker by now")]
    Fenced(String),
    /// What is stored makes no sense to this build.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

/// Resolves once what was handed in is committed.
pub type Receipt<T = ()> = std::pin::Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Jobs, journals, flows, keys. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: database::Database,
}

/// Which database, and what is kept how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub at: At,
    /// How long finished jobs are kept.
    pub retention: Duration,
    /// Whether the database is asked again and again what others did, because it cannot say so itself (through a
    /// pooler that shares connections, say).
    pub is_polled: bool,
}

impl Options {
    /// Everything as usual, with the things kept there.
    pub fn new(at: At) -> Self {
        Self { at, retention: Duration::from_hours(30 * 24), is_polled: false }
    }
}

/// Where things are kept.
#[derive(Debug, Clone)]
pub enum At {
    /// In a file.
    Sqlite(std::path::PathBuf),
    /// In a database, by its URL.
    Postgres(secrecy::SecretString),
    /// Nowhere: in the memory of this process, until it ends.
    Memory,
}

/// A job that a worker has claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// `job_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Name of the flow.
    pub flow: String,
    /// Hash of the flow's bundle.
    pub hash: String,
    /// What it is to do.
    pub request: Request,
    /// The claim's number, which fences every write.
    pub epoch: i64,
    /// Claims since the last progress.
    pub claims: i32,
    /// What was asked of it meanwhile.
    pub wanted: Wanted,
    /// To be ended after (unix ms).
    pub deadline_ms: Option<i64>,
    /// W3C `traceparent` of the submission.
    pub trace: Option<String>,
}

/// What was asked of a job from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Stop at once.
    pub cancel_now: bool,
    /// Let what is in flight end, start nothing.
    pub cancel: bool,
    /// Answers to its waits have come.
    pub answers: bool,
}

/// Which jobs to list. All conditions hold at once.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this flow.
    pub flow: Option<String>,
    /// With one of these statuses; any if empty.
    pub statuses: Vec<Status>,
    /// With these labels.
    pub labels: BTreeMap<String, String>,
    /// Of this conversation.
    pub session_id: Option<String>,
    /// Of this batch.
    pub batch_id: Option<String>,
    /// Created at or after (unix ms).
    pub created_after: Option<i64>,
    /// Created before (unix ms).
    pub created_before: Option<i64>,
    /// With this text in its id, flow, session or error.
    pub q: Option<String>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// An answer to a wait, as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The node.
    pub wait: String,
    /// The value, as JSON.
    pub value: serde_json::Value,
    /// Who gave it.
    pub by: Option<String>,
}

/// What came of giving an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is kept, and the job goes on.
    Taken,
    /// There was an answer already.
    Before,
    /// The job has ended.
    Ended,
    /// There is no such job.
    NoJob,
}

/// What came of asking for a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAsked {
    /// It had not begun or was waiting: it is cancelled.
    Done,
    /// Its worker is told.
    Asked,
    /// It had ended before.
    Ended(Status),
    /// There is no such job.
    NoJob,
}

/// Something that others did and that this process should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// There may be jobs or tasks to claim.
    Work,
    /// Something was asked of a job (cancel, answer), or one of its tasks is done.
    Wanted,
    /// These jobs have new records or another status; all of them if empty.
    Changed(Vec<String>),
}

impl Store {
    /// Opens the store, with its tables at the newest version if `migrate`.
    pub async fn open(options: Options, migrate: bool) -> Result<Self, StoreError> {
        let database = database::Database::open(&options.at, migrate).await?;
        Ok(Self(Arc::new(Inner { database })))
    }

    pub(crate) fn database(&self) -> &database::Database {
        &self.0.database
    }

    pub(crate) fn sql(&self, text: &str) -> sqlx::AssertSqlSafe<String> {
        self.0.database.sql(text)
    }

    /// Whether the database answers, and can be written.
    pub async fn ready(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// The database's clock (unix ms).
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        todo!()
    }

    /// Hands everything handed in so far to the disk and ends the writer.
    pub async fn close(&self) {
        todo!()
    }

    /// What others did, as it happens; with polling as the safety net where a notification may be lost.
    pub fn wakes(&self) -> tokio::sync::broadcast::Receiver<Wake> {
        todo!()
    }

    // ---- written by the one writer, many jobs a commit ----

    /// Takes a job in.
    pub fn submit(&self, job: NewJob) -> Receipt<Submitted> {
        let _ = job;
        todo!()
    }

    /// The journal of jobs that were claimed with `epoch`.
    pub fn journal(&self, epoch: i64) -> Arc<dyn Journal> {
        let _ = epoch;
        todo!()
    }

    /// Ends a job, after whatever was journaled of it before.
    pub fn end(&self, job: &str, epoch: i64, end: End) -> Receipt {
        let _ = (job, epoch, end);
        todo!()
    }

    /// Lets go of a job that waits for answers.
    pub fn park(
        &self,
        job: &str,
        epoch: i64,
        waits: Vec<OpenWait>,
        usage: Usage,
        progress: Progress,
    ) -> Receipt {
        let _ = (job, epoch, waits, usage, progress);
        todo!()
    }

    /// Lets go of a job so that another worker takes it up.
    pub fn release(&self, job: &str, epoch: i64) -> Receipt {
        let _ = (job, epoch);
        todo!()
    }

    // ---- jobs ----

    /// One job; `tenant: None` looks at all tenants.
    pub async fn job(&self, tenant: Option<&str>, id: &str) -> Result<Option<Job>, StoreError> {
        let _ = (tenant, id);
        todo!()
    }

    /// Jobs, newest first.
    pub async fn jobs(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        let _ = (tenant, filter, cursor, limit);
        todo!()
    }

    /// Records of a job from `seq` on, at most `limit`.
    pub async fn records(&self, id: &str, seq: u64, limit: usize) -> Result<Vec<(i64, Record)>, StoreError> {
        let _ = (id, seq, limit);
        todo!()
    }

    /// Forgets a job that has ended; `false` if there is none such.
    pub async fn delete(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let _ = (tenant, id);
        todo!()
    }

    /// Asks for a job to be stopped.
    pub async fn cancel(&self, tenant: &str, id: &str, now: bool) -> Result<CancelAsked, StoreError> {
        let _ = (tenant, id, now);
        todo!()
    }

    /// Keeps an answer to a wait and wakes the job.
    pub async fn answer(&self, tenant: &str, id: &str, answer: &Answer) -> Result<Answered, StoreError> {
        let _ = (tenant, id, answer);
        todo!()
    }

    /// The answers to a job's waits.
    pub async fn answers(&self, id: &str) -> Result<Vec<Answer>, StoreError> {
        let _ = id;
        todo!()
    }

    /// Jobs of a tenant that are queued, and the age of the oldest; of all tenants with `None`.
    pub async fn queue(&self, tenant: Option<&str>) -> Result<Queue, StoreError> {
        let _ = tenant;
        todo!()
    }

    /// Forgets jobs that ended before `before_ms`, at most `limit` of them at once; how many.
    pub async fn prune(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        let _ = (before_ms, limit);
        todo!()
    }

    // ---- workers ----

    /// Makes a worker known, with a lease.
    pub async fn register(&self, worker: &str, slots: u32, lease: Duration) -> Result<(), StoreError> {
        let _ = (worker, slots, lease);
        todo!()
    }

    /// Renews the lease; `false` if it was lost meanwhile.
    pub async fn heartbeat(&self, worker: &str, lease: Duration) -> Result<bool, StoreError> {
        let _ = (worker, lease);
        todo!()
    }

    /// Takes a worker off the list; what it still has goes back to the queue.
    pub async fn deregister(&self, worker: &str) -> Result<(), StoreError> {
        let _ = worker;
        todo!()
    }

    /// Puts the jobs and tasks of lost workers back into the queue, and wakes waiting jobs whose deadline has come.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        todo!()
    }

    /// Claims up to `limit` jobs: the least served tenants first, by priority within a tenant.
    pub async fn claim(&self, worker: &str, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        let _ = (worker, limit);
        todo!()
    }

    /// The jobs that are this worker's, each with its epoch.
    pub async fn owned(&self, worker: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let _ = worker;
        todo!()
    }

    /// What was asked of the jobs of this worker; a job is listed until it ends, parks or the flag is taken.
    pub async fn wanted(&self, worker: &str) -> Result<Vec<(String, Wanted)>, StoreError> {
        let _ = worker;
        todo!()
    }
}

/// How many jobs are queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many could begin now.
    pub depth: u64,
    /// Since when the oldest of them could (unix ms).
    pub oldest_ms: Option<i64>,
    /// How many run.
    pub running: u64,
    /// How many wait for answers.
    pub waiting: u64,
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Workers whose lease had run out.
    pub workers: u64,
    /// Jobs put back.
    pub jobs: u64,
    /// Tasks put back.
    pub tasks: u64,
    /// Waiting jobs woken by a deadline.
    pub woken: u64,
}
