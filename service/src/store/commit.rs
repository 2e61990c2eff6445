//! One commit: the statements for a batch of entries of many jobs, and what became of each of them.

use std::collections::{HashMap, HashSet};

use sqlx::{Connection as _, SqliteConnection};

use super::database::Database;
use super::entry::{Claim, Ending, Entry, Records, Releasing, Submission, Work};
use super::failpoints::reach;
use super::limits;
use super::payload::Blob;
use super::rows::{Connection, MOST, Rows};
use super::statements::{
    END_JOB, FIND_KEY, FIND_RECORDS, INSERT_BLOB, INSERT_JOB, INSERT_LABEL, INSERT_RECORDS, INSERT_TENANT,
    IS_ENDED, IS_PARKED, JOB, NOTE_KEY, PARK_JOB, RELEASE_JOB, job_row, key_rows,
};
use super::webhooks::NOTE_ENDS;
use super::{StoreError, cancels};
use crate::job::{Status, Submitted};

/// What became of an entry.
pub(super) type Outcome = Result<Reply, StoreError>;

/// What somebody is told whose entry was written.
#[derive(Debug)]
pub(super) enum Reply {
    /// What came of a submission; for all that says no more than that it is written, `New`.
    Submitted(Submitted),
    /// Jobs that had not ended when they were asked to stop, each as it is now.
    Cancelled(Vec<(String, Status)>),
}

/// Writes all entries in one transaction; an error says nothing about whether they were written.
pub(super) async fn commit(database: &Database, batch: &[Entry]) -> Result<Vec<Outcome>, sqlx::Error> {
    reach("store::commit_before")?;
    let outcomes = match attempt(database, Batch::new(database, batch, true)).await? {
        Some(outcomes) => outcomes,
        // Some of the jobs are there already: the answer to an earlier attempt was lost.
        None => {
            attempt(database, Batch::new(database, batch, false)).await?.ok_or(sqlx::Error::RowNotFound)?
        }
    };
    reach("store::commit_after")?;
    reach("store::commit_reply_lost")?;
    Ok(outcomes)
}

/// `None`, and nothing is written, if a job that was to be new was there.
async fn attempt(database: &Database, batch: Batch<'_>) -> Result<Option<Vec<Outcome>>, sqlx::Error> {
    // One statement is a transaction by itself, and needs no others around it.
    if batch.is_one_statement() {
        reach("store::commit_sync")?;
        return match database {
            Database::Sqlite { write, .. } => batch.write(&mut *write.acquire().await?).await,
            Database::Postgres { write, .. } => batch.write(&mut *write.acquire().await?).await,
        };
    }
    let outcomes;
    match database {
        Database::Sqlite { write, .. } => {
            let mut connection = write.acquire().await?;
            let result = in_transaction(&mut connection, batch).await;
            // A disk that is full or fails can end a transaction without the connection knowing, which would refuse to
            // begin another ever after. A database in memory is gone with its connection, and has no disk.
            if result.is_err() && write.connect_options().get_filename().exists() {
                drop(connection.close().await);
            }
            return result;
        }
        Database::Postgres { write, .. } => {
            let mut held = write.begin().await?;
            outcomes = batch.write(&mut *held).await?;
            if outcomes.is_some() {
                reach("store::commit_sync")?;
                held.commit().await?;
            }
        }
    }
    Ok(outcomes)
}

async fn in_transaction(
    connection: &mut SqliteConnection,
    batch: Batch<'_>,
) -> Result<Option<Vec<Outcome>>, sqlx::Error> {
    let mut held = connection.begin_with("BEGIN IMMEDIATE").await?;
    let outcomes = batch.write(&mut *held).await?;
    if outcomes.is_some() {
        reach("store::commit_sync")?;
        held.commit().await?;
    }
    Ok(outcomes)
}

/// Writes entries as a part of somebody's transaction; what becomes of each does not matter to them.
pub(super) async fn write_entries(
    database: &Database,
    entries: &[Entry],
    connection: &mut impl Connection,
) -> Result<(), sqlx::Error> {
    Batch::new(database, entries, false).write(connection).await?.map(drop).ok_or(sqlx::Error::RowNotFound)
}

/// Key of an idempotent request: whose, where, which.
type Key<'a> = (&'a str, &'a str, &'a str);

struct Batch<'a> {
    database: &'a Database,
    entries: &'a [Entry],
    /// By entry; what is not here has been written.
    outcomes: HashMap<usize, Outcome>,
    /// Whether jobs that are submitted here are taken for new. If one of them is not, all is tried again without.
    are_new: bool,
    /// Ends of jobs that are submitted here, too.
    ends: HashMap<&'a str, &'a Ending>,
}

/// Records of one claim that go into one row, and the entries that they come from.
struct Row<'a> {
    claim: &'a Claim,
    first: i64,
    n: i64,
    at_ms: i64,
    body: String,
    entries: Vec<usize>,
}

impl<'a> Batch<'a> {
    fn new(database: &'a Database, entries: &'a [Entry], are_new: bool) -> Self {
        let mut this = Self { database, entries, outcomes: HashMap::new(), are_new, ends: HashMap::new() };
        if are_new {
            let claimed = this.submissions().filter(|(_, submission)| submission.job.claimed_by.is_some());
            let claimed: HashSet<&str> = claimed.map(|(_, submission)| submission.job.id.as_str()).collect();
            for entry in entries {
                if let Work::End(ending) = &entry.work
                    && ending.claim.epoch == 1
                    && claimed.contains(ending.claim.job.as_str())
                {
                    this.ends.entry(&ending.claim.job).or_insert(ending);
                }
            }
        }
        this
    }

    fn is_one_statement(&self) -> bool {
        let is_plain = |work: &Work| match work {
            Work::Records(records) => records.blobs.is_empty(),
            Work::Flush => true,
            _ => false,
        };
        self.entries.len() <= MOST && self.entries.iter().all(|entry| is_plain(&entry.work))
    }

    async fn write(mut self, connection: &mut impl Connection) -> Result<Option<Vec<Outcome>>, sqlx::Error> {
        if !self.submit(connection).await? {
            return Ok(None);
        }
        self.blobs(connection).await?;
        self.records(connection).await?;
        self.end(connection).await?;
        self.park(connection).await?;
        self.release(connection).await?;
        let cancelled = cancels::write(self.database, self.entries, &mut self.outcomes, connection).await?;
        self.deliveries(&cancelled, connection).await?;
        let outcome = |index| self.outcomes.remove(&index).unwrap_or(Ok(Reply::Submitted(Submitted::New)));
        Ok(Some((0..self.entries.len()).map(outcome).collect()))
    }

    fn submissions(&self) -> impl Iterator<Item = (usize, &'a Submission)> + use<'a> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.work {
            Work::Submit(submission) => Some((index, &**submission)),
            _ => None,
        })
    }

    /// Submissions that are not repetitions of others.
    fn accepted(&self) -> Vec<&'a Submission> {
        let is_new = |(index, _): &(usize, _)| !self.outcomes.contains_key(index);
        self.submissions().filter(is_new).map(|(_, submission)| submission).collect()
    }

    /// `false` if jobs that were taken for new are there.
    async fn submit(&mut self, connection: &mut impl Connection) -> Result<bool, sqlx::Error> {
        if self.submissions().next().is_none() {
            return Ok(true);
        }
        reach("store::submit")?;
        self.find_twins(connection).await?;
        let accepted: HashSet<&str> = self.accepted().iter().map(|new| new.job.id.as_str()).collect();
        self.ends.retain(|job, _| accepted.contains(job));
        let mut jobs = Rows::new(JOB);
        let mut labels = Rows::new(&["tenant", "name", "value", "job_id"]);
        let mut tenants = Rows::new(&["tenant"]);
        let mut seen = HashSet::new();
        for submission in self.accepted() {
            let job = &submission.job;
            jobs.push(job_row(submission, self.ends.get(job.id.as_str()).copied()));
            for (name, value) in &job.labels {
                labels.push([(&job.tenant).into(), name.into(), value.into(), (&job.id).into()]);
            }
            if seen.insert(&job.tenant) {
                tenants.push([(&job.tenant).into()]);
            }
        }
        connection.run(INSERT_TENANT, &tenants).await?;
        // A row that is there already is ours: the answer to an earlier attempt was lost.
        let n_new = connection.run(&self.database.statement(INSERT_JOB), &jobs).await?;
        connection.run(INSERT_LABEL, &labels).await?;
        Ok(!self.are_new || n_new == jobs.len() as u64)
    }

    /// Notes the keys of idempotent requests; those that repeat a request of this batch or of an earlier one get the
    /// job of that.
    async fn find_twins(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let mut firsts: HashMap<Key<'a>, &'a Submission> = HashMap::new();
        for (_, submission) in self.submissions() {
            if let Some(key) = key(submission) {
                firsts.entry(key).or_insert(submission);
            }
        }
        if firsts.is_empty() {
            return Ok(());
        }
        let keys = key_rows(firsts.values().copied());
        let age = limits::IDEMPOTENCY.as_millis().to_string();
        let n_noted = connection.run(&NOTE_KEY.replace("{idempotency}", &age), &keys).await?;
        // Which job each key stands for, and the hash of the request that was first.
        let mut found: HashMap<&str, (String, String)> = HashMap::new();
        if n_noted < firsts.len() as u64 {
            for (asked, _, before) in connection.find(FIND_KEY, &keys).await? {
                let first = firsts.values().find(|first| first.job.id == asked);
                if let (Some(first), Some((object, hash))) = (first, before.split_once(' ')) {
                    found.insert(&first.job.id, (object.to_owned(), hash.to_owned()));
                }
            }
        }
        for (index, submission) in self.submissions() {
            let Some(first) = key(submission).and_then(|key| firsts.get(&key)) else { continue };
            let own = (first.job.id.clone(), body_hash(first).to_owned());
            let (object, hash) = found.get(first.job.id.as_str()).unwrap_or(&own);
            if *object != submission.job.id {
                let is_same = body_hash(submission) == hash;
                let outcome = if is_same { Submitted::Before(object.clone()) } else { Submitted::OtherBody };
                self.outcomes.insert(index, Ok(Reply::Submitted(outcome)));
            }
        }
        Ok(())
    }

    async fn blobs(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let mut rows = Rows::new(&["job_id", "hash", "size", "codec", "body"]);
        let mut push = |job: &str, blobs: &[Blob]| {
            for blob in blobs {
                let hash = blob.hash.as_str();
                rows.push([
                    job.into(),
                    hash.into(),
                    blob.size.into(),
                    blob.codec.into(),
                    blob.body.clone().into(),
                ]);
            }
        };
        for submission in self.accepted() {
            push(&submission.job.id, &submission.request.blobs);
            if let Some(kept) = &submission.kept {
                push(&submission.job.id, &kept.blobs);
            }
        }
        for entry in self.entries {
            match &entry.work {
                Work::Records(records) => push(&records.claim.job, &records.blobs),
                Work::End(ending) => push(&ending.claim.job, &ending.result.blobs),
                _ => {}
            }
        }
        connection.run(INSERT_BLOB, &rows).await?;
        Ok(())
    }

    async fn records(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let rows = self.rows();
        if rows.is_empty() {
            return Ok(());
        }
        reach("store::journal")?;
        let new: HashSet<&str> = if self.are_new {
            self.accepted().into_iter().map(|submission| submission.job.id.as_str()).collect()
        } else {
            HashSet::new()
        };
        let mut table = Rows::new(&["job_id", "seq", "n", "epoch", "at_ms", "is_new", "body"]);
        for row in &rows {
            let is_new = row.claim.epoch == 1 && new.contains(row.claim.job.as_str());
            table.push([
                (&row.claim.job).into(),
                row.first.into(),
                row.n.into(),
                row.claim.epoch.into(),
                row.at_ms.into(),
                i64::from(is_new).into(),
                row.body.as_str().into(),
            ]);
        }
        if connection.run(INSERT_RECORDS, &table).await? == table.len() as u64 {
            return Ok(());
        }
        // Either another has the job, or an earlier attempt wrote this and its answer was lost.
        let mut asked = Rows::new(&["job_id", "seq", "n", "epoch"]);
        for row in &rows {
            asked.push([(&row.claim.job).into(), row.first.into(), row.n.into(), row.claim.epoch.into()]);
        }
        let found = connection.find(FIND_RECORDS, &asked).await?;
        let ours: HashSet<(String, i64)> = found.into_iter().map(|(job, seq, _)| (job, seq)).collect();
        for row in rows {
            if !ours.contains(&(row.claim.job.clone(), row.first)) {
                for index in &row.entries {
                    self.outcomes.insert(*index, Err(StoreError::Fenced(row.claim.job.clone())));
                }
            }
        }
        Ok(())
    }

    /// The rows that all records of the batch go into.
    fn rows(&self) -> Vec<Row<'a>> {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut last: HashMap<&'a Claim, usize> = HashMap::new();
        let kept =
            self.accepted().into_iter().filter_map(|submission| Some((None, submission.kept.as_ref()?)));
        let given = self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.work {
            Work::Records(records) => Some((Some(index), records)),
            _ => None,
        });
        for (index, records) in kept.chain(given) {
            let Records { claim, first, n, at_ms, items, .. } = records;
            let row = last.get(claim).and_then(|row| rows.get_mut(*row));
            if let Some(row) = row.filter(|row| row.first + row.n == *first) {
                row.n += n;
                row.body.push(',');
                row.body.push_str(items);
                row.entries.extend(index);
            } else {
                last.insert(claim, rows.len());
                let body = format!("[{items}");
                rows.push(Row {
                    claim,
                    first: *first,
                    n: *n,
                    at_ms: *at_ms,
                    body,
                    entries: index.into_iter().collect(),
                });
            }
        }
        for row in &mut rows {
            row.body.push(']');
        }
        rows
    }

    /// Whether a job was written with its end.
    fn is_written(&self, ending: &Ending) -> bool {
        ending.claim.epoch == 1 && self.ends.contains_key(ending.claim.job.as_str())
    }

    async fn end(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let mut is_any = false;
        let mut rows = Rows::new(&["job_id", "epoch", "status", "result", "error", "usage", "progress"]);
        let mut claims = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let Work::End(ending) = &entry.work else { continue };
            is_any = true;
            if self.is_written(ending) {
                continue;
            }
            claims.push((index, &ending.claim));
            rows.push([
                (&ending.claim.job).into(),
                ending.claim.epoch.into(),
                i64::from(ending.status.number()).into(),
                (&ending.result.text).into(),
                (&ending.error).into(),
                (&ending.usage).into(),
                (&ending.progress).into(),
            ]);
        }
        if is_any {
            reach("store::end")?;
        }
        if claims.is_empty() {
            return Ok(());
        }
        let ended = connection.run(&self.database.statement(END_JOB), &rows).await?;
        self.check(connection, &claims, ended, IS_ENDED).await
    }

    async fn park(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let mut rows = Rows::new(&["job_id", "epoch", "waits", "wake_ms", "usage", "progress"]);
        let mut claims = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let Work::Park(parking) = &entry.work else { continue };
            claims.push((index, &parking.claim));
            rows.push([
                (&parking.claim.job).into(),
                parking.claim.epoch.into(),
                (&parking.waits).into(),
                parking.wake_ms.into(),
                (&parking.usage).into(),
                (&parking.progress).into(),
            ]);
        }
        if claims.is_empty() {
            return Ok(());
        }
        reach("store::park")?;
        let parked = connection.run(&self.database.statement(PARK_JOB), &rows).await?;
        self.check(connection, &claims, parked, IS_PARKED).await
    }

    /// Whoever is to be told of an end is told in the commit that writes it.
    async fn deliveries(
        &mut self,
        cancelled: &[String],
        connection: &mut impl Connection,
    ) -> Result<(), sqlx::Error> {
        let jobs = self.entries.iter().filter_map(|entry| match &entry.work {
            Work::End(ending) => Some(ending.claim.job.as_str()),
            Work::Park(parking) => Some(parking.claim.job.as_str()),
            _ => None,
        });
        let mut rows = Rows::new(&["job_id"]);
        jobs.chain(cancelled.iter().map(String::as_str)).for_each(|job| rows.push([job.into()]));
        let note = NOTE_ENDS.replace("{jobs}", "SELECT job_id FROM r");
        connection.run(&self.database.statement(&note), &rows).await?;
        Ok(())
    }

    async fn release(&mut self, connection: &mut impl Connection) -> Result<(), sqlx::Error> {
        let mut rows = Rows::new(&["job_id", "epoch", "counts"]);
        for entry in self.entries {
            if let Work::Release(Releasing { claim, counts }) = &entry.work {
                rows.push([(&claim.job).into(), claim.epoch.into(), i64::from(*counts).into()]);
            }
        }
        // What is not there any more has been let go of already.
        connection.run(&self.database.statement(RELEASE_JOB), &rows).await?;
        Ok(())
    }

    /// Jobs that were not changed are another's by now, unless an earlier attempt changed them and its answer was lost.
    async fn check(
        &mut self,
        connection: &mut impl Connection,
        claims: &[(usize, &Claim)],
        n_changed: u64,
        is_done: &str,
    ) -> Result<(), sqlx::Error> {
        if n_changed == claims.len() as u64 {
            return Ok(());
        }
        let mut asked = Rows::new(&["job_id", "epoch"]);
        for (_, claim) in claims {
            asked.push([(&claim.job).into(), claim.epoch.into()]);
        }
        let found = connection.find(is_done, &asked).await?;
        let done: HashSet<(String, i64)> = found.into_iter().map(|(job, epoch, _)| (job, epoch)).collect();
        for (index, claim) in claims {
            if !done.contains(&(claim.job.clone(), claim.epoch)) {
                self.outcomes.insert(*index, Err(StoreError::Fenced(claim.job.clone())));
            }
        }
        Ok(())
    }
}

fn key(submission: &Submission) -> Option<Key<'_>> {
    let idempotency = submission.job.idempotency.as_ref()?;
    Some((&submission.job.tenant, &idempotency.endpoint, &idempotency.key))
}

fn body_hash(submission: &Submission) -> &str {
    submission.job.idempotency.as_ref().map_or("", |idempotency| &idempotency.body_hash)
}
