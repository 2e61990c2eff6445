//! Stopping jobs: on request, and when their deadline passes while nobody works on them. It goes through the writer as
//! everything does that changes a job: however many ask at once, they share a few commits, and none of them waits for a
//! connection.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::commit::{Outcome, Reply};
use super::database::{Database, reading, row};
use super::entry::{Cancelling, Entry, Why, Work};
use super::rows::{Connection, Rows};
use super::writing::closed;
use super::{CancelAsked, Store, StoreError, limits};
use crate::job::Status;

/// A job that runs is told; one that nobody works on is over here. What it has done before, if anything, stays.
const CANCEL_JOB: &str = "UPDATE jobs SET \
     wanted = CASE WHEN jobs.status = 1 THEN jobs.wanted | CAST(r.bits AS SMALLINT) ELSE 0 END, \
     finished_ms = CASE WHEN jobs.status = 1 THEN jobs.finished_ms ELSE {now} END, \
     epoch = CASE WHEN jobs.status = 1 THEN jobs.epoch ELSE jobs.epoch + 1 END, \
     waits = CASE WHEN jobs.status = 1 THEN jobs.waits END, \
     error = CASE WHEN jobs.status = 1 THEN jobs.error WHEN jobs.started_ms IS NULL THEN r.fresh ELSE r.begun END, \
     result = CASE WHEN jobs.status = 1 THEN jobs.result ELSE r.result END, \
     status = CASE WHEN jobs.status = 1 THEN 1 ELSE CAST(r.status AS SMALLINT) END \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.tenant = r.tenant AND jobs.status < 3 \
     RETURNING jobs.job_id, CAST(jobs.status AS BIGINT), jobs.tenant";

const DROP_TASKS: &str = "DELETE FROM tasks WHERE job_id IN (SELECT job_id FROM r)";

const RESULT: &str = r#"{"outputs":{},"absent":{}}"#;

row! {
    struct LateRow { job_id: String, tenant: String, flow: String }
}

/// A job that was ended because its deadline had passed before anybody worked on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Whose it was.
    pub tenant: String,
    /// Name of its flow.
    pub flow: String,
}

impl Store {
    /// Asks for a job to be stopped: at once (`now`), or after what is in flight. One that nobody works on is cancelled
    /// here.
    pub async fn cancel(&self, tenant: &str, id: &str, now: bool) -> Result<CancelAsked, StoreError> {
        match self.cancel_all(tenant, &[id.to_owned()], now).await?.first() {
            Some((_, Status::Running)) => Ok(CancelAsked::Asked),
            Some(_) => Ok(CancelAsked::Done),
            None => Ok(match self.status(tenant, id).await? {
                Some(status) => CancelAsked::Ended(status),
                None => CancelAsked::NoJob,
            }),
        }
    }

    /// As [`Self::cancel`] for several jobs at once; those that had not ended, each as it is now: `Running` if its worker
    /// is told.
    pub async fn cancel_all(
        &self,
        tenant: &str,
        ids: &[String],
        now: bool,
    ) -> Result<Vec<(String, Status)>, StoreError> {
        let mut all = Vec::new();
        for some in ids.chunks(limits::CANCEL_STEP) {
            all.extend(self.stop(tenant, some, if now { Why::Now } else { Why::Gracefully }).await?);
        }
        Ok(all)
    }

    async fn stop(
        &self,
        tenant: &str,
        ids: &[String],
        why: Why,
    ) -> Result<Vec<(String, Status)>, StoreError> {
        let bytes = ids.iter().map(String::len).sum();
        let work = Cancelling { tenant: tenant.to_owned(), ids: ids.to_vec(), why };
        match self.hand_in(Work::Cancel(work), bytes).await.unwrap_or_else(|_| Err(closed()))? {
            Reply::Cancelled(found) => Ok(found),
            Reply::Submitted(_) => Ok(Vec::new()),
        }
    }

    /// Ends jobs that nobody works on and whose deadline has passed, at most [`limits::CANCEL_STEP`] of them.
    pub async fn expire(&self) -> Result<Vec<Expired>, StoreError> {
        let sql = self.sql(
            "SELECT job_id, tenant, flow FROM jobs \
             WHERE finished_ms IS NULL AND deadline_ms <= {now} AND status <> 1 ORDER BY deadline_ms LIMIT $1",
        );
        let rows: Vec<LateRow> = reading!(self.database(), |db| {
            let limit = i64::try_from(limits::CANCEL_STEP).unwrap_or(i64::MAX);
            sqlx::query_as(sql).bind(limit).fetch_all(db).await?
        });
        let mut by_tenant: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for LateRow { job_id, tenant, flow } in rows {
            by_tenant.entry(tenant).or_default().insert(job_id, flow);
        }
        let mut expired = Vec::new();
        for (tenant, mut flows) in by_tenant {
            let ids: Vec<String> = flows.keys().cloned().collect();
            let over = self.stop(&tenant, &ids, Why::Late).await?;
            let over = over.into_iter().filter(|(_, status)| *status == Status::TimedOut);
            let flows = over.filter_map(|(id, _)| flows.remove(&id));
            expired.extend(flows.map(|flow| Expired { tenant: tenant.clone(), flow }));
        }
        Ok(expired)
    }
}

/// What is asked of a job in one batch, by everybody.
#[derive(Default)]
struct Asked {
    /// What its worker is told.
    bits: i64,
    is_late: bool,
}

impl Asked {
    fn add(&mut self, why: Why) {
        match why {
            Why::Now => self.bits |= 1,
            Why::Gracefully => self.bits |= 2,
            Why::Late => self.is_late = true,
        }
    }

    /// What it comes to if nobody works on it: its status, and the error of one that never began and of one that did.
    fn end(&self) -> (Status, String, String) {
        let (status, fresh, begun) = if self.bits == 0 && self.is_late {
            (Status::TimedOut, "its deadline passed before it began", "its deadline passed")
        } else {
            (Status::Cancelled, "it was cancelled before it began", "it was cancelled on request")
        };
        let error = |message: &str| {
            let word = status.as_str();
            json!({ "type": word, "code": word, "message": message, "retryable": status == Status::TimedOut })
                .to_string()
        };
        (status, error(fresh), error(begun))
    }
}

/// Writes the cancels of a batch; what each entry asked for is in `outcomes` then, and the jobs that are over now come back.
pub(super) async fn write(
    database: &Database,
    entries: &[Entry],
    outcomes: &mut HashMap<usize, Outcome>,
    connection: &mut impl Connection,
) -> Result<Vec<String>, sqlx::Error> {
    let asked = entries.iter().enumerate().filter_map(|(index, entry)| match &entry.work {
        Work::Cancel(cancelling) => Some((index, cancelling)),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    // Two may ask for the same job: a row is changed by one row only.
    let mut jobs: BTreeMap<(&str, &str), Asked> = BTreeMap::new();
    for (_, Cancelling { tenant, ids, why }) in &asked {
        for id in ids {
            jobs.entry((id, tenant)).or_default().add(*why);
        }
    }
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::new(&["job_id", "tenant", "bits", "status", "fresh", "begun", "result"]);
    for ((id, tenant), asked) in jobs {
        let (status, fresh, begun) = asked.end();
        let status = i64::from(status.number());
        rows.push([
            id.into(),
            tenant.into(),
            asked.bits.into(),
            status.into(),
            fresh.into(),
            begun.into(),
            RESULT.into(),
        ]);
    }
    let found = connection.find(&database.statement(CANCEL_JOB), &rows).await?;
    let status = |number: i64| i16::try_from(number).ok().and_then(Status::from_number);
    let found: HashMap<(String, String), Status> =
        found.into_iter().filter_map(|(id, number, tenant)| Some(((id, tenant), status(number)?))).collect();
    for (index, Cancelling { tenant, ids, .. }) in asked {
        let status = |id: &String| Some((id.clone(), *found.get(&(id.clone(), tenant.clone()))?));
        outcomes.insert(index, Ok(Reply::Cancelled(ids.iter().filter_map(status).collect())));
    }
    let is_over = |(_, status): &(_, Status)| status.is_final();
    let over: Vec<String> = found.into_iter().filter(is_over).map(|((id, _), _)| id).collect();
    let mut tasks = Rows::new(&["job_id"]);
    for id in &over {
        tasks.push([id.into()]);
    }
    connection.run(DROP_TASKS, &tasks).await?;
    Ok(over)
}
