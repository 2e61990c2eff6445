//! What is asked of jobs from outside: to go on with an answer, to be forgotten; how many there are.

use super::database::{reading, row, transaction};
use super::{Answer, Answered, Queue, Store, StoreError, Unended, Wake, limits};
use crate::job::Status;

row! {
    struct AnswerRow { scope: String, value: String, by_whom: Option<String> }
}
row! {
    struct CountRow { status: i16, n: i64 }
}
row! {
    struct QueueRow { status: i16, n: i64, oldest_ms: Option<i64> }
}

/// What a job leaves behind when it is forgotten.
const OF_A_JOB: &[&str] = &[
    "DELETE FROM job_events WHERE job_id IN ({list:$1})",
    "DELETE FROM blobs WHERE job_id IN ({list:$1})",
    "DELETE FROM answers WHERE job_id IN ({list:$1})",
    "DELETE FROM tasks WHERE job_id IN ({list:$1})",
    "DELETE FROM feedback WHERE job_id IN ({list:$1})",
    // What repeats the request of a job that is gone would be answered with nothing.
    "DELETE FROM idempotency WHERE object_id IN ({list:$1})",
    "DELETE FROM job_labels WHERE job_id IN ({list:$1})",
    "DELETE FROM jobs WHERE job_id IN ({list:$1}) AND status >= 3",
];

impl Store {
    /// Where a job is.
    pub async fn status(&self, tenant: &str, id: &str) -> Result<Option<Status>, StoreError> {
        let status: Option<i16> = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT status FROM jobs WHERE job_id = $1 AND tenant = $2")
                .bind(id)
                .bind(tenant)
                .fetch_optional(db)
                .await?
        });
        Ok(status.and_then(Status::from_number))
    }

    /// Keeps an answer to a wait and wakes the job.
    pub async fn answer(&self, tenant: &str, id: &str, answer: &Answer) -> Result<Answered, StoreError> {
        let value = serde_json::to_string(&answer.value)?;
        let insert = self.sql(
            "INSERT INTO answers (job_id, scope, value, by_whom, at_ms) SELECT $1, $2, $3, $4, {now} \
             FROM jobs WHERE job_id = $1 AND tenant = $5 AND status < 3 ON CONFLICT DO NOTHING",
        );
        let wake = self.sql(
            "UPDATE jobs SET wanted = wanted | 4, wake_ms = CASE WHEN status = 2 THEN {now} ELSE wake_ms END, \
             status = CASE WHEN status = 2 THEN 0 ELSE status END \
             WHERE job_id = $1 AND status < 3",
        );
        let (taken, woken) = transaction!(self.database(), |tx| {
            let taken = sqlx::query(insert)
                .bind(id)
                .bind(&answer.wait)
                .bind(value)
                .bind(&answer.by)
                .bind(tenant)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let woken = match taken {
                0 => 0,
                _ => sqlx::query(wake).bind(id).execute(&mut *tx).await?.rows_affected(),
            };
            (taken, woken)
        });
        if taken > 0 && woken > 0 {
            self.0.wakes.tell(Wake::Wanted);
            self.0.wakes.tell(Wake::Work);
            return Ok(Answered::Taken);
        }
        match self.status(tenant, id).await? {
            None => Ok(Answered::NoJob),
            Some(status) if status.is_final() => Ok(Answered::Ended),
            Some(_) => Ok(Answered::Before),
        }
    }

    /// The answers to a job's waits.
    pub async fn answers(&self, id: &str) -> Result<Vec<Answer>, StoreError> {
        let rows: Vec<AnswerRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT scope, value, by_whom FROM answers WHERE job_id = $1 ORDER BY at_ms, scope",
            )
            .bind(id)
            .fetch_all(db)
            .await?
        });
        let answer = |row: AnswerRow| {
            Ok(Answer { wait: row.scope, value: serde_json::from_str(&row.value)?, by: row.by_whom })
        };
        rows.into_iter().map(answer).collect()
    }

    /// Jobs of a tenant that are queued, and the age of the oldest; of all tenants with `None`.
    pub async fn queue(&self, tenant: Option<&str>) -> Result<Queue, StoreError> {
        let who = if tenant.is_some() { "tenant = $1 AND" } else { "$1 IS NULL AND" };
        let sql = self.sql(&format!(
            "SELECT status, COUNT(*) AS n, MIN(CASE WHEN status = 0 THEN wake_ms END) AS oldest_ms FROM jobs \
             WHERE {who} status = 0 AND wake_ms <= {{now}} GROUP BY status \
             UNION ALL SELECT status, COUNT(*), NULL FROM jobs WHERE {who} status = 1 GROUP BY status \
             UNION ALL SELECT status, COUNT(*), NULL FROM jobs WHERE {who} status = 2 GROUP BY status"
        ));
        let rows: Vec<QueueRow> =
            reading!(self.database(), |db| { sqlx::query_as(sql).bind(tenant).fetch_all(db).await? });
        let mut queue = Queue::default();
        for row in rows {
            let n = row.n.unsigned_abs();
            match Status::from_number(row.status) {
                Some(Status::Queued) => {
                    queue.depth = n;
                    queue.oldest_ms = row.oldest_ms;
                }
                Some(Status::Running) => queue.running = n,
                Some(Status::Waiting) => queue.waiting = n,
                _ => {}
            }
        }
        Ok(queue)
    }

    /// Jobs of a tenant that have not ended, whenever they may begin.
    pub async fn unended(&self, tenant: &str) -> Result<Unended, StoreError> {
        let rows: Vec<CountRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT status, COUNT(*) AS n FROM jobs WHERE tenant = $1 AND status IN (0, 1, 2) GROUP BY status",
            )
            .bind(tenant)
            .fetch_all(db)
            .await?
        });
        let count = |status: Status| {
            let row = rows.iter().find(|row| row.status == status.number());
            row.map_or(0, |row| row.n.unsigned_abs())
        };
        Ok(Unended {
            queued: count(Status::Queued),
            running: count(Status::Running),
            waiting: count(Status::Waiting),
        })
    }

    /// Forgets a job that has ended; `false` if there is none such.
    pub async fn delete(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        if !self.status(tenant, id).await?.is_some_and(Status::is_final) {
            return Ok(false);
        }
        Ok(self.forget(&[id.to_owned()]).await? > 0)
    }

    /// Forgets jobs that ended before `before_ms`, at most `limit` of them, in small steps; how many.
    pub async fn prune(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        let mut n_forgotten = 0;
        while n_forgotten < u64::from(limit) {
            let step = u64::from(limit).saturating_sub(n_forgotten).min(u64::from(limits::PRUNE_STEP));
            let ids: Vec<String> = reading!(self.database(), |db| {
                sqlx::query_scalar(
                    "SELECT job_id FROM jobs WHERE finished_ms IS NOT NULL AND finished_ms < $1 \
                     ORDER BY finished_ms LIMIT $2",
                )
                .bind(before_ms)
                .bind(i64::try_from(step).unwrap_or(i64::MAX))
                .fetch_all(db)
                .await?
            });
            if ids.is_empty() {
                break;
            }
            let forgotten = self.forget(&ids).await?;
            n_forgotten += forgotten;
            if forgotten == 0 {
                // Another process was faster.
                break;
            }
            // Between two steps the writer has its turn.
            tokio::task::yield_now().await;
        }
        self.forget_keys().await?;
        Ok(n_forgotten)
    }

    /// Forgets the oldest jobs that have ended, but for the newest `keep` of them; how many.
    pub async fn prune_to(&self, keep: u32) -> Result<u64, StoreError> {
        let mut n_forgotten = 0;
        loop {
            let ids: Vec<String> = reading!(self.database(), |db| {
                sqlx::query_scalar(
                    "SELECT job_id FROM jobs WHERE finished_ms IS NOT NULL \
                     ORDER BY finished_ms DESC LIMIT $1 OFFSET $2",
                )
                .bind(i64::from(limits::PRUNE_STEP))
                .bind(i64::from(keep))
                .fetch_all(db)
                .await?
            });
            let forgotten = if ids.is_empty() { 0 } else { self.forget(&ids).await? };
            if forgotten == 0 {
                self.forget_keys().await?;
                return Ok(n_forgotten);
            }
            n_forgotten += forgotten;
            // Between two steps the writer has its turn.
            tokio::task::yield_now().await;
        }
    }

    async fn forget(&self, ids: &[String]) -> Result<u64, StoreError> {
        let ids = serde_json::to_string(ids)?;
        let statements: Vec<_> = OF_A_JOB.iter().map(|text| self.sql(text)).collect();
        Ok(transaction!(self.database(), |tx| {
            let mut n_jobs = 0;
            for sql in statements {
                // The last of them is the one of the jobs.
                n_jobs = sqlx::query(sql).bind(&ids).execute(&mut *tx).await?.rows_affected();
            }
            n_jobs
        }))
    }
}
