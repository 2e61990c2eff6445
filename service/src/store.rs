//! What is kept: jobs, their journals, flows, keys. One store over `SQLite` or `PostgreSQL`.
//!
//! Whatever changes a job goes through one writer task a process, which commits many jobs at once ([`Receipt`]s say
//! when); everything else reads and writes by itself.

mod alone;
pub mod batches;
mod bundles;
mod cancels;
mod commit;
pub(crate) mod database;
mod entry;
mod failpoints;
mod feedback;
mod flows;
mod holdings;
mod idempotency;
mod jobs;
mod keys;
pub mod limits;
mod lists;
mod payload;
mod peers;
mod reading;
mod rows;
mod schedules;
mod spending;
mod statements;
mod tasks;
#[cfg(test)]
mod tests;
mod usage;
mod wakes;
mod webhooks;
mod workers;
mod writer;
mod writing;

pub use batches::{Batch, NewBatch};
pub use cancels::Expired;
pub use database::migrations;
pub use feedback::{Feedback, FeedbackPut};
pub use flows::{Expected, FlowPut, FlowVersion, NewVersion};
pub use keys::{KeyRecord, Tenant};
pub use peers::Owner;
pub use schedules::{Fired, Schedule, ScheduleChange, SchedulePut};
pub use spending::{Ceiling, Spent};
pub use tasks::{ClaimedTask, DoneTask, NewTask};
pub use usage::{By, Used};
pub use webhooks::{Delivery, DeliveryState, Due, Sent, Webhook, WebhookChange, WebhookPut};
pub use writer::Writing;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::job::{Request, Status};
use database::{Database, reading, writing};
pub use wakes::Changes;
use wakes::Wakes;
use writer::Writer;
use writing::KnownBlobs;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or refuses for now: trying again can help.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The database does not take a value: trying again cannot help.
    #[error("the database does not take a value: {0}")]
    Refused(String),
    /// The database stopped answering while this was written: it may be done or not.
    #[error("the store stopped answering, and whether this was written is not known: {0}")]
    Unsure(String),
    /// Another worker has the job.
    #[error("job `{0}` belongs to another worker by now")]
    Fenced(String),
    /// What is stored makes no sense to this build.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unsure(_))
    }
}

/// Resolves once what was handed in is committed.
pub type Receipt<T = ()> = std::pin::Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Jobs, journals, flows, keys. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.options.at).finish()
    }
}

struct Inner {
    database: Arc<Database>,
    writer: Writer,
    wakes: Arc<Wakes>,
    known: KnownBlobs,
    options: Options,
    /// Says to other processes that this one works on the file.
    lock: OnceLock<File>,
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
    /// Higher first, within a tenant.
    pub priority: i16,
    /// The conversation that it belongs to.
    pub session_id: Option<String>,
    /// The batch that it belongs to.
    pub batch_id: Option<String>,
    /// The key that submitted it.
    pub created_by: Option<String>,
    /// When it could begin, or go on (unix ms).
    pub ready_ms: i64,
    /// When it was begun for the first time (unix ms).
    pub started_ms: i64,
    /// Whether there is a journal to go on from.
    pub is_begun: bool,
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
    /// With this text in its id, flow, session or error, whatever the case of its ASCII letters. A page looks through
    /// at most `depth` jobs, so it can be short, and there are more as long as it says where the next one begins.
    pub q: Option<String>,
    /// Jobs that one page of a search looks through; [`limits::SEARCH_JOBS`] if unset.
    pub depth: Option<u32>,
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
    /// These jobs have new records or another status; any job if empty.
    Changed(Vec<String>),
}

impl Store {
    /// Opens the store, with its tables at the newest version if `migrate`.
    pub async fn open(options: Options, migrate: bool) -> Result<Self, StoreError> {
        failpoints::arm();
        let database = Arc::new(Database::open(&options.at, migrate).await?);
        let wakes = Wakes::start(&database, options.is_polled);
        let writer = Writer::start(database.clone(), wakes.clone());
        Ok(Self(Arc::new(Inner {
            database,
            writer,
            wakes,
            known: KnownBlobs::default(),
            options,
            lock: OnceLock::new(),
        })))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// A text of SQL as the database says it; see [`database`].
    pub(crate) fn sql(&self, text: &str) -> sqlx::AssertSqlSafe<String> {
        self.0.database.sql(text)
    }

    /// How the store was opened.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Whether the database answers, and can be written.
    pub async fn ready(&self) -> Result<(), StoreError> {
        if self.writing().is_away {
            return Err(StoreError::Unavailable("the database is away".to_owned()));
        }
        // Changes nothing, and yet is written: a full disk shows here.
        let sql = "UPDATE tenants SET vtime = vtime WHERE tenant = (SELECT MIN(tenant) FROM tenants)";
        let ready = async {
            writing!(self.database(), |db| {
                sqlx::query(sql).execute(db).await?;
            });
            Ok(())
        };
        match tokio::time::timeout(limits::ACQUIRE, ready).await {
            Ok(ready) => ready,
            Err(_) => Err(StoreError::Unavailable("the database does not answer".to_owned())),
        }
    }

    /// Waits until so many more jobs have ended here than the calls before have waited for.
    pub async fn ended(&self, jobs: u32) {
        self.0.writer.ended(jobs).await;
    }

    /// What its commits are like, for Prometheus.
    pub fn journal_metrics(&self) -> crate::metrics::Journal {
        self.0.writer.metrics()
    }

    /// How the writer is doing.
    pub fn writing(&self) -> Writing {
        self.0.writer.writing()
    }

    /// The database's clock (unix ms).
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        let sql = self.sql("SELECT {now}");
        Ok(reading!(self.database(), |db| sqlx::query_scalar(sql).fetch_one(db).await?))
    }

    /// Waits until everything handed in so far is on disk, or was given up.
    pub async fn flush(&self) {
        self.0.writer.flush().await;
    }

    /// Hands everything handed in so far to the disk and ends the writer.
    pub async fn close(&self) {
        self.flush().await;
        self.0.writer.stop();
        self.0.wakes.stop();
        self.0.database.close().await;
    }

    /// News of a job, from now on.
    pub fn follow(&self, job: &str) -> Changes {
        self.0.wakes.follow(job)
    }

    /// What others did, as it happens; with polling as the safety net where a notification may be lost. What changes in
    /// jobs is told only to those who [`Self::follow`] them.
    pub fn wakes(&self) -> tokio::sync::broadcast::Receiver<Wake> {
        self.0.wakes.listen()
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

/// Jobs of a tenant that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unended {
    /// Those that queue, also for a time that has not come.
    pub queued: u64,
    /// Those that run.
    pub running: u64,
    /// Those that wait for answers.
    pub waiting: u64,
}

/// How a worker stopped being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It says so itself: its jobs are not the reason, and their claims do not count.
    Left,
    /// It died or was held up: its jobs may be the reason.
    Lost,
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
