//! What people say of the answers of jobs.

use std::collections::BTreeMap;

use super::database::{reading, row, writing};
use super::{Store, StoreError};

/// Most that is said of one job.
pub(super) const FEEDBACK_MAX: i64 = 100;

/// What somebody said of a job's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// `fbk_…`.
    pub id: String,
    /// The job.
    pub job_id: String,
    /// From -1 (bad) to 1 (good).
    pub score: Option<f64>,
    /// In words.
    pub comment: Option<String>,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
    /// Who said it.
    pub by: Option<String>,
    /// Unix ms.
    pub at_ms: i64,
}

/// What came of saying something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackPut {
    /// It is kept.
    Kept,
    /// Enough has been said of this job.
    TooMany,
    /// There is no such job.
    NoJob,
}

row! {
    struct FeedbackRow {
        job_id: String,
        feedback_id: String,
        score: Option<f64>,
        comment: Option<String>,
        labels: Option<String>,
        by_whom: Option<String>,
        at_ms: i64,
    }
}

impl TryFrom<FeedbackRow> for Feedback {
    type Error = StoreError;

    fn try_from(row: FeedbackRow) -> Result<Self, StoreError> {
        Ok(Self {
            labels: row.labels.map(|labels| serde_json::from_str(&labels)).transpose()?.unwrap_or_default(),
            id: row.feedback_id,
            job_id: row.job_id,
            score: row.score,
            comment: row.comment,
            by: row.by_whom,
            at_ms: row.at_ms,
        })
    }
}

impl Store {
    /// Keeps what somebody says of a job of this tenant.
    pub async fn put_feedback(&self, tenant: &str, said: &Feedback) -> Result<FeedbackPut, StoreError> {
        let labels = if said.labels.is_empty() { None } else { Some(serde_json::to_string(&said.labels)?) };
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO feedback (job_id, feedback_id, tenant, score, comment, labels, by_whom, at_ms) \
                 SELECT j.job_id, $3, j.tenant, $4, $5, $6, $7, $8 FROM jobs j WHERE j.tenant = $1 AND j.job_id = $2 \
                 AND (SELECT COUNT(*) FROM feedback f WHERE f.job_id = $2) < $9",
            )
            .bind(tenant)
            .bind(&said.job_id)
            .bind(&said.id)
            .bind(said.score)
            .bind(&said.comment)
            .bind(labels)
            .bind(&said.by)
            .bind(said.at_ms)
            .bind(FEEDBACK_MAX)
            .execute(db)
            .await?
            .rows_affected()
        });
        if n > 0 {
            return Ok(FeedbackPut::Kept);
        }
        let known: i64 = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE tenant = $1 AND job_id = $2")
                .bind(tenant)
                .bind(&said.job_id)
                .fetch_one(db)
                .await?
        });
        Ok(if known > 0 { FeedbackPut::TooMany } else { FeedbackPut::NoJob })
    }

    /// What was said of a job, oldest first: no more than [`FEEDBACK_MAX`].
    pub async fn feedback(&self, tenant: &str, job: &str) -> Result<Vec<Feedback>, StoreError> {
        let rows: Vec<FeedbackRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT job_id, feedback_id, score, comment, labels, by_whom, at_ms FROM feedback \
                 WHERE tenant = $1 AND job_id = $2 ORDER BY at_ms, feedback_id LIMIT $3",
            )
            .bind(tenant)
            .bind(job)
            .bind(FEEDBACK_MAX)
            .fetch_all(db)
            .await?
        });
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Forgets what was said of jobs that are gone, at most `limit` at once; how much.
    pub async fn prune_feedback(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        Ok(writing!(self.database(), |db| {
            sqlx::query(
                "DELETE FROM feedback WHERE feedback_id IN (SELECT f.feedback_id FROM feedback f \
                 WHERE f.at_ms < $1 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = f.job_id) LIMIT $2)",
            )
            .bind(before_ms)
            .bind(i64::from(limit))
            .execute(db)
            .await?
            .rows_affected()
        }))
    }
}
