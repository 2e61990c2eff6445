//! Tasks: executions of nodes that leave the worker that owns their job.

use super::database::{Database, reading, row, transaction, writing};
use super::rows::{Connection as _, Rows};
use super::{Store, StoreError, Wake};

/// A task to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// `tsk_…`.
    pub id: String,
    /// The job that it is part of.
    pub job: String,
    /// Hash of the job's bundle.
    pub hash: String,
    /// Whose it is.
    pub tenant: String,
    /// The worker that waits for it.
    pub job_owner: String,
    /// What is to be done, as JSON.
    pub input: String,
}

/// A task that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTask {
    /// `tsk_…`.
    pub id: String,
    /// The job that it is part of.
    pub job: String,
    /// Hash of the job's bundle.
    pub hash: String,
    /// Whose it is.
    pub tenant: String,
    /// The claim's number, which fences the result.
    pub epoch: i64,
    /// How often it was claimed.
    pub attempts: i32,
    /// What is to be done, as JSON.
    pub input: String,
}

row! {
    struct TaskRow {
        task_id: String,
        job_id: String,
        hash: String,
        tenant: String,
        epoch: i64,
        attempts: i32,
        input: String,
    }
}
row! {
    struct DoneRow { task_id: String, job_id: String, output: Option<String> }
}

/// A task that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneTask {
    /// `tsk_…`.
    pub id: String,
    /// The job that it is part of.
    pub job: String,
    /// What came of it, as JSON.
    pub output: String,
}

/// Heads of the tenants' queues, one after the other, so that a large job of one does not keep the others waiting. The
/// tenants are those that have tasks, found by hops along the index.
const PICK_POSTGRES: &str = "WITH RECURSIVE hops(tenant) AS ( \
     SELECT MIN(tenant) FROM tasks WHERE status = 0 UNION ALL \
     SELECT (SELECT MIN(k.tenant) FROM tasks k WHERE k.status = 0 AND k.tenant > hops.tenant) \
     FROM hops WHERE hops.tenant IS NOT NULL), \
     t AS MATERIALIZED (SELECT tenant FROM hops WHERE tenant IS NOT NULL), \
     heads AS MATERIALIZED (SELECT t.tenant, x.task_id, x.created_ms FROM t CROSS JOIN LATERAL \
     (SELECT task_id, created_ms FROM tasks k WHERE k.tenant = t.tenant AND k.status = 0 \
     ORDER BY created_ms, task_id LIMIT $1 FOR UPDATE SKIP LOCKED) x) \
     SELECT task_id FROM (SELECT task_id, row_number() OVER (PARTITION BY tenant ORDER BY created_ms, task_id) \
     AS place FROM heads) placed ORDER BY place, task_id LIMIT $1";

const PICK_SQLITE: &str = "SELECT task_id FROM (SELECT task_id, row_number() OVER \
     (PARTITION BY tenant ORDER BY created_ms, task_id) AS place FROM tasks WHERE status = 0) \
     ORDER BY place, task_id LIMIT $1";

const CLAIM: &str = "UPDATE tasks SET status = 1, owner = $1, epoch = epoch + 1, attempts = attempts + 1 \
     WHERE task_id IN ({list:$2}) AND status = 0 \
     RETURNING task_id, job_id, hash, tenant, epoch, attempts, input";

impl Store {
    /// Takes tasks in.
    pub async fn enqueue(&self, tasks: &[NewTask]) -> Result<(), StoreError> {
        let mut rows = Rows::new(&["task_id", "job_id", "hash", "tenant", "job_owner", "input"]);
        for task in tasks {
            rows.push([
                (&task.id).into(),
                (&task.job).into(),
                (&task.hash).into(),
                (&task.tenant).into(),
                (&task.job_owner).into(),
                (&task.input).into(),
            ]);
        }
        let insert = self.database().statement(
            "INSERT INTO tasks (task_id, job_id, hash, tenant, job_owner, status, input, created_ms) \
             SELECT task_id, job_id, hash, tenant, job_owner, 0, input, {now} FROM r WHERE TRUE \
             ON CONFLICT DO NOTHING",
        );
        transaction!(self.database(), |tx| {
            tx.run(&insert, &rows).await?;
        });
        self.0.wakes.tell(Wake::Work);
        Ok(())
    }

    /// Claims up to `limit` tasks.
    pub async fn claim_tasks(&self, worker: &str, limit: u32) -> Result<Vec<ClaimedTask>, StoreError> {
        let any: Option<String> = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT task_id FROM tasks WHERE status = 0 LIMIT 1")
                .fetch_optional(db)
                .await?
        });
        if any.is_none() || limit == 0 {
            return Ok(Vec::new());
        }
        let pick = match self.database() {
            Database::Sqlite { .. } => PICK_SQLITE,
            Database::Postgres { .. } => PICK_POSTGRES,
        };
        let claim = self.sql(CLAIM);
        let rows: Vec<TaskRow> = transaction!(self.database(), |tx| {
            let ids: Vec<String> =
                sqlx::query_scalar(pick).bind(i64::from(limit)).fetch_all(&mut *tx).await?;
            let ids = serde_json::to_string(&ids)?;
            sqlx::query_as(claim).bind(worker).bind(ids).fetch_all(&mut *tx).await?
        });
        let claimed = |row: TaskRow| ClaimedTask {
            id: row.task_id,
            job: row.job_id,
            hash: row.hash,
            tenant: row.tenant,
            epoch: row.epoch,
            attempts: row.attempts,
            input: row.input,
        };
        Ok(rows.into_iter().map(claimed).collect())
    }

    /// Keeps what came of a task; refused if another worker has it by now or nobody wants it any more.
    pub async fn complete_task(&self, id: &str, epoch: i64, output: &str) -> Result<(), StoreError> {
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE tasks SET status = 2, output = $3 WHERE task_id = $1 AND epoch = $2 AND status = 1",
            )
            .bind(id)
            .bind(epoch)
            .bind(output)
            .execute(db)
            .await?
            .rows_affected()
        });
        if n == 0 {
            return Err(StoreError::Fenced(id.to_owned()));
        }
        self.0.wakes.tell(Wake::Wanted);
        Ok(())
    }

    /// Tasks that this worker waits for and that are done. Each is given until [`Self::take_tasks`] takes it away.
    pub async fn done_tasks(&self, worker: &str) -> Result<Vec<DoneTask>, StoreError> {
        let rows: Vec<DoneRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT task_id, job_id, output FROM tasks WHERE job_owner = $1 AND status = 2 \
                 ORDER BY created_ms, task_id LIMIT 1000",
            )
            .bind(worker)
            .fetch_all(db)
            .await?
        });
        let done = |row: DoneRow| DoneTask {
            id: row.task_id,
            job: row.job_id,
            output: row.output.unwrap_or_default(),
        };
        Ok(rows.into_iter().map(done).collect())
    }

    /// Takes tasks away whose results are journaled.
    pub async fn take_tasks(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids = serde_json::to_string(ids)?;
        let sql = self.sql("DELETE FROM tasks WHERE task_id IN ({list:$1}) AND status = 2");
        writing!(self.database(), |db| {
            sqlx::query(sql).bind(ids).execute(db).await?;
        });
        Ok(())
    }

    /// Takes all tasks of a job away; what workers still make of them is refused.
    pub async fn cancel_tasks(&self, job: &str) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("DELETE FROM tasks WHERE job_id = $1").bind(job).execute(db).await?;
        });
        Ok(())
    }
}
