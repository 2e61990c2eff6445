//! Waits for jobs: those that run here by what they tell, those elsewhere by notifications and polling.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::work::Told;
use super::{POLL, Runner, jittered, now_ms};
use crate::flows::Ready;
use crate::job::{End, Job, NewJob, Submitted};
use crate::store::{Changes, Receipt, StoreError};

impl Runner {
    /// Takes a job in and waits for its end, at most `wait`. For jobs that begin at once, one commit holds all of it.
    /// `None` if it has not ended by then (or parked: then the job as it is).
    pub async fn submit_and_wait(
        &self,
        job: NewJob,
        flow: &Ready,
        wait: Duration,
    ) -> Result<(Submitted, Option<Job>), StoreError> {
        let until = Instant::now() + wait;
        let (tell, told) = oneshot::channel();
        let (tenant, id, submitted_job) = (job.tenant.clone(), job.id.clone(), job.clone());
        let changes = self.0.store.follow(&id);
        let receipt = self.take_in(job, flow, Some(tell), None);
        let (submitted, came_of_it) = submitted_and_told(receipt, told, until).await?;
        match (submitted, came_of_it) {
            (Submitted::New, Some(Told::Ended(end))) => {
                Ok((Submitted::New, Some(ended(submitted_job, &self.worker(), end))))
            }
            // It queues: there is nothing to look at before it changes.
            (Submitted::New, None) => Ok((Submitted::New, self.changed(&tenant, &id, changes, until).await?)),
            (Submitted::New, Some(Told::Left)) => {
                Ok((Submitted::New, self.over(&tenant, &id, changes, until).await?))
            }
            (Submitted::Before(id), _) => {
                let changes = self.0.store.follow(&id);
                let job = self.over(&tenant, &id, changes, until).await?;
                Ok((Submitted::Before(id), job))
            }
            (Submitted::OtherBody, _) => Ok((Submitted::OtherBody, None)),
        }
    }

    /// Waits until a job has ended or parked, wherever it runs; `None` after `wait`.
    pub async fn wait(&self, tenant: &str, id: &str, wait: Duration) -> Result<Option<Job>, StoreError> {
        self.over(tenant, id, self.0.store.follow(id), Instant::now() + wait).await
    }

    /// The job once it has ended or parked. Whoever follows first and looks then misses nothing in between.
    async fn over(
        &self,
        tenant: &str,
        id: &str,
        changes: Changes,
        until: Instant,
    ) -> Result<Option<Job>, StoreError> {
        match self.0.store.job_at_rest(tenant, id).await? {
            None => self.changed(tenant, id, changes, until).await,
            job => Ok(job),
        }
    }

    /// As [`Self::over`], for a job that is not over before it changes.
    async fn changed(
        &self,
        tenant: &str,
        id: &str,
        mut changes: Changes,
        until: Instant,
    ) -> Result<Option<Job>, StoreError> {
        loop {
            // A notification of another process may be lost.
            let news = timeout(jittered(POLL), changes.changed());
            if timeout_at(until, news).await.is_err() {
                return Ok(None);
            }
            if let Some(job) = self.0.store.job_at_rest(tenant, id).await? {
                return Ok(Some(job));
            }
        }
    }
}

/// What came of the submission, and of the job if that is known in time.
async fn submitted_and_told(
    receipt: Receipt<Submitted>,
    told: oneshot::Receiver<Told>,
    until: Instant,
) -> Result<(Submitted, Option<Told>), StoreError> {
    tokio::pin!(receipt, told);
    // A job that queues has nobody who tells; one that is lost has nobody any more.
    let submitted = receipt.await?;
    if submitted != Submitted::New {
        return Ok((submitted, None));
    }
    let told = timeout_at(until, told).await;
    Ok((submitted, told.ok().and_then(Result::ok)))
}

/// The job as the store has it by now, made of what is known here: it need not be read back.
fn ended(job: NewJob, worker: &str, end: End) -> Job {
    let now = now_ms();
    Job {
        id: job.id,
        tenant: job.tenant,
        flow: job.flow,
        version: job.version,
        hash: job.hash,
        status: end.status,
        priority: job.priority,
        request: job.request,
        outputs: Some(end.outputs),
        absent: Some(end.absent),
        error: end.error,
        waits: Vec::new(),
        usage: end.usage,
        progress: end.progress,
        labels: job.labels,
        webhook: job.webhook,
        session_id: job.session_id,
        trace: job.trace,
        batch_id: job.batch_id,
        retry_of: job.retry_of,
        owner: Some(worker.to_owned()),
        epoch: 1,
        wake_ms: job.run_at_ms,
        deadline_ms: job.deadline_ms,
        created_ms: job.created_ms,
        started_ms: Some(job.created_ms),
        finished_ms: Some(now),
        created_by: job.created_by,
    }
}
