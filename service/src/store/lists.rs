//! Lists of jobs, a page at a time, newest first.
//!
//! Ids are made in the order of time, so that every list is a walk along an index that ends with the id. A list of
//! several statuses is a walk for each of them, put together: whatever is asked for, few rows are looked at.

use std::fmt::Write as _;

use super::database::reading;
use super::reading::JobRow;
use super::{Filter, Page, Store, StoreError, limits};
use crate::job::{Job, Status};

/// How far the clock that made an id may be from the one that wrote the time beside it.
const CLOCKS_APART_MS: i64 = 60_000;

/// What a list shows of a job: all but what it was given, unless that is short, and what it made.
const COLUMNS: &str = "jobs.job_id, jobs.tenant, flow, version, hash, status, priority, wake_ms, owner, epoch, deadline_ms, \
     created_ms, started_ms, finished_ms, session_id, trace, batch_id, retry_of, created_by, webhook, labels, usage, \
     progress, error, waits, CASE WHEN length(request) <= 2048 THEN request END AS request, NULL AS result";

#[derive(Debug)]
enum Bind {
    Text(String),
    Int(i64),
}

/// A query of either database with all that is bound to it.
macro_rules! bound {
    ($query:expr, $binds:expr) => {
        $binds.into_iter().fold($query, |query, bind| match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Int(number) => query.bind(number),
        })
    };
}

/// The conditions of a list, and what is bound to them.
#[derive(Default)]
struct Conditions {
    text: String,
    binds: Vec<Bind>,
}

impl Conditions {
    /// The place of a value.
    fn bind(&mut self, value: Bind) -> String {
        self.binds.push(value);
        format!("${}", self.binds.len())
    }

    fn text(&mut self, text: &str) -> String {
        self.bind(Bind::Text(text.to_owned()))
    }

    fn add(&mut self, condition: &str) {
        let _unfailing = write!(self.text, " AND {condition}");
    }
}

/// The first id that can have been made at this time.
fn id_at(ms: i64) -> String {
    let hex = format!("{:012x}", ms.max(0));
    format!("job_{hex}")
}

impl Store {
    /// Jobs, newest first, without what they made, and without what they were given unless that is short.
    pub async fn jobs(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        let limit = limit.clamp(1, limits::PAGE);
        // A search reads every job that it passes, so it passes so many a page; the next page goes on there.
        let floor = if filter.is_search() { self.floor(tenant, filter, cursor).await? } else { None };
        let (text, binds) = list(tenant, filter, (cursor, floor.as_deref()), COLUMNS, i64::from(limit) + 1);
        let sql = self.sql(&text);
        let mut rows: Vec<JobRow> =
            reading!(self.database(), |db| { bound!(sqlx::query_as(sql), binds).fetch_all(db).await? });
        let is_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = if is_more { rows.last().map(|row| row.job_id().to_owned()) } else { floor };
        let mut items = Vec::new();
        for row in rows {
            items.push(self.whole(row).await?);
        }
        Ok(Page { items, next })
    }

    /// The last job that a page of a search looks at; none if it looks at all that there are.
    async fn floor(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let depth = filter.depth.unwrap_or(limits::SEARCH_JOBS);
        let all = Filter { q: None, ..filter.clone() };
        let (text, binds) = list(tenant, &all, (cursor, None), "jobs.job_id AS job_id", i64::from(depth));
        let sql = self.sql(&format!(
            "SELECT CASE WHEN COUNT(*) = {depth} THEN MIN(job_id) END AS job_id FROM ({text}) passed"
        ));
        Ok(reading!(self.database(), |db| { bound!(sqlx::query_scalar(sql), binds).fetch_one(db).await? }))
    }
}

impl Filter {
    fn is_search(&self) -> bool {
        self.q.as_ref().is_some_and(|q| !q.is_empty())
    }
}

/// The query of a list from the cursor (without it) down to the floor (with it), and what is bound to it.
fn list(
    tenant: &str,
    filter: &Filter,
    (cursor, floor): (Option<&str>, Option<&str>),
    columns: &str,
    limit: i64,
) -> (String, Vec<Bind>) {
    let mut all = Conditions::default();
    let tenant = all.text(tenant);
    all.add(&format!("jobs.tenant = {tenant}"));
    let equal = [("flow", &filter.flow), ("session_id", &filter.session_id), ("batch_id", &filter.batch_id)];
    for (column, value) in equal {
        if let Some(value) = value {
            let place = all.text(value);
            all.add(&format!("{column} = {place}"));
        }
    }
    // With labels it is their index that is walked along.
    let id = if filter.labels.is_empty() { "jobs.job_id" } else { "l.job_id" };
    if let Some(cursor) = cursor {
        let place = all.text(cursor);
        all.add(&format!("{id} < {place}"));
    }
    if let Some(floor) = floor {
        let place = all.text(floor);
        all.add(&format!("{id} >= {place}"));
    }
    if let Some(after) = filter.created_after {
        let (least, at) =
            (all.text(&id_at(after.saturating_sub(CLOCKS_APART_MS))), all.bind(Bind::Int(after)));
        all.add(&format!("{id} >= {least} AND created_ms >= {at}"));
    }
    if let Some(before) = filter.created_before {
        let (most, at) =
            (all.text(&id_at(before.saturating_add(CLOCKS_APART_MS))), all.bind(Bind::Int(before)));
        all.add(&format!("{id} < {most} AND created_ms < {at}"));
    }
    if let Some(q) = filter.q.as_ref().filter(|q| !q.is_empty()) {
        let escaped = q.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let place = all.text(&format!("%{escaped}%"));
        let like = |column: &str| format!("{column} {{ilike}} {place} ESCAPE '\\'");
        all.add(&format!("({})", ["jobs.job_id", "flow", "session_id", "error"].map(like).join(" OR ")));
    }
    for (index, (name, value)) in filter.labels.iter().enumerate() {
        let (name, value) = (all.text(name), all.text(value));
        let label = |l: &str| {
            format!(
                "{l}.tenant = {tenant} AND {l}.name = {name} AND {l}.value = {value} AND {l}.job_id = jobs.job_id"
            )
        };
        match index {
            0 => all.add(&label("l")),
            _ => all.add(&format!("EXISTS (SELECT 1 FROM job_labels m WHERE {})", label("m"))),
        }
    }
    let limit = all.bind(Bind::Int(limit));
    let walk = |statuses: &[Status]| {
        let numbers: Vec<String> = statuses.iter().map(|status| status.number().to_string()).collect();
        let status = match numbers.as_slice() {
            [] => String::new(),
            [one] => format!(" AND status = {one}"),
            several => format!(" AND status IN ({})", several.join(", ")),
        };
        let from = if filter.labels.is_empty() { "jobs" } else { "job_labels l CROSS JOIN jobs" };
        let text = &all.text;
        format!("SELECT {columns} FROM {from} WHERE TRUE{text}{status} ORDER BY {id} DESC LIMIT {limit}")
    };
    let is_narrow = !filter.labels.is_empty() || filter.session_id.is_some() || filter.batch_id.is_some();
    let statuses: &[Status] = match (filter.statuses.as_slice(), &filter.flow) {
        (statuses, _) if is_narrow => return (walk(statuses), all.binds),
        ([], None) => return (walk(&[]), all.binds),
        // The jobs of a flow stand by their status in the index.
        ([], Some(_)) => &Status::ALL,
        (statuses, _) => statuses,
    };
    let one = |status: &Status| format!("SELECT * FROM ({}) w{}", walk(&[*status]), status.number());
    let walks: Vec<String> = statuses.iter().map(one).collect();
    (format!("{} ORDER BY job_id DESC LIMIT {limit}", walks.join(" UNION ALL ")), all.binds)
}
