//! What jobs used, summed up.

use super::database::{reading, row};
use super::{Store, StoreError};
use crate::job::Usage;

/// Most groups of a sum.
pub(super) const GROUPS_MAX: i64 = 1_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What usage is summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// All together.
    All,
    /// The flow.
    Flow,
    /// The key that submitted the job.
    Key,
    /// The day (UTC) of the submission.
    Day,
}

/// What a group of jobs used.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The flow, key or day (as unix ms); none of jobs without one.
    pub group: Option<String>,
    /// Jobs submitted.
    pub jobs: u64,
    /// Of these, ended well.
    pub succeeded: u64,
    /// Of these, failed or timed out.
    pub failed: u64,
    /// What they used so far.
    pub usage: Usage,
}

row! {
    struct UsedRow {
        grouped: Option<String>,
        jobs: i64,
        succeeded: i64,
        failed: i64,
        model_calls: i64,
        encoder_calls: i64,
        prompt_tokens: i64,
        cached_tokens: i64,
        shareable_tokens: i64,
        completion_tokens: i64,
        unanswered_calls: i64,
        cost: f64,
    }
}

impl Store {
    /// What the jobs used that were submitted from `from_ms` on and before `to_ms`, largest group first; days in order.
    pub async fn usage(
        &self,
        tenant: &str,
        from_ms: i64,
        to_ms: i64,
        by: By,
    ) -> Result<Vec<Used>, StoreError> {
        let is_postgres = self.database().is_postgres();
        let group = match by {
            By::All => "NULL".to_owned(),
            By::Flow => "flow".to_owned(),
            By::Key => "created_by".to_owned(),
            // Whole days: both databases cut the rest off.
            By::Day => format!("CAST((created_ms / {DAY_MS}) * {DAY_MS} AS TEXT)"),
        };
        let sum = |field: &str, ty: &str| {
            let value = if is_postgres {
                format!("CAST(usage AS JSONB) ->> '{field}'")
            } else {
                format!("json_extract(usage, '$.{field}')")
            };
            format!("CAST(COALESCE(SUM(CAST({value} AS {ty})), 0) AS {ty}) AS {field}")
        };
        let counts = [
            "model_calls",
            "encoder_calls",
            "prompt_tokens",
            "cached_tokens",
            "shareable_tokens",
            "completion_tokens",
            "unanswered_calls",
        ]
        .map(|field| sum(field, "BIGINT"))
        .join(", ");
        let order = if by == By::Day { "1" } else { "jobs DESC, 1" };
        let sql = self.sql(&format!(
            "SELECT CAST({group} AS TEXT) AS grouped, COUNT(*) AS jobs, \
             COUNT(CASE WHEN status = 3 THEN 1 END) AS succeeded, \
             COUNT(CASE WHEN status IN (4, 6) THEN 1 END) AS failed, {counts}, {} \
             FROM jobs WHERE tenant = $1 AND created_ms >= $2 AND created_ms < $3 \
             GROUP BY 1 ORDER BY {order} LIMIT $4",
            sum("cost", if is_postgres { "DOUBLE PRECISION" } else { "REAL" })
        ));
        let rows: Vec<UsedRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(from_ms).bind(to_ms).bind(GROUPS_MAX).fetch_all(db).await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

impl From<UsedRow> for Used {
    fn from(row: UsedRow) -> Self {
        Self {
            group: row.grouped,
            jobs: row.jobs.unsigned_abs(),
            succeeded: row.succeeded.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
            usage: Usage {
                model_calls: row.model_calls.unsigned_abs(),
                encoder_calls: row.encoder_calls.unsigned_abs(),
                prompt_tokens: row.prompt_tokens.unsigned_abs(),
                cached_tokens: row.cached_tokens.unsigned_abs(),
                shareable_tokens: row.shareable_tokens.unsigned_abs(),
                completion_tokens: row.completion_tokens.unsigned_abs(),
                unanswered_calls: row.unanswered_calls.unsigned_abs(),
                cost: row.cost,
            },
        }
    }
}
