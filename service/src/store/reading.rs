//! Reading jobs and their journals, with what stands in blobs put back.

use std::collections::{BTreeMap, HashMap};

use anabranch_engine::event::Record;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::database::{reading, row};
use super::payload::{Kept, hashes_in, unpacked, wanted};
use super::{Store, StoreError};
use crate::job::{Job, Request, Status};

/// Rows of a journal that are read at once.
const ROWS: i64 = 1_000;

row! {
    struct RecordsRow { seq: i64, n: i32, at_ms: i64, body: String }
}
row! {
    struct BlobRow { hash: String, size: i64, codec: String, body: Vec<u8> }
}
row! {
    pub(super) struct JobRow {
        job_id: String,
        tenant: String,
        flow: String,
        version: Option<i32>,
        hash: String,
        status: i16,
        priority: i16,
        wake_ms: i64,
        owner: Option<String>,
        epoch: i64,
        deadline_ms: Option<i64>,
        created_ms: i64,
        started_ms: Option<i64>,
        finished_ms: Option<i64>,
        session_id: Option<String>,
        trace: Option<String>,
        batch_id: Option<String>,
        retry_of: Option<String>,
        created_by: Option<String>,
        webhook: Option<String>,
        labels: Option<String>,
        usage: Option<String>,
        progress: Option<String>,
        error: Option<String>,
        waits: Option<String>,
        request: Option<String>,
        result: Option<String>,
    }
}

/// What stands in the column `result`.
#[derive(Default, Deserialize)]
struct Ended {
    outputs: Map<String, Value>,
    absent: Map<String, Value>,
}

fn parsed<T: serde::de::DeserializeOwned + Default>(text: Option<&str>) -> Result<T, StoreError> {
    Ok(text.map(serde_json::from_str).transpose()?.unwrap_or_default())
}

impl JobRow {
    pub(super) fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The job, with its request and result as given.
    fn job(self, request: Option<Value>, result: Option<Value>) -> Result<Job, StoreError> {
        let ended: Option<Ended> = result.map(serde_json::from_value).transpose()?;
        let (outputs, absent) = ended.map_or((None, None), |ended| (Some(ended.outputs), Some(ended.absent)));
        Ok(Job {
            status: Status::from_number(self.status)
                .ok_or_else(|| StoreError::Corrupt(format!("there is no status {}", self.status)))?,
            request: request.map(serde_json::from_value).transpose()?.unwrap_or_default(),
            outputs,
            absent,
            error: self.error.as_deref().map(serde_json::from_str).transpose()?,
            waits: parsed(self.waits.as_deref())?,
            usage: parsed(self.usage.as_deref())?,
            progress: parsed(self.progress.as_deref())?,
            labels: parsed::<BTreeMap<String, String>>(self.labels.as_deref())?,
            id: self.job_id,
            tenant: self.tenant,
            flow: self.flow,
            version: self.version,
            hash: self.hash,
            priority: self.priority,
            webhook: self.webhook,
            session_id: self.session_id,
            trace: self.trace,
            batch_id: self.batch_id,
            retry_of: self.retry_of,
            owner: self.owner,
            epoch: self.epoch,
            wake_ms: self.wake_ms,
            deadline_ms: self.deadline_ms,
            created_ms: self.created_ms,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            created_by: self.created_by,
        })
    }
}

impl Store {
    /// One job; `tenant: None` looks at all tenants.
    pub async fn job(&self, tenant: Option<&str>, id: &str) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT * FROM jobs WHERE job_id = $1").bind(id).fetch_optional(db).await?
        });
        match row.filter(|row| tenant.is_none_or(|tenant| tenant == row.tenant)) {
            Some(row) => Ok(Some(self.whole(row).await?)),
            None => Ok(None),
        }
    }

    /// One job if nothing more happens to it by itself: it has ended, or waits for an answer.
    pub async fn job_at_rest(&self, tenant: &str, id: &str) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT * FROM jobs WHERE job_id = $1 AND tenant = $2 AND status >= 2")
                .bind(id)
                .bind(tenant)
                .fetch_optional(db)
                .await?
        });
        match row {
            Some(row) => Ok(Some(self.whole(row).await?)),
            None => Ok(None),
        }
    }

    /// A job with its blobs put back.
    pub(super) async fn whole(&self, mut row: JobRow) -> Result<Job, StoreError> {
        let kept = |text: &mut Option<String>| text.take().map(|text| Kept::parse(&text)).transpose();
        let (request, result) = (kept(&mut row.request)?, kept(&mut row.result)?);
        let blobs = self.blobs(&row.job_id, wanted(request.iter().chain(&result))).await?;
        let filled = |kept: Option<Kept>| kept.map(|kept| kept.filled(&blobs)).transpose();
        let (request, result) = (filled(request)?, filled(result)?);
        row.job(request, result)
    }

    /// The request of a job, from its column.
    pub(super) async fn request(&self, job: &str, text: &str) -> Result<Request, StoreError> {
        let kept = Kept::parse(text)?;
        let blobs = self.blobs(job, wanted([&kept])).await?;
        Ok(serde_json::from_value(kept.filled(&blobs)?)?)
    }

    /// Records of a job from `seq` on, at most `limit`, each with when it was written (unix ms).
    pub async fn records(&self, id: &str, seq: u64, limit: usize) -> Result<Vec<(i64, Record)>, StoreError> {
        let mut records = Vec::new();
        let mut next = i64::try_from(seq).unwrap_or(i64::MAX);
        while records.len() < limit {
            // A row may begin before what is asked for, by as many records as it holds.
            let rows: Vec<RecordsRow> = reading!(self.database(), |db| {
                sqlx::query_as(
                    "SELECT seq, n, at_ms, body FROM job_events WHERE job_id = $1 AND seq >= COALESCE( \
                     (SELECT MAX(seq) FROM job_events WHERE job_id = $1 AND seq <= $2), 0) \
                     ORDER BY seq LIMIT $3",
                )
                .bind(id)
                .bind(next)
                .bind(i64::try_from(limit - records.len()).unwrap_or(ROWS).min(ROWS))
                .fetch_all(db)
                .await?
            });
            let Some(end) = rows.last().map(|row| row.seq + i64::from(row.n)) else { break };
            if end <= next {
                break;
            }
            records.extend(self.parse(id, rows, next, limit - records.len()).await?);
            next = end;
        }
        Ok(records)
    }

    /// The records of `rows` from `next` on, at most `limit`: no more is made of a row of thousands than is asked for.
    async fn parse(
        &self,
        id: &str,
        rows: Vec<RecordsRow>,
        next: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Record)>, StoreError> {
        let mut kept = Vec::new();
        for row in rows {
            let items: Vec<&RawValue> = serde_json::from_str(&row.body)?;
            let before = usize::try_from(next - row.seq).unwrap_or_default();
            for item in items.into_iter().skip(before).take(limit - kept.len()) {
                kept.push((row.at_ms, Kept::of(serde_json::from_str(item.get())?)?));
            }
        }
        let blobs = self.blobs(id, wanted(kept.iter().map(|(_, kept)| kept))).await?;
        let record = |(at_ms, kept): (i64, Kept)| Ok((at_ms, serde_json::from_value(kept.filled(&blobs)?)?));
        kept.into_iter().map(record).collect()
    }

    /// Blobs of a job, with everything that their lists name.
    async fn blobs(
        &self,
        job: &str,
        wanted: Vec<(usize, Vec<String>)>,
    ) -> Result<HashMap<String, Vec<u8>>, StoreError> {
        let mut blobs: HashMap<String, Vec<u8>> = HashMap::new();
        let mut levels: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (level, hashes) in wanted {
            levels.entry(level).or_default().extend(hashes);
        }
        while let Some((level, hashes)) = levels.pop_last() {
            let mut missing: Vec<&String> = hashes.iter().filter(|hash| !blobs.contains_key(*hash)).collect();
            missing.sort_unstable();
            missing.dedup();
            if !missing.is_empty() {
                let missing = serde_json::to_string(&missing)?;
                let sql = self.sql(
                    "SELECT hash, size, codec, body FROM blobs WHERE job_id = $1 AND hash IN ({list:$2})",
                );
                let rows: Vec<BlobRow> = reading!(self.database(), |db| {
                    sqlx::query_as(sql).bind(job).bind(missing).fetch_all(db).await?
                });
                for row in rows {
                    blobs.insert(row.hash, unpacked(&row.codec, row.size, row.body)?);
                }
            }
            if let Some(below) = level.checked_sub(1) {
                let lists = hashes.iter().filter_map(|hash| blobs.get(hash));
                levels.entry(below).or_default().extend(lists.flat_map(|list| hashes_in(list)));
            }
        }
        Ok(blobs)
    }
}
