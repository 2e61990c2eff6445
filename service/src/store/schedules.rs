//! Schedules: what is submitted when.

use super::database::{reading, row, writing};
use super::{Store, StoreError};

/// Most schedules of a tenant.
pub(super) const SCHEDULES_MAX: i64 = 1_000;

/// A job that is submitted by the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// `sch_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What people call it; no two of a tenant are called the same.
    pub name: String,
    /// The cron pattern.
    pub cron: String,
    /// IANA name of the zone whose clock counts.
    pub zone: String,
    /// What is submitted: the body of `POST /v1/jobs`.
    pub request: serde_json::Value,
    /// Whether one firing that was missed is made up for.
    pub catch_up: bool,
    /// The next firing (unix ms); none while it is paused.
    pub next_ms: Option<i64>,
    /// The last firing (unix ms).
    pub last_ms: Option<i64>,
    /// The job of the last firing.
    pub last_job: Option<String>,
    /// Why the last firing submitted no job.
    pub last_error: Option<String>,
    /// Unix ms.
    pub created_ms: i64,
    /// The key that it submits with.
    pub created_by: Option<String>,
}

/// What came of making or changing a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulePut {
    /// It is there.
    Done,
    /// There is another one of this name.
    NameTaken,
    /// The tenant has as many as it may.
    TooMany,
    /// There is none such.
    Nothing,
}

/// What is to be different about a schedule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduleChange {
    /// What people call it.
    pub name: Option<String>,
    /// The cron pattern.
    pub cron: Option<String>,
    /// The zone.
    pub zone: Option<String>,
    /// What is submitted.
    pub request: Option<serde_json::Value>,
    /// Whether one firing that was missed is made up for.
    pub catch_up: Option<bool>,
    /// The next firing: `Some(None)` pauses.
    pub next_ms: Option<Option<i64>>,
    /// The key that it submits with from now on.
    pub key: Option<String>,
}

/// What came of a firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// This job.
    Job(String),
    /// No job.
    Nothing(String),
}

row! {
    struct ScheduleRow {
        schedule_id: String,
        tenant: String,
        name: String,
        cron: String,
        zone: String,
        request: String,
        catch_up: i16,
        next_ms: Option<i64>,
        last_ms: Option<i64>,
        last_job: Option<String>,
        last_error: Option<String>,
        created_ms: i64,
        created_by: Option<String>,
    }
}

const COLUMNS: &str = "schedule_id, tenant, name, cron, zone, request, catch_up, next_ms, last_ms, last_job, \
                       last_error, created_ms, created_by";

impl TryFrom<ScheduleRow> for Schedule {
    type Error = StoreError;

    fn try_from(row: ScheduleRow) -> Result<Self, StoreError> {
        Ok(Self {
            request: serde_json::from_str(&row.request)?,
            id: row.schedule_id,
            tenant: row.tenant,
            name: row.name,
            cron: row.cron,
            zone: row.zone,
            catch_up: row.catch_up != 0,
            next_ms: row.next_ms,
            last_ms: row.last_ms,
            last_job: row.last_job,
            last_error: row.last_error,
            created_ms: row.created_ms,
            created_by: row.created_by,
        })
    }
}

impl Store {
    /// Keeps a schedule.
    pub async fn put_schedule(&self, schedule: &Schedule) -> Result<SchedulePut, StoreError> {
        let request = schedule.request.to_string();
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO schedules (schedule_id, tenant, name, cron, zone, request, catch_up, next_ms, created_ms, \
                 created_by) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
                 WHERE (SELECT COUNT(*) FROM schedules WHERE tenant = $2) < $11 ON CONFLICT DO NOTHING",
            )
            .bind(&schedule.id)
            .bind(&schedule.tenant)
            .bind(&schedule.name)
            .bind(&schedule.cron)
            .bind(&schedule.zone)
            .bind(request)
            .bind(i16::from(schedule.catch_up))
            .bind(schedule.next_ms)
            .bind(schedule.created_ms)
            .bind(&schedule.created_by)
            .bind(SCHEDULES_MAX)
            .execute(db)
            .await?
            .rows_affected()
        });
        Ok(match n {
            0 if self.has_schedule(&schedule.tenant, &schedule.name).await? => SchedulePut::NameTaken,
            0 => SchedulePut::TooMany,
            _ => SchedulePut::Done,
        })
    }

    async fn has_schedule(&self, tenant: &str, name: &str) -> Result<bool, StoreError> {
        let n: i64 = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT COUNT(*) FROM schedules WHERE tenant = $1 AND name = $2")
                .bind(tenant)
                .bind(name)
                .fetch_one(db)
                .await?
        });
        Ok(n > 0)
    }

    /// A schedule.
    pub async fn schedule(&self, tenant: &str, id: &str) -> Result<Option<Schedule>, StoreError> {
        let sql =
            self.sql(&format!("SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND schedule_id = $2"));
        let row: Option<ScheduleRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(id).fetch_optional(db).await?
        });
        row.map(TryInto::try_into).transpose()
    }

    /// The schedules of a tenant by name, after the name `after`.
    pub async fn schedules(
        &self,
        tenant: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Schedule>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3"
        ));
        let rows: Vec<ScheduleRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(tenant).bind(after).bind(i64::from(limit)).fetch_all(db).await?
        });
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The schedules whose time has come, of all tenants, the longest due first.
    pub async fn due_schedules(&self, now_ms: i64, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM schedules WHERE next_ms IS NOT NULL AND next_ms <= $1 ORDER BY next_ms LIMIT $2"
        ));
        let rows: Vec<ScheduleRow> = reading!(self.database(), |db| {
            sqlx::query_as(sql).bind(now_ms).bind(i64::from(limit)).fetch_all(db).await?
        });
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Changes a schedule.
    pub async fn change_schedule(
        &self,
        tenant: &str,
        id: &str,
        change: &ScheduleChange,
    ) -> Result<SchedulePut, StoreError> {
        if let Some(name) = &change.name
            && let Some(known) = self.schedule(tenant, id).await?
            && known.name != *name
            && self.has_schedule(tenant, name).await?
        {
            return Ok(SchedulePut::NameTaken);
        }
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE schedules SET name = COALESCE($3, name), cron = COALESCE($4, cron), \
                 zone = COALESCE($5, zone), request = COALESCE($6, request), catch_up = COALESCE($7, catch_up), \
                 next_ms = CASE $8 WHEN 1 THEN $9 ELSE next_ms END, created_by = COALESCE($10, created_by) WHERE tenant = $1 AND schedule_id = $2",
            )
            .bind(tenant)
            .bind(id)
            .bind(&change.name)
            .bind(&change.cron)
            .bind(&change.zone)
            .bind(change.request.as_ref().map(ToString::to_string))
            .bind(change.catch_up.map(i16::from))
            .bind(i32::from(change.next_ms.is_some()))
            .bind(change.next_ms.flatten())
            .bind(&change.key)
            .execute(db)
            .await?
            .rows_affected()
        });
        Ok(if n > 0 { SchedulePut::Done } else { SchedulePut::Nothing })
    }

    /// Moves a schedule on after its firing at `fired_ms`; `false` if somebody else did that before, or it was changed.
    pub async fn schedule_fired(
        &self,
        id: &str,
        fired_ms: i64,
        next_ms: Option<i64>,
        fired: &Fired,
    ) -> Result<bool, StoreError> {
        let (job, why) = match fired {
            Fired::Job(job) => (Some(job.as_str()), None),
            Fired::Nothing(why) => (None, Some(why.as_str())),
        };
        let n = writing!(self.database(), |db| {
            sqlx::query(
                "UPDATE schedules SET next_ms = $3, last_ms = $2, last_job = COALESCE($4, last_job), last_error = $5 \
                 WHERE schedule_id = $1 AND next_ms = $2",
            )
            .bind(id)
            .bind(fired_ms)
            .bind(next_ms)
            .bind(job)
            .bind(why)
            .execute(db)
            .await?
            .rows_affected()
        });
        Ok(n > 0)
    }

    /// Forgets a schedule; `false` if there is none such.
    pub async fn delete_schedule(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let n = writing!(self.database(), |db| {
            sqlx::query("DELETE FROM schedules WHERE tenant = $1 AND schedule_id = $2")
                .bind(tenant)
                .bind(id)
                .execute(db)
                .await?
                .rows_affected()
        });
        Ok(n > 0)
    }
}
