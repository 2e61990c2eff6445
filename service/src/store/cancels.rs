//! Asking jobs to stop. It goes through the writer as everything does that changes a job: however many ask at once, they
//! share a few commits, and none of them waits for a connection.

use std::collections::{BTreeMap, HashMap};

use super::commit::{Outcome, Reply};
use super::database::Database;
use super::entry::{Cancelling, Entry, Work};
use super::rows::{Connection, Rows};
use super::writing::closed;
use super::{CancelAsked, Store, StoreError, limits};
use crate::job::Status;

/// A job that runs is told; one that nobody works on is cancelled here.
const CANCEL_JOB: &str = "UPDATE jobs SET \
     wanted = CASE WHEN jobs.status = 1 THEN jobs.wanted | CAST(r.bits AS SMALLINT) ELSE 0 END, \
     finished_ms = CASE WHEN jobs.status = 1 THEN jobs.finished_ms ELSE {now} END, \
     epoch = CASE WHEN jobs.status = 1 THEN jobs.epoch ELSE jobs.epoch + 1 END, \
     waits = CASE WHEN jobs.status = 1 THEN jobs.waits END, \
     error = CASE WHEN jobs.status = 1 THEN jobs.error ELSE r.error END, \
     result = CASE WHEN jobs.status = 1 THEN jobs.result ELSE r.result END, \
     status = CASE WHEN jobs.status = 1 THEN 1 ELSE 5 END \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.tenant = r.tenant AND jobs.status < 3 \
     RETURNING jobs.job_id, CAST(jobs.status AS BIGINT), jobs.tenant";

const DROP_TASKS: &str = "DELETE FROM tasks WHERE job_id IN (SELECT job_id FROM r)";

const ERROR: &str = r#"{"type":"cancelled","code":"cancelled","message":"cancelled before it was taken up","retryable":true}"#;
const RESULT: &str = r#"{"outputs":{},"absent":{}}"#;

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
            let work = Cancelling { tenant: tenant.to_owned(), ids: some.to_vec(), is_now: now };
            let bytes = some.iter().map(String::len).sum();
            match self.hand_in(Work::Cancel(work), bytes).await.unwrap_or_else(|_| Err(closed()))? {
                Reply::Cancelled(found) => all.extend(found),
                Reply::Submitted(_) => {}
            }
        }
        Ok(all)
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
    let mut bits: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (_, Cancelling { tenant, ids, is_now }) in &asked {
        for id in ids {
            *bits.entry((id, tenant)).or_default() |= if *is_now { 1 } else { 2 };
        }
    }
    if bits.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::new(&["job_id", "tenant", "bits", "error", "result"]);
    for ((id, tenant), bits) in bits {
        rows.push([id.into(), tenant.into(), bits.into(), ERROR.into(), RESULT.into()]);
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
