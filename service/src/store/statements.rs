//! The statements of a commit. Each reads its rows from `r` and gives a text, a number and a text for each that it wrote.

use super::entry::Submission;
use super::rows::{Cell, Rows};
use crate::job::Status;

/// The columns of a new job.
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
];

pub(super) const INSERT_JOB: &str = "INSERT INTO jobs (job_id, tenant, flow, version, hash, status, priority, \
     wake_ms, owner, epoch, claims, started_ms, deadline_ms, created_ms, session_id, trace, batch_id, retry_of, \
     created_by, webhook, labels, request) \
     SELECT job_id, tenant, flow, CAST(version AS INTEGER), hash, CAST(status AS SMALLINT), \
     CAST(priority AS SMALLINT), wake_ms, owner, epoch, CAST(epoch AS INTEGER), \
     CASE WHEN epoch > 0 THEN {now} END, deadline_ms, created_ms, session_id, trace, batch_id, retry_of, \
     created_by, webhook, labels, request \
     FROM r WHERE TRUE ON CONFLICT DO NOTHING RETURNING job_id, epoch, job_id";

pub(super) const INSERT_LABEL: &str = "INSERT INTO job_labels (tenant, name, value, job_id) \
     SELECT tenant, name, value, job_id FROM r WHERE TRUE ON CONFLICT DO NOTHING \
     RETURNING job_id, CAST(0 AS BIGINT), job_id";

pub(super) const INSERT_TENANT: &str = "INSERT INTO tenants (tenant) SELECT tenant FROM r WHERE TRUE \
     ON CONFLICT DO NOTHING RETURNING tenant, CAST(0 AS BIGINT), tenant";

/// Keys that were forgotten but not yet deleted are taken over.
pub(super) const NOTE_KEY: &str = "INSERT INTO idempotency (tenant, endpoint, ikey, body_hash, object_id, at_ms) \
     SELECT tenant, endpoint, ikey, body_hash, object_id, at_ms FROM r WHERE TRUE \
     ON CONFLICT (tenant, endpoint, ikey) DO UPDATE SET body_hash = excluded.body_hash, \
     object_id = excluded.object_id, at_ms = excluded.at_ms \
     WHERE idempotency.at_ms < excluded.at_ms - {idempotency} \
     RETURNING object_id, at_ms, object_id";

/// The job that asks, and the job and the hash of the request that was first.
pub(super) const FIND_KEY: &str = "SELECT r.object_id, i.at_ms, i.object_id || ' ' || i.body_hash \
     FROM r JOIN idempotency i ON i.tenant = r.tenant AND i.endpoint = r.endpoint AND i.ikey = r.ikey";

pub(super) const INSERT_BLOB: &str = "INSERT INTO blobs (job_id, hash, size, codec, body) \
     SELECT job_id, hash, size, codec, body FROM r WHERE TRUE ON CONFLICT DO NOTHING RETURNING job_id, size, hash";

/// The primary key is the fence. The condition refuses, too, who has lost the job while nobody has taken it up yet.
pub(super) const INSERT_RECORDS: &str = "INSERT INTO job_events (job_id, seq, n, epoch, at_ms, body) \
     SELECT job_id, seq, CAST(n AS INTEGER), epoch, at_ms, body FROM r WHERE epoch = 0 OR EXISTS \
     (SELECT 1 FROM jobs j WHERE j.job_id = r.job_id AND j.epoch = r.epoch AND j.status = 1) \
     ON CONFLICT DO NOTHING RETURNING job_id, seq, job_id";

pub(super) const FIND_RECORDS: &str = "SELECT e.job_id, e.seq, e.job_id FROM r JOIN job_events e \
     ON e.job_id = r.job_id AND e.seq = r.seq AND e.n = r.n AND e.epoch = r.epoch";

pub(super) const END_JOB: &str = "UPDATE jobs SET status = CAST(r.status AS SMALLINT), result = r.result, \
     error = r.error, usage = r.usage, progress = r.progress, waits = NULL, wanted = 0, claims = 0, \
     finished_ms = {now} \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.epoch = r.epoch AND jobs.status = 1 \
     RETURNING jobs.job_id, jobs.epoch, jobs.job_id";

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
     WHERE jobs.job_id = p.job_id AND jobs.epoch = p.epoch AND jobs.status = 1 \
     RETURNING jobs.job_id, jobs.epoch, jobs.job_id";

pub(super) const IS_PARKED: &str = "SELECT j.job_id, j.epoch, j.job_id FROM r JOIN jobs j \
     ON j.job_id = r.job_id AND j.epoch = r.epoch AND j.status IN (0, 2)";

pub(super) const RELEASE_JOB: &str = "UPDATE jobs SET status = 0, owner = NULL, epoch = jobs.epoch + 1, \
     wake_ms = {now} \
     FROM r WHERE jobs.job_id = r.job_id AND jobs.epoch = r.epoch AND jobs.status = 1 \
     RETURNING jobs.job_id, jobs.epoch, jobs.job_id";

/// A row of [`JOB`].
pub(super) fn job_row(submission: &Submission) -> [Cell; JOB.len()] {
    let job = &submission.job;
    let status = if job.claimed_by.is_some() { Status::Running } else { Status::Queued };
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
