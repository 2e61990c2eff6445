//! Batches: many jobs that are taken in as one. All of them are there, with their batch, or none.
//!
//! One transaction writes the row of the batch and its jobs, so that a process which ends in the middle leaves nothing.
//! The id of a job is that of its batch with the line in its last digits: their order is that of the lines, and writing
//! them again writes nothing twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::commit::write_entries;
use super::database::{Database, reading, row, transaction, writing};
use super::entry::{Entry, Work};
use super::failpoints::reach;
use super::reading::JobRow;
use super::rows::{Connection, Rows};
use super::statements::{FIND_KEY, NOTE_KEY};
use super::writer::is_away;
use super::{Page, Store, StoreError, Wake, limits};
use crate::job::{Idempotency, Job, NewJob, Status, Submitted};

/// Most lines of a batch: what fits into the digits that say the line.
pub const LINES_MAX: usize = 0x00ff_ffff;
/// Digits of a job's id that are those of its batch.
const SHARED_DIGITS: usize = 26;
/// How often a batch is tried again while the database is away.
const TRIES: u32 = 3;
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(100);

const INSERT_BATCH: &str = "INSERT INTO batches (batch_id, tenant, n_jobs, labels, created_ms, created_by) \
     SELECT batch_id, tenant, CAST(n_jobs AS INTEGER), labels, created_ms, created_by FROM r WHERE TRUE \
     ON CONFLICT DO NOTHING RETURNING batch_id, created_ms, batch_id";

/// A batch to be taken in.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// `bat_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What all of its jobs are found by.
    pub labels: BTreeMap<String, String>,
    /// Unix ms.
    pub created_ms: i64,
    /// The key that submitted it.
    pub created_by: Option<String>,
    /// Makes the submission repeatable.
    pub idempotency: Option<Idempotency>,
}

/// A batch as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// `bat_…`.
    pub id: String,
    /// Jobs that it was submitted with.
    pub n_jobs: u64,
    /// What all of its jobs are found by.
    pub labels: BTreeMap<String, String>,
    /// Unix ms.
    pub created_ms: i64,
    /// The key that submitted it.
    pub created_by: Option<String>,
    /// When it was cancelled (unix ms).
    pub cancelled_ms: Option<i64>,
}

row! {
    struct BatchRow {
        batch_id: String,
        n_jobs: i32,
        labels: Option<String>,
        created_ms: i64,
        created_by: Option<String>,
        cancelled_ms: Option<i64>,
    }
}
row! {
    struct CountRow { status: i16, n: i64 }
}

impl TryFrom<BatchRow> for Batch {
    type Error = StoreError;

    fn try_from(row: BatchRow) -> Result<Self, StoreError> {
        Ok(Self {
            labels: row.labels.map(|labels| serde_json::from_str(&labels)).transpose()?.unwrap_or_default(),
            id: row.batch_id,
            n_jobs: u64::try_from(row.n_jobs).unwrap_or_default(),
            created_ms: row.created_ms,
            created_by: row.created_by,
            cancelled_ms: row.cancelled_ms,
        })
    }
}

/// The job of this line of a batch; lines count from 1.
pub fn job_of(batch: &str, line: u64) -> String {
    let digits = batch.strip_prefix("bat_").unwrap_or(batch);
    let shared = digits.get(..SHARED_DIGITS).unwrap_or(digits);
    format!("job_{shared}{line:06x}")
}

/// The line of a batch's job.
pub fn line_of(job: &str) -> Option<u64> {
    let digits = job.strip_prefix("job_")?.get(SHARED_DIGITS..)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Store {
    /// Takes a batch in with its jobs, whose ids are those of [`job_of`].
    pub async fn submit_batch(&self, batch: &NewBatch, jobs: Vec<NewJob>) -> Result<Submitted, StoreError> {
        if self.writing().is_away {
            return Err(StoreError::Unavailable("the database is away".to_owned()));
        }
        let n_jobs = jobs.len();
        let mut entries = Vec::with_capacity(n_jobs);
        for job in jobs {
            let work = Work::Submit(Box::new(self.submission(job)?));
            // Nobody waits for the outcome of one job.
            let (reply, _) = oneshot::channel();
            entries.push(Entry { work, bytes: 0, since: Instant::now(), reply });
        }
        let labels = if batch.labels.is_empty() { None } else { Some(serde_json::to_string(&batch.labels)?) };
        let mut rows = Rows::new(&["batch_id", "tenant", "n_jobs", "labels", "created_ms", "created_by"]);
        rows.push([
            (&batch.id).into(),
            (&batch.tenant).into(),
            i64::try_from(n_jobs).unwrap_or(i64::MAX).into(),
            (&labels).into(),
            batch.created_ms.into(),
            (&batch.created_by).into(),
        ]);
        let mut tries = 1;
        let submitted = loop {
            match commit(self.database(), batch, &rows, &entries).await {
                Ok(submitted) => break submitted,
                Err(error) if is_away(&error) && tries < TRIES => {
                    tracing::warn!(%error, jobs = n_jobs, "a batch cannot be written");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                // An attempt whose answer was lost may have written it.
                Err(error) if is_away(&error) => return Err(StoreError::Unsure(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        };
        if submitted == Submitted::New {
            self.0.wakes.tell(Wake::Work);
        }
        Ok(submitted)
    }

    /// A batch of a tenant.
    pub async fn batch(&self, tenant: &str, id: &str) -> Result<Option<Batch>, StoreError> {
        let row: Option<BatchRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT * FROM batches WHERE batch_id = $1 AND tenant = $2")
                .bind(id)
                .bind(tenant)
                .fetch_optional(db)
                .await?
        });
        row.map(TryInto::try_into).transpose()
    }

    /// Batches of a tenant, newest first.
    pub async fn batches(
        &self,
        tenant: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Batch>, StoreError> {
        let limit = limit.clamp(1, limits::PAGE);
        // Ids are made in the order of time; nothing comes after a `~`.
        let mut rows: Vec<BatchRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT * FROM batches WHERE tenant = $1 AND batch_id < $2 ORDER BY batch_id DESC LIMIT $3",
            )
            .bind(tenant)
            .bind(cursor.unwrap_or("~"))
            .bind(i64::from(limit) + 1)
            .fetch_all(db)
            .await?
        });
        let is_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| is_more).map(|row| row.batch_id.clone());
        let items = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// How many jobs of a batch are where.
    pub async fn batch_counts(&self, id: &str) -> Result<BTreeMap<Status, u64>, StoreError> {
        let rows: Vec<CountRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT status, COUNT(*) AS n FROM jobs WHERE batch_id = $1 GROUP BY status")
                .bind(id)
                .fetch_all(db)
                .await?
        });
        let count = |row: CountRow| Some((Status::from_number(row.status)?, row.n.unsigned_abs()));
        Ok(rows.into_iter().filter_map(count).collect())
    }

    /// Jobs of a batch in the order of their lines, those after the job `after`.
    pub async fn batch_jobs(&self, id: &str, after: &str, limit: u32) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT * FROM jobs WHERE batch_id = $1 AND job_id > $2 ORDER BY job_id LIMIT $3")
                .bind(id)
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(db)
                .await?
        });
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            jobs.push(self.whole(row).await?);
        }
        Ok(jobs)
    }

    /// Asks for every job of a batch that has not ended to be stopped: at once (`now`), or after what is in flight.
    /// `false` if there is no such batch.
    pub async fn cancel_batch(&self, tenant: &str, id: &str, now: bool) -> Result<bool, StoreError> {
        let mark = self.sql(
            "UPDATE batches SET cancelled_ms = COALESCE(cancelled_ms, {now}) WHERE batch_id = $1 AND tenant = $2",
        );
        let known = writing!(self.database(), |db| {
            sqlx::query(mark).bind(id).bind(tenant).execute(db).await?.rows_affected()
        });
        if known == 0 {
            return Ok(false);
        }
        let mut after = String::new();
        loop {
            let ids: Vec<String> = reading!(self.database(), |db| {
                sqlx::query_scalar(
                    "SELECT job_id FROM jobs WHERE batch_id = $1 AND job_id > $2 AND status < 3 \
                     ORDER BY job_id LIMIT $3",
                )
                .bind(id)
                .bind(&after)
                .bind(i64::try_from(limits::CANCEL_STEP).unwrap_or(i64::MAX))
                .fetch_all(db)
                .await?
            });
            let Some(last) = ids.last().cloned() else { return Ok(true) };
            self.cancel_all(tenant, &ids, now).await?;
            after = last;
        }
    }

    /// Forgets batches that were submitted before `before_ms` and whose jobs are all gone, at most `limit`; how many.
    pub async fn prune_batches(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        let keys = self.sql("DELETE FROM idempotency WHERE object_id IN ({list:$1})");
        Ok(transaction!(self.database(), |tx| {
            let gone: Vec<String> = sqlx::query_scalar(
                "DELETE FROM batches WHERE batch_id IN (SELECT b.batch_id FROM batches b WHERE b.created_ms < $1 \
                 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = b.batch_id) LIMIT $2) RETURNING batch_id",
            )
            .bind(before_ms)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
            if !gone.is_empty() {
                sqlx::query(keys).bind(serde_json::to_string(&gone)?).execute(&mut *tx).await?;
            }
            gone.len() as u64
        }))
    }
}

async fn commit(
    database: &Database,
    batch: &NewBatch,
    rows: &Rows,
    entries: &[Entry],
) -> Result<Submitted, sqlx::Error> {
    match database {
        Database::Sqlite { write, .. } => {
            let mut held = write.begin_with("BEGIN IMMEDIATE").await?;
            let submitted = insert(database, batch, rows, entries, &mut *held).await?;
            held.commit().await?;
            Ok(submitted)
        }
        Database::Postgres { read, .. } => {
            let mut held = read.begin().await?;
            let submitted = insert(database, batch, rows, entries, &mut *held).await?;
            held.commit().await?;
            Ok(submitted)
        }
    }
}

async fn insert(
    database: &Database,
    batch: &NewBatch,
    rows: &Rows,
    entries: &[Entry],
    connection: &mut impl Connection,
) -> Result<Submitted, sqlx::Error> {
    if let Some(idempotency) = &batch.idempotency {
        let before = note_key(batch, idempotency, connection).await?;
        if let Some((object, hash)) = before.filter(|(object, _)| *object != batch.id) {
            let is_same = hash == idempotency.body_hash;
            return Ok(if is_same { Submitted::Before(object) } else { Submitted::OtherBody });
        }
    }
    connection.run(INSERT_BATCH, rows).await?;
    for some in entries.chunks(limits::BATCH_ENTRIES) {
        write_entries(database, some, connection).await?;
        reach("store::batch")?;
    }
    Ok(Submitted::New)
}

/// Notes the key of the request; the batch and the hash that it stands for already, if it does.
async fn note_key(
    batch: &NewBatch,
    idempotency: &Idempotency,
    connection: &mut impl Connection,
) -> Result<Option<(String, String)>, sqlx::Error> {
    let mut keys = Rows::new(&["tenant", "endpoint", "ikey", "body_hash", "object_id", "at_ms"]);
    keys.push([
        (&batch.tenant).into(),
        (&idempotency.endpoint).into(),
        (&idempotency.key).into(),
        (&idempotency.body_hash).into(),
        (&batch.id).into(),
        batch.created_ms.into(),
    ]);
    let age = limits::IDEMPOTENCY.as_millis().to_string();
    if connection.run(&NOTE_KEY.replace("{idempotency}", &age), &keys).await? > 0 {
        return Ok(None);
    }
    let found = connection.find(FIND_KEY, &keys).await?;
    let split =
        |before: &str| before.split_once(' ').map(|(object, hash)| (object.to_owned(), hash.to_owned()));
    Ok(found.first().and_then(|(_, _, before)| split(before)))
}

#[cfg(test)]
mod tests {
    use super::{job_of, line_of};
    use crate::job::new_id;

    #[test]
    fn jobs_of_a_batch_sort_by_their_lines_and_tell_them() {
        let batch = new_id("bat");
        let ids: Vec<String> = (1..=300).map(|line| job_of(&batch, line)).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 36), "{ids:?}");
        let lines: Vec<u64> = ids.iter().filter_map(|id| line_of(id)).collect();
        assert_eq!(lines, (1..=300).collect::<Vec<_>>());
        assert_ne!(job_of(&new_id("bat"), 1), job_of(&new_id("bat"), 1));
    }
}
