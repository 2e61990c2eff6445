//! Waits for jobs: those that run here by what they tell, those elsewhere by notifications and polling.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::work::Told;
use super::{Live, POLL, Runner, jittered, now_ms};
use crate::flows::Ready;
use crate::job::{End, Job, NewJob, Status, Submitted};
use crate::store::{Receipt, StoreError, Wake};

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
        let receipt = self.take_in(job, flow, Some(tell), None);
        let (submitted, came_of_it) = submitted_and_told(receipt, told, until).await?;
        match (submitted, came_of_it) {
            (Submitted::New, Some(Told::Ended(end))) => {
                Ok((Submitted::New, Some(ended(submitted_job, &self.worker(), end))))
            }
            (Submitted::New, _) => {
                let left = until.saturating_duration_since(Instant::now());
                Ok((Submitted::New, self.wait(&tenant, &id, left).await?))
            }
            (Submitted::Before(id), _) => {
                let left = until.saturating_duration_since(Instant::now());
                let job = self.wait(&tenant, &id, left).await?;
                Ok((Submitted::Before(id), job))
            }
            (Submitted::OtherBody, _) => Ok((Submitted::OtherBody, None)),
        }
    }

    /// Waits until a job has ended or parked, wherever it runs; `None` after `wait`.
    pub async fn wait(&self, tenant: &str, id: &str, wait: Duration) -> Result<Option<Job>, StoreError> {
        let expected = Expected { runner: self, id, live: Some(self.0.desk.expect(id)) };
        self.wait_for(tenant, expected, Instant::now() + wait).await
    }

    async fn wait_for(
        &self,
        tenant: &str,
        mut expected: Expected<'_>,
        until: Instant,
    ) -> Result<Option<Job>, StoreError> {
        let mut wakes = self.0.store.wakes();
        let id = expected.id;
        loop {
            // Whoever listens first and looks then misses nothing in between.
            let Some(job) = self.0.store.job(Some(tenant), id).await? else { return Ok(None) };
            if job.status.is_final() || job.status == Status::Waiting {
                return Ok(Some(job));
            }
            let here = async {
                match &mut expected.live {
                    Some(live) => loop {
                        match live.recv().await {
                            Ok(Live::Left) | Err(RecvError::Closed) => return,
                            Ok(_) | Err(RecvError::Lagged(_)) => {}
                        }
                    },
                    None => std::future::pending().await,
                }
            };
            let changed = async {
                loop {
                    match wakes.recv().await {
                        Ok(Wake::Changed(jobs)) if jobs.is_empty() || jobs.iter().any(|job| job == id) => {
                            return;
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            let news = async {
                tokio::select! {
                    () = here => true,
                    () = changed => false,
                    () = sleep(jittered(POLL)) => false,
                }
            };
            match timeout_at(until, news).await {
                Ok(has_left) => {
                    if has_left {
                        // It may come here again: after a wait, or from another process.
                        expected.live = Some(self.0.desk.expect(id));
                    }
                }
                Err(_elapsed) => return Ok(None),
            }
        }
    }
}

/// A job that somebody waits for, here or elsewhere.
struct Expected<'a> {
    runner: &'a Runner,
    id: &'a str,
    live: Option<broadcast::Receiver<Live>>,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        drop(self.live.take());
        self.runner.0.desk.expect_no_more(self.id);
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
