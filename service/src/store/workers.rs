//! Workers: their leases, what they claim, and what becomes of the jobs of those that are lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::database::{Database, reading, row, transaction, writing};
use super::{Claimed, Gone, Store, StoreError, Swept, Wake, Wanted, limits};

row! {
    struct ClaimedRow {
        job_id: String,
        tenant: String,
        flow: String,
        hash: String,
        request: String,
        epoch: i64,
        claims: i32,
        wanted: i16,
        deadline_ms: Option<i64>,
        trace: Option<String>,
        priority: i16,
        session_id: Option<String>,
        batch_id: Option<String>,
        created_by: Option<String>,
        wake_ms: i64,
        started_ms: i64,
        is_begun: i32,
    }
}
row! {
    struct WantedRow { job_id: String, wanted: i16 }
}

/// Tenants that have something ready and room for it, the least served first, each with the place from which its virtual
/// time goes on and how many more of it may run (NULL without a bound). Who had nothing for a while comes before others,
/// but only by a bounded credit. Those without room are left out: they would take the places of tenants that have some.
const TENANTS: &str = "SELECT tenant, weight, vtime, room FROM (SELECT tenant, weight, \
     CASE WHEN vtime < floor THEN floor ELSE vtime END AS vtime, \
     (SELECT l.max_running - (SELECT COUNT(*) FROM jobs j WHERE j.tenant = l.tenant AND j.status = 1) \
     FROM tenant_limits l WHERE l.tenant = t.tenant AND l.max_running IS NOT NULL) AS room \
     FROM (SELECT tenant, weight, vtime, (SELECT MAX(vtime) FROM tenants) - {credit} AS floor \
     FROM tenants) t \
     WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.tenant = t.tenant AND j.status = 0 AND j.wake_ms <= {now})) ready \
     WHERE room IS NULL OR room > 0 ORDER BY vtime, tenant LIMIT {tenants}";

/// The heads of the queues of those tenants, put together by the virtual time at which each begins. What took its worker
/// down twice may do so again: a worker takes one such job at a time, so that none is blamed for another.
const PICK_POSTGRES: &str = "WITH t AS MATERIALIZED ({TENANTS}), \
     heads AS MATERIALIZED (SELECT t.tenant, t.vtime, t.weight, t.room, x.job_id, x.priority, x.wake_ms \
     FROM t CROSS JOIN LATERAL (SELECT job_id, priority, wake_ms FROM jobs j WHERE j.tenant = t.tenant \
     AND j.status = 0 AND j.wake_ms <= {now} \
     AND (j.claims < 2 OR j.job_id = (SELECT s.job_id FROM jobs s \
     WHERE s.status = 0 AND s.claims >= 2 AND s.wake_ms <= {now} \
     AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.owner = $2 AND o.status = 1 AND o.claims >= 2) \
     ORDER BY s.claims, s.wake_ms, s.job_id LIMIT 1)) \
     ORDER BY priority DESC, wake_ms LIMIT $1 FOR UPDATE SKIP LOCKED) x), \
     placed AS (SELECT tenant, vtime, weight, room, job_id, \
     row_number() OVER (PARTITION BY tenant ORDER BY priority DESC, wake_ms, job_id) AS place FROM heads) \
     SELECT job_id, tenant, room FROM placed WHERE room IS NULL OR place <= room \
     ORDER BY vtime + place * {job} / weight, tenant LIMIT $1";

/// The same in `SQLite`, which holds off all others anyway.
const HEADS_SQLITE: &str = "SELECT j.job_id FROM jobs j WHERE j.tenant = $1 AND j.status = 0 AND j.wake_ms <= {now} \
     AND (j.claims < 2 OR j.job_id = (SELECT s.job_id FROM jobs s \
     WHERE s.status = 0 AND s.claims >= 2 AND s.wake_ms <= {now} \
     AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.owner = $3 AND o.status = 1 AND o.claims >= 2) \
     ORDER BY s.claims, s.wake_ms, s.job_id LIMIT 1)) \
     ORDER BY priority DESC, wake_ms LIMIT $2";

/// Holds off others that claim for these tenants until this claim is committed.
const LOCK_BOUNDED: &str =
    "SELECT tenant FROM tenant_limits WHERE tenant IN ({list:$1}) ORDER BY tenant FOR UPDATE";

/// How many more of these tenants may run.
const ROOM: &str = "SELECT l.tenant, \
     l.max_running - (SELECT COUNT(*) FROM jobs j WHERE j.tenant = l.tenant AND j.status = 1) \
     FROM tenant_limits l WHERE l.tenant IN ({list:$1}) AND l.max_running IS NOT NULL";

/// Claims count from the last progress: an owner that wrote more than that it had taken the job up made some.
const CLAIM: &str = "UPDATE jobs SET status = 1, owner = $1, claims = CASE WHEN claims = 0 THEN 1 \
     WHEN (SELECT COALESCE(SUM(n), 0) FROM job_events e WHERE e.job_id = jobs.job_id AND e.epoch > 0 \
     AND e.epoch >= jobs.epoch - 1) > 1 THEN 1 ELSE claims + 1 END, \
     epoch = epoch + 1, started_ms = COALESCE(started_ms, {now}), wanted = wanted & 3, waits = NULL \
     WHERE job_id IN ({list:$2}) AND status = 0 \
     RETURNING job_id, tenant, flow, hash, request, epoch, claims, wanted, deadline_ms, trace, \
     priority, session_id, batch_id, created_by, wake_ms, started_ms, \
     CASE WHEN EXISTS (SELECT 1 FROM job_events e WHERE e.job_id = jobs.job_id) THEN 1 ELSE 0 END AS is_begun";

/// Moves a tenant's virtual time on by what it was given.
const SERVE: &str = "UPDATE tenants SET vtime = {job} * $2 / weight + CASE WHEN vtime < floor.at THEN floor.at \
     ELSE vtime END FROM (SELECT MAX(vtime) - {credit} AS at FROM tenants) AS floor WHERE tenant = $1";

impl Wanted {
    fn of(bits: i16) -> Self {
        Self { cancel_now: bits & 1 != 0, cancel: bits & 2 != 0, answers: bits & 4 != 0 }
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// A text of SQL with the numbers of fairness in it.
    fn fair(&self, text: &str) -> sqlx::AssertSqlSafe<String> {
        let credit = limits::VTIME_JOB.saturating_mul(limits::VTIME_CREDIT).to_string();
        let text = text.replace("{TENANTS}", TENANTS).replace("{credit}", &credit);
        let text = text.replace("{job}", &limits::VTIME_JOB.to_string());
        self.sql(&text.replace("{tenants}", &limits::CLAIM_TENANTS.to_string()))
    }

    /// Makes a worker known, with a lease.
    pub async fn register(&self, worker: &str, slots: u32, lease: Duration) -> Result<(), StoreError> {
        let sql = self.sql(
            "INSERT INTO workers (worker, version, slots, lease_ms, started_ms) \
             VALUES ($1, $2, $3, {now} + $4, {now}) \
             ON CONFLICT (worker) DO UPDATE SET slots = excluded.slots, lease_ms = excluded.lease_ms",
        );
        writing!(self.database(), |db| {
            sqlx::query(sql)
                .bind(worker)
                .bind(env!("CARGO_PKG_VERSION"))
                .bind(i64::from(slots))
                .bind(ms(lease))
                .execute(db)
                .await?;
        });
        Ok(())
    }

    /// Renews the lease; `false` if it was lost meanwhile.
    pub async fn heartbeat(&self, worker: &str, lease: Duration) -> Result<bool, StoreError> {
        let sql =
            self.sql("UPDATE workers SET lease_ms = {now} + $2 WHERE worker = $1 AND lease_ms >= {now}");
        let n = writing!(self.database(), |db| {
            sqlx::query(sql).bind(worker).bind(ms(lease)).execute(db).await?.rows_affected()
        });
        Ok(n > 0)
    }

    /// Takes a worker off the list; what it still has goes back to the queue.
    pub async fn deregister(&self, worker: &str, gone: Gone) -> Result<(), StoreError> {
        let swept = self.put_back("worker = $1", worker, gone).await?;
        if swept.jobs + swept.tasks > 0 {
            self.0.wakes.tell(Wake::Work);
        }
        Ok(())
    }

    /// Puts the jobs and tasks of lost workers back into the queue, and wakes waiting jobs whose deadline has come.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = self.put_back("lease_ms < {now} AND $1 = ''", "", Gone::Lost).await?;
        let wake = self.sql("UPDATE jobs SET status = 0 WHERE status = 2 AND wake_ms <= {now}");
        swept.woken = writing!(self.database(), |db| sqlx::query(wake).execute(db).await?.rows_affected());
        if swept.jobs + swept.tasks + swept.woken > 0 {
            self.0.wakes.tell(Wake::Work);
        }
        Ok(swept)
    }

    /// Puts back what the workers have of whom the condition holds, and what workers have that are not on the list.
    pub(super) async fn put_back(&self, which: &str, worker: &str, gone: Gone) -> Result<Swept, StoreError> {
        let workers = self.sql(&format!("DELETE FROM workers WHERE {which}"));
        let claims = match gone {
            Gone::Left => "CASE WHEN claims > 0 THEN claims - 1 ELSE 0 END",
            Gone::Lost => "claims",
        };
        // The number changes with the hands: what the lost worker still writes is refused from here on.
        let jobs = self.sql(&format!(
            "UPDATE jobs SET status = 0, owner = NULL, epoch = epoch + 1, claims = {claims}, wake_ms = {{now}} \
             WHERE status = 1 AND owner NOT IN (SELECT worker FROM workers)",
        ));
        let tasks = self.sql(
            "UPDATE tasks SET status = 0, owner = NULL, epoch = epoch + 1 \
             WHERE status = 1 AND owner NOT IN (SELECT worker FROM workers)",
        );
        Ok(transaction!(self.database(), |tx| {
            Swept {
                workers: sqlx::query(workers).bind(worker).execute(&mut *tx).await?.rows_affected(),
                jobs: sqlx::query(jobs).execute(&mut *tx).await?.rows_affected(),
                tasks: sqlx::query(tasks).execute(&mut *tx).await?.rows_affected(),
                woken: 0,
            }
        }))
    }

    /// Claims up to `limit` jobs: the least served tenants first, by priority within a tenant.
    pub async fn claim(&self, worker: &str, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let rows = match self.database() {
            Database::Postgres { .. } => self.claim_postgres(worker, i64::from(limit)).await?,
            Database::Sqlite { .. } => self.claim_sqlite(worker, i64::from(limit)).await?,
        };
        let mut claimed = Vec::new();
        for row in rows {
            claimed.push(Claimed {
                request: self.request(&row.job_id, &row.request).await?,
                id: row.job_id,
                tenant: row.tenant,
                flow: row.flow,
                hash: row.hash,
                epoch: row.epoch,
                claims: row.claims,
                wanted: Wanted::of(row.wanted),
                deadline_ms: row.deadline_ms,
                trace: row.trace,
                priority: row.priority,
                session_id: row.session_id,
                batch_id: row.batch_id,
                created_by: row.created_by,
                ready_ms: row.wake_ms,
                started_ms: row.started_ms,
                is_begun: row.is_begun != 0,
            });
        }
        // Whoever follows a job hears of it by its first record.
        Ok(claimed)
    }

    async fn claim_postgres(&self, worker: &str, limit: i64) -> Result<Vec<ClaimedRow>, StoreError> {
        let Database::Postgres { read, .. } = self.database() else { return Ok(Vec::new()) };
        let mut held = read.begin().await?;
        let picked: Vec<(String, String, Option<i64>)> =
            sqlx::query_as(self.fair(PICK_POSTGRES)).bind(limit).bind(worker).fetch_all(&mut *held).await?;
        let bounded = picked.iter().filter(|(.., room)| room.is_some()).map(|(_, tenant, _)| tenant.as_str());
        let bounded: BTreeSet<&str> = bounded.collect();
        let mut rooms = HashMap::new();
        if !bounded.is_empty() {
            // Another process may claim for them just now: counted again once it has committed, none passes its bound.
            let bounded = serde_json::to_string(&bounded)?;
            sqlx::query(self.sql(LOCK_BOUNDED)).bind(&bounded).execute(&mut *held).await?;
            let found: Vec<(String, i64)> =
                sqlx::query_as(self.sql(ROOM)).bind(&bounded).fetch_all(&mut *held).await?;
            rooms.extend(found);
        }
        let mut picked: Vec<(String, String)> =
            picked.into_iter().map(|(id, tenant, _)| (id, tenant)).collect();
        picked.retain(|(_, tenant)| {
            let Some(room) = rooms.get_mut(tenant) else { return true };
            *room -= 1;
            *room >= 0
        });
        if picked.is_empty() {
            return Ok(Vec::new());
        }
        let ids = serde_json::to_string(&picked.iter().map(|(id, _)| id).collect::<Vec<_>>())?;
        let rows = sqlx::query_as(self.sql(CLAIM)).bind(worker).bind(ids).fetch_all(&mut *held).await?;
        for (tenant, n) in counts(picked) {
            sqlx::query(self.fair(SERVE)).bind(tenant).bind(n).execute(&mut *held).await?;
        }
        held.commit().await?;
        Ok(rows)
    }

    async fn claim_sqlite(&self, worker: &str, limit: i64) -> Result<Vec<ClaimedRow>, StoreError> {
        let Database::Sqlite { write, read } = self.database() else { return Ok(Vec::new()) };
        // Looking first costs the writer nothing when there is nothing to do.
        let any = "SELECT job_id FROM jobs WHERE status = 0 AND wake_ms <= {now} LIMIT 1";
        if sqlx::query_scalar::<_, String>(self.sql(any)).fetch_optional(read).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut held = write.begin_with("BEGIN IMMEDIATE").await?;
        let tenants: Vec<(String, i64, i64, Option<i64>)> =
            sqlx::query_as(self.fair(TENANTS)).fetch_all(&mut *held).await?;
        let mut heads: Vec<(i64, String, String)> = Vec::new();
        for (tenant, weight, vtime, room) in tenants {
            let ids: Vec<String> = sqlx::query_scalar(self.sql(HEADS_SQLITE))
                .bind(&tenant)
                // A negative limit would be none.
                .bind(room.map_or(limit, |room| room.clamp(0, limit)))
                .bind(worker)
                .fetch_all(&mut *held)
                .await?;
            let begins = |place: i64| vtime + place * limits::VTIME_JOB / weight.max(1);
            heads.extend((1..).zip(ids).map(|(place, id)| (begins(place), tenant.clone(), id)));
        }
        heads.sort();
        heads.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let ids = serde_json::to_string(&heads.iter().map(|(.., id)| id).collect::<Vec<_>>())?;
        let rows = sqlx::query_as(self.sql(CLAIM)).bind(worker).bind(ids).fetch_all(&mut *held).await?;
        for (tenant, n) in counts(heads.into_iter().map(|(_, tenant, id)| (id, tenant)).collect()) {
            sqlx::query(self.fair(SERVE)).bind(tenant).bind(n).execute(&mut *held).await?;
        }
        held.commit().await?;
        Ok(rows)
    }

    /// Notes that a job has got further since its claim: what came to nothing before counts no more. [`Self::claim`]
    /// sees by itself what was journaled; this is for progress of other kinds.
    pub async fn progressed(&self, job: &str, epoch: i64) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("UPDATE jobs SET claims = 0 WHERE job_id = $1 AND epoch = $2 AND status = 1")
                .bind(job)
                .bind(epoch)
                .execute(db)
                .await?;
        });
        Ok(())
    }

    /// What was asked of the jobs of this worker. Cancels are listed until the job ends; that answers have come is said
    /// once.
    pub async fn wanted(&self, worker: &str) -> Result<Vec<(String, Wanted)>, StoreError> {
        let rows: Vec<WantedRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT job_id, wanted FROM jobs WHERE owner = $1 AND wanted <> 0 AND status = 1")
                .bind(worker)
                .fetch_all(db)
                .await?
        });
        if rows.iter().any(|row| row.wanted & 4 != 0) {
            // An answer that comes between the two statements sets the flag again, or is found when the job parks.
            let seen = serde_json::to_string(&rows.iter().map(|row| &row.job_id).collect::<Vec<_>>())?;
            let sql = self.sql(
                "UPDATE jobs SET wanted = wanted & 3 WHERE owner = $1 AND status = 1 AND (wanted & 4) <> 0 \
                 AND job_id IN ({list:$2})",
            );
            writing!(self.database(), |db| {
                sqlx::query(sql).bind(worker).bind(seen).execute(db).await?;
            });
        }
        Ok(rows.into_iter().map(|row| (row.job_id, Wanted::of(row.wanted))).collect())
    }
}

/// How many jobs each tenant was given, in one order for all who claim, so that nobody waits for one another in a ring.
fn counts(picked: Vec<(String, String)>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for (_, tenant) in picked {
        *counts.entry(tenant).or_insert(0) += 1;
    }
    counts
}
