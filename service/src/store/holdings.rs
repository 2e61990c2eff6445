//! What a worker has, as the store sees it: for workers that compare it with what they know.

use super::database::{reading, row, writing};
use super::{Store, StoreError};

row! {
    struct OwnedRow { job_id: String, epoch: i64 }
}

impl Store {
    /// The jobs that are this worker's, each with its epoch.
    pub async fn owned(&self, worker: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let rows: Vec<OwnedRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT job_id, epoch FROM jobs WHERE owner = $1 AND status = 1")
                .bind(worker)
                .fetch_all(db)
                .await?
        });
        Ok(rows.into_iter().map(|row| (row.job_id, row.epoch)).collect())
    }

    /// Workers that have a lease and take jobs.
    pub async fn n_workers(&self) -> Result<u64, StoreError> {
        let sql = self.sql("SELECT COUNT(*) FROM workers WHERE lease_ms >= {now} AND slots > 0");
        let n: i64 = reading!(self.database(), |db| sqlx::query_scalar(sql).fetch_one(db).await?);
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// The tasks that this worker is to execute.
    pub async fn held_tasks(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        Ok(reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT task_id FROM tasks WHERE owner = $1 AND status = 1")
                .bind(worker)
                .fetch_all(db)
                .await?
        }))
    }

    /// Takes tasks away that nobody waits for any more, whether or not they are done.
    pub async fn drop_tasks(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids = serde_json::to_string(ids)?;
        let sql = self.sql("DELETE FROM tasks WHERE task_id IN ({list:$1})");
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(ids).execute(db).await?;
        });
        Ok(())
    }

    /// Takes tasks away whose jobs' owners are gone: whoever takes up such a job makes its own.
    pub async fn drop_orphans(&self) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("DELETE FROM tasks WHERE job_owner NOT IN (SELECT worker FROM workers)")
                .execute(db)
                .await?;
        });
        Ok(())
    }
}
