//! Works on jobs: claims them, runs them, parks them, hands them over; keeps the lease and notices what others lost.
//!
//! ```text
//!  submit ──free slot──► work ──────────────► end | park
//!     │                   ▲  └─ lost: forgotten without a word
//!     └─► queue ─► claim ─┘
//! ```
//! A job in this process is a [`held::Held`] on the [`held::Desk`], and one task ([`work`]). Whatever reaches it from
//! outside (cancel, answers, the end of the lease, a drain) goes through its `Held`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anabranch_engine::budget::Purse;
use anabranch_engine::cx::Resources;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::flows::{Flows, Ready};
use crate::indexes::TenantResources;
use crate::job::{NewJob, Submitted, new_id};
use crate::metrics::Metrics;
use crate::spend::Spending;
use crate::store::{Claimed, Receipt, Store, StoreError, Wanted};
use crate::telemetry::Telemetry;

mod caller;
mod claims;
mod deadlines;
mod drain;
mod end;
mod held;
mod journal;
mod lease;
mod live;
mod running;
mod spread;
#[cfg(test)]
mod tests;
mod traced;
mod wait;
mod wanted;
mod work;

pub use live::{Heard, Live, RunningNode, Said};

use held::Desk;
use lease::Lease;
use spread::Tasks;
use work::{Begun, Submission};

/// How often the store is asked where a notification may have been lost.
const POLL: Duration = Duration::from_secs(1);
/// Pause before the store is tried again; doubles up to [`POLL`].
const RETRY: Duration = Duration::from_millis(50);
/// What a watcher of a job may be behind before it misses something.
const LIVE_BEHIND: usize = 256;

/// The runner of a process. Cheap to clone.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

/// What the tasks of a runner share.
struct Inner {
    store: Store,
    flows: Flows,
    resources: TenantResources,
    options: Options,
    desk: Desk,
    slots: Arc<Semaphore>,
    lease: Lease,
    /// There may be something to claim, or room for it.
    work: Notify,
    /// What is executed for other processes, and by them for this one.
    tasks: Tasks,
    /// There is room for a task.
    task_room: Notify,
    /// Whether jobs are queued, as far as this process knows: then new ones queue behind them.
    has_backlog: AtomicBool,
    is_draining: AtomicBool,
    /// Ends the runner's own tasks.
    closed: CancellationToken,
}

/// How many jobs, how long a lease.
#[derive(Debug, Clone)]
pub struct Options {
    /// Jobs that run at once; 0 for a process that only serves the API.
    pub slots: u32,
    /// How long a silent worker keeps its jobs.
    pub lease: Duration,
    /// Claims without progress after which a job is set aside.
    pub claims_max: u32,
    /// Items of an each at which they are spread over workers; `None` for a database that no others use.
    pub spread: Option<usize>,
    /// Whether a node's successors wait for the disk.
    pub is_stepwise: bool,
    /// Where the spans of runs go.
    pub telemetry: Telemetry,
    /// Where it is counted what the jobs do.
    pub metrics: Arc<Metrics>,
    /// What tenants and keys may spend; without a bound if `None`.
    pub spending: Option<Spending>,
    /// Who knows how many jobs of a tenant may run at once; without a bound if `None`.
    pub access: Option<Access>,
    /// Where other processes hear what happens in its jobs; nowhere if `None`.
    pub address: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slots: 256,
            lease: Duration::from_secs(15),
            claims_max: 5,
            spread: Some(64),
            is_stepwise: false,
            telemetry: Telemetry::off(),
            metrics: Arc::default(),
            spending: None,
            access: None,
            address: None,
        }
    }
}

/// How busy a runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Jobs that may run at once.
    pub slots: usize,
    /// Jobs that run.
    pub running: usize,
    /// Items of large eaches that it has executed, of its own jobs and of others'.
    pub tasks: u64,
    /// Whether it takes no more work.
    pub is_draining: bool,
    /// Whether jobs may be queued: then a new one queues behind them.
    pub has_backlog: bool,
}

impl Runner {
    /// Starts the runner's tasks.
    pub async fn start(
        store: Store,
        flows: Flows,
        resources: Arc<Resources>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let worker = new_id("wkr");
        if options.slots > 0 {
            let swept = store.take_over().await?;
            if swept.jobs > 0 {
                tracing::info!(jobs = swept.jobs, "jobs of a process that has ended go on");
            }
            lease::register(&store, &worker, &options).await?;
        }
        let inner = Arc::new(Inner {
            slots: Arc::new(Semaphore::new(options.slots as usize)),
            lease: Lease::new(worker, options.lease),
            store,
            flows,
            resources: TenantResources::new(resources),
            options,
            desk: Desk::default(),
            work: Notify::new(),
            tasks: Tasks::default(),
            task_room: Notify::new(),
            has_backlog: AtomicBool::new(true),
            is_draining: AtomicBool::new(false),
            closed: CancellationToken::new(),
        });
        inner.spawn(deadlines::keep);
        if inner.options.slots > 0 {
            inner.spawn(lease::keep);
            inner.spawn(lease::sweep);
            inner.spawn(claims::claim);
            inner.spawn(wanted::attend);
            if inner.options.spread.is_some() {
                inner.spawn(spread::write);
                inner.spawn(spread::collect);
                inner.spawn(spread::claim);
            }
        }
        Ok(Self(inner))
    }

    /// Takes a job in. If there is a free slot it begins at once, before it is on disk.
    ///
    /// The job goes on whether or not the receipt is awaited.
    pub fn submit(&self, job: NewJob, flow: &Ready) -> Receipt<Submitted> {
        self.take_in(job, flow, None, None)
    }

    /// As [`Self::submit`], with all that happens in the job from its beginning, if it begins here.
    pub fn submit_watched(&self, job: NewJob, flow: &Ready) -> (Receipt<Submitted>, Heard) {
        let (tell, live) = broadcast::channel(LIVE_BEHIND);
        let heard = Heard { live, running: Vec::new(), epoch: 1, is_whole: true };
        (self.take_in(job, flow, None, Some(tell)), heard)
    }

    fn take_in(
        &self,
        mut job: NewJob,
        flow: &Ready,
        told: Option<oneshot::Sender<work::Told>>,
        live: Option<broadcast::Sender<Live>>,
    ) -> Receipt<Submitted> {
        let inner = self.0.clone();
        let is_free = inner.is_free(&job);
        let Some(permit) = is_free.then(|| inner.slot_for(&job)).flatten() else {
            // Who queues by its tenant's own bound need not keep others from free places.
            if is_free {
                inner.has_backlog.store(true, Ordering::Relaxed);
            }
            let receipt = inner.store.submit(job);
            return Box::pin(async move {
                let submitted = receipt.await?;
                inner.work.notify_one();
                Ok(submitted)
            });
        };
        let worker = inner.lease.worker();
        job.claimed_by = Some(worker.to_string());
        let claimed = claimed_at_once(&job);
        // What depends on the store's word cannot begin before it: a twin's work would be done twice.
        let must_be_kept_first = job.idempotency.is_some() || !job.kept.is_empty();
        let is_new = job.kept.is_empty();
        let (tell, submitted) = oneshot::channel();
        let submission = Submission { receipt: inner.store.submit(job), tell, must_be_kept_first };
        let begun = Begun {
            claimed,
            worker,
            plan: Some(flow.plan.clone()),
            submission: Some(submission),
            is_new,
            told,
            live,
            permit,
        };
        tokio::spawn(work::work(inner, begun));
        Box::pin(async move {
            submitted.await.unwrap_or_else(|_| Err(StoreError::Unsure("the job's task is gone".to_owned())))
        })
    }

    /// What happens in a job from now on, if it runs in this process.
    pub fn hear(&self, id: &str) -> Option<Heard> {
        self.0.desk.get(id).map(|held| held.hear())
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let slots = self.0.options.slots as usize;
        Load {
            slots,
            running: slots.saturating_sub(self.0.slots.available_permits()),
            tasks: self.0.tasks.n_executed(),
            is_draining: self.0.is_draining.load(Ordering::Relaxed),
            has_backlog: self.0.has_backlog.load(Ordering::Relaxed),
        }
    }

    /// The worker that it is to the others; another one after its lease was lost.
    pub fn worker(&self) -> Arc<str> {
        self.0.lease.worker()
    }

    /// Resolves once it has looked at the queue and begins what is submitted by itself.
    #[cfg(test)]
    async fn settled(&self) {
        while self.0.has_backlog.load(Ordering::Relaxed) && self.0.options.slots > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops as a process does that is killed: without a word.
    #[cfg(test)]
    fn abandon(self) {
        self.0.closed.cancel();
        self.0.forget_all();
    }

    /// Looks at once for what was asked of its jobs, instead of when it is told or polls.
    pub fn look(&self) {
        self.0.desk.look();
    }
}

impl Inner {
    /// What the calls of a job draw on.
    async fn purse(&self, tenant: &str, key: Option<&str>) -> Option<Arc<dyn Purse>> {
        Some(self.options.spending.as_ref()?.purse(tenant, key).await)
    }

    /// Runs one of the runner's own tasks until the runner is closed.
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) {
        let (closed, task) = (self.closed.clone(), task(self.clone()));
        tokio::spawn(async move { closed.run_until_cancelled_owned(task).await });
    }

    /// Drops everything that this process works on, without a word to the store.
    fn forget_all(&self) {
        self.desk.forget_all();
        self.tasks.forget_all();
    }

    /// Whether as many jobs of its tenant may run as there are places. Else the claim decides, which counts those of all
    /// processes.
    fn is_free(&self, job: &NewJob) -> bool {
        self.options.access.as_ref().is_none_or(|access| access.is_unbounded(&job.tenant))
    }

    /// A place for a new job, unless it has to queue.
    fn slot_for(&self, job: &NewJob) -> Option<OwnedSemaphorePermit> {
        let may_begin = job.run_at_ms <= now_ms()
            && !self.has_backlog.load(Ordering::Relaxed)
            && !self.is_draining.load(Ordering::Relaxed)
            && self.lease.holds();
        may_begin.then(|| self.slots.clone().try_acquire_owned().ok()).flatten()
    }
}

/// A job that begins where it was submitted, as a claim of the queue would give it.
fn claimed_at_once(job: &NewJob) -> Claimed {
    let now = now_ms();
    Claimed {
        id: job.id.clone(),
        tenant: job.tenant.clone(),
        flow: job.flow.clone(),
        hash: job.hash.clone(),
        request: job.request.clone(),
        epoch: 1,
        claims: 1,
        wanted: Wanted::default(),
        deadline_ms: job.deadline_ms,
        trace: job.trace.clone(),
        priority: job.priority,
        session_id: job.session_id.clone(),
        batch_id: job.batch_id.clone(),
        created_by: job.created_by.clone(),
        ready_ms: now,
        started_ms: now,
        is_begun: !job.kept.is_empty(),
    }
}

/// Unix milliseconds by this machine's clock.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A pause around `about`, so that processes that began together do not come together.
fn jittered(about: Duration) -> Duration {
    about.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
}
