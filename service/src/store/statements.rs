//! The statements of a commit. Each reads its rows from `r`; those that look for something give a text, a number and a
//! text a row.

use super::entry::{Ending, Submission};
use super::rows::{Cell, Rows};
use crate::job::Status;

/// The columns of a new job; the last of them are for one that has ended already.
pub(super) const JOB: &[&str] = &[
    "job_id",
    "tenant",
    "flow",
    "version",
    "hash",
    "status",
    "priority",
    "wake_ms",
    "owner",
    "epoch",
    "deadline_ms",
    "created_ms",
    "session_id",
    "trace",
    "batch_id",
    "retry_of",
    "created_by",
    "webhook",
    "labels",
    "request",
    "result",
    "error",
    "usage",
    "progress",
];

/// What begins and ends within one commit is written once, as it has become. What is inserted with an owner began where
/// it was submitted, when it was: the commit comes after the first work. The clocks of a process and of its database may
/// differ; nothing ends before it began.
pub(super) const INSERT_JOB: &str = "INSERT INTO jobs (job_id, tenant, flow, version, hash, status, priority, \
     wake_ms, owner, epoch, claims, started_ms, finished_ms, deadline_ms, created_ms, session_id, trace, batch_id, \
     retry_of, created_by, webhook, labels, request, result, error, usage, progress) \
     SELECT job_id, tenant, flow, CAST(version AS INTEGER), hash, CAST(status AS SMALLINT), \
     CAST(priority AS SMALLINT), wake_ms, owner, epoch, CASE status WHEN 1 THEN 1 ELSE 0 END, \
     CASE WHEN epoch > 0 THEN created_ms END, \
     CASE WHEN status >= 3 THEN CASE WHEN created_ms > {now} THEN created_ms ELSE {now} END END, deadline_ms, created_ms, session_id, \
     trace, batch_id, retry_of, created_by, webhook, labels, request, result, error, usage, progress \
     FROM r WHERE TRUE ON CONFLICT DO NOTHING";

pub(super) const INSERT_LABEL: &str = "INSERT INTO job_labels (tenant, name, value, job_id) \
     SELECT tenant, name, value, job_id FROM r WHERE TRUE ON CONFLICT DO NOTHING";

pub(super) const INSERT_TENANT: &str = "INSERT INTO tenants (tenant) SELECT tenant FROM r WHERE TRUE \
     ON CONFLICT DO NOTHING";

/// Keys that were forgotten but not yet deleted are taken over.
pub(super) const NOTE_KEY: &str = "INSERT INTO idempotency (tenant, endpoint, ikey, body_hash, object_id, at_ms) \
     SELECT tenant, endpoint, ikey, body_hash, object_id, at_ms FROM r WHERE TRUE \
     ON CONFLICT (tenant, endpoint, ikey) DO UPDATE SET body_hash = excluded.body_hash, \
     object_id = excluded.object_id, at_ms = excluded.at_ms \
     WHERE idempotency.at_ms < excluded.at_ms - {idempotency}";

/// The job that asks, and the job and the hash of the request that was first.
pub(super) const FIND_KEY: &str = "SELECT r.object_id, i.at_ms, i.object_id || ' ' || i.body_hash \
     FROM r JOIN idempotency i ON i.tenant = r.tenant AND i.endpoint = r.endpoint AND i.ikey = r.ikey";

pub(super) const INSERT_BLOB: &str = "INSERT INTO blobs (job_id, hash, size, codec, body) \
     SELECT job_id, hash, size, codec, body FROM r WHERE TRUE ON CONFLICT DO NOTHING";

/// The primary key is the fence. The condition refuses, too, who has lost the job while nobody has taken it up yet; a
/// job that is new in this commit cannot be lost.
pub(super) const INSERT_RECORDS: &str = "INSERT INTO job_events (job_id, seq, n, epoch, at_ms, body) \
     SELECT job_id, seq, CAST(n AS INTEGER), epoch, at_ms, body FROM r WHERE epoch = 0 OR is_new = 1 OR EXISTS \
     (SELECT 1 FROM jobs j WHERE j.job_id = r.job_id AND j.epoch = r.epoch AND j.status = 1) \
     ON CONFLICT DO NOTHING";

pub(super) const FIND_RECORDS: &str = "SELECT e.job_id, e.seq, e.job_id FROM r JOIN job_events e \
     ON e.job_id = r.job_id AND e.seq = r.seq AND e.n = r.n AND e.epoch = r.epoch";

pub(super) const END_JOB: &str = "UPDATE jobs SET status = CAST(r.status AS SMALLINT), result = r.result, \
     error = r.error, usage = r.usage, progress = r.progress, waits = NULL, wanted = 0, claims = 0, \
     finished_ms = CASE WHEN jobs.started_ms > {now} THEN jobs.started_ms ELSE {now} END \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.epoch = r.epoch AND jobs.status = 1";

pub(super) const IS_ENDED: &str = "SELECT j.job_id, j.epoch, j.job_id FROM r JOIN jobs j \
     ON j.job_id = r.job_id AND j.epoch = r.epoch AND j.status >= 3";

/// A job of which something was asked meanwhile goes back to the queue at once. Answers are looked for as well as their
/// flag: the flag may have been taken by an owner that was just parking.
pub(super) const PARK_JOB: &str = "UPDATE jobs SET \
     status = CASE WHEN jobs.wanted <> 0 OR p.is_answered THEN 0 ELSE 2 END, \
     waits = p.waits, usage = p.usage, progress = p.progress, claims = 0, \
     wake_ms = CASE WHEN jobs.wanted <> 0 OR p.is_answered THEN {now} \
     WHEN COALESCE(jobs.deadline_ms, p.wake_ms) < p.wake_ms THEN jobs.deadline_ms ELSE p.wake_ms END \
     FROM (SELECT r.*, EXISTS (SELECT 1 FROM answers a WHERE a.job_id = r.job_id \
     AND replace(r.waits, '\"wait\":\"' || a.scope || '\"', '') <> r.waits) AS is_answered FROM r) p \
     WHERE jobs.job_id = p.job_id AND jobs.epoch = p.epoch AND jobs.status = 1";

pub(super) const IS_PARKED: &str = "SELECT j.job_id, j.epoch, j.job_id FROM r JOIN jobs j \
     ON j.job_id = r.job_id AND j.epoch = r.epoch AND j.status IN (0, 2)";

/// Handing a job over says nothing against the job: that claim does not count.
pub(super) const RELEASE_JOB: &str = "UPDATE jobs SET status = 0, owner = NULL, epoch = jobs.epoch + 1, \
     claims = CASE WHEN r.counts = 0 AND jobs.claims > 0 THEN jobs.claims - 1 ELSE jobs.claims END, wake_ms = {now} \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.epoch = r.epoch AND jobs.status = 1";

/// A row of [`JOB`], with its end if it has come to it already.
pub(super) fn job_row(submission: &Submission, end: Option<&Ending>) -> [Cell; JOB.len()] {
    let job = &submission.job;
    let status = match (end, &job.claimed_by) {
        (Some(end), _) => end.status,
        (None, Some(_)) => Status::Running,
        (None, None) => Status::Queued,
    };
    [
        (&job.id).into(),
        (&job.tenant).into(),
        (&job.flow).into(),
        job.version.map(i64::from).into(),
        (&job.hash).into(),
        i64::from(status.number()).into(),
        i64::from(job.priority).into(),
        job.run_at_ms.max(job.created_ms).into(),
        (&job.claimed_by).into(),
        i64::from(job.claimed_by.is_some()).into(),
        job.deadline_ms.into(),
        job.created_ms.into(),
        (&job.session_id).into(),
        (&job.trace).into(),
        (&job.batch_id).into(),
        (&job.retry_of).into(),
        (&job.created_by).into(),
        (&job.webhook).into(),
        (&submission.labels).into(),
        (&submission.request.text).into(),
        Cell::Text(end.map(|end| end.result.text.clone())),
        Cell::Text(end.and_then(|end| end.error.clone())),
        Cell::Text(end.map(|end| end.usage.clone())),
        Cell::Text(end.map(|end| end.progress.clone())),
    ]
}

/// The columns of a key of an idempotent request.
pub(super) fn key_rows<'a>(submissions: impl IntoIterator<Item = &'a Submission>) -> Rows {
    let mut rows = Rows::new(&["tenant", "endpoint", "ikey", "body_hash", "object_id", "at_ms"]);
    for job in submissions.into_iter().map(|submission| &submission.job) {
        if let Some(idempotency) = &job.idempotency {
            rows.push([
                (&job.tenant).into(),
                (&idempotency.endpoint).into(),
                (&idempotency.key).into(),
                (&idempotency.body_hash).into(),
                (&job.id).into(),
                job.created_ms.into(),
            ]);
        }
    }
    rows
}
