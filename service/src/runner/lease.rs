//! The lease of this process on its jobs, and what other processes have lost.
//!
//! The database's clock decides when a lease is over. This process stops by its own clock before that, counted from
//! before it asked: so two processes never act on one job, unless this one is stopped in between. Then the fence holds.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Inner, Options, RETRY, jittered};
use crate::job::new_id;
use crate::store::{Gone, Store, StoreError};

/// Who this process is to the others, and until when.
pub(super) struct Lease {
    length: Duration,
    state: Mutex<State>,
}

struct State {
    worker: Arc<str>,
    /// When this process stops unless the lease is renewed before.
    stops: Instant,
    is_over: bool,
}

impl Lease {
    /// A lease that began just now.
    pub(super) fn new(worker: String, length: Duration) -> Self {
        let state =
            State { worker: worker.into(), stops: stops_after(Instant::now(), length), is_over: false };
        Self { length, state: Mutex::new(state) }
    }

    pub(super) fn worker(&self) -> Arc<str> {
        self.lock().worker.clone()
    }

    /// Whether this process is still `worker`, with a lease.
    pub(super) fn is(&self, worker: &Arc<str>) -> bool {
        let state = self.lock();
        !state.is_over && Instant::now() < state.stops && state.worker == *worker
    }

    /// Whether anything may be begun.
    pub(super) fn holds(&self) -> bool {
        let state = self.lock();
        !state.is_over && Instant::now() < state.stops
    }

    fn stops(&self) -> Instant {
        self.lock().stops
    }

    fn renewed(&self, asked: Instant) {
        self.lock().stops = stops_after(asked, self.length);
    }

    fn end(&self) {
        self.lock().is_over = true;
    }

    fn begin(&self, worker: Arc<str>, asked: Instant) {
        *self.lock() = State { worker, stops: stops_after(asked, self.length), is_over: false };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fifth of the lease before its end: what runs needs a moment to be dropped.
fn stops_after(asked: Instant, length: Duration) -> Instant {
    asked + length.mul_f64(0.8)
}

/// Renews the lease; without it, forgets all jobs and begins anew as another worker.
pub(super) async fn keep(inner: Arc<Inner>) {
    let every = inner.options.lease / 5;
    loop {
        sleep(every).await;
        // Too late even to ask: this process was held up, maybe by one of its jobs.
        let gone = if Instant::now() < inner.lease.stops() { Gone::Left } else { Gone::Lost };
        if renew(&inner).await {
            continue;
        }
        inner.lease.end();
        inner.options.metrics.lease_lost();
        let n = inner.desk.all().len();
        inner.forget_all();
        tracing::warn!(worker = %inner.lease.worker(), jobs = n, "the lease is lost: its jobs go to other workers");
        begin_anew(&inner, gone).await;
        inner.work.notify_one();
    }
}

/// Renews the lease, trying until it ends; whether that worked.
async fn renew(inner: &Arc<Inner>) -> bool {
    let worker = inner.lease.worker();
    let stops = inner.lease.stops();
    let renewed = async {
        loop {
            let asked = Instant::now();
            match inner.store.heartbeat(&worker, inner.options.lease).await {
                Ok(true) => {
                    inner.lease.renewed(asked);
                    return true;
                }
                Ok(false) => return false,
                Err(error) => tracing::warn!(%error, "the lease cannot be renewed"),
            }
            sleep(jittered(RETRY * 4)).await;
        }
    };
    tokio::select! {
        biased;
        is_renewed = renewed => is_renewed,
        () = sleep_until(stops) => false,
    }
}

/// Becomes a worker again, another one than before: nobody takes its silence for the old one's life.
async fn begin_anew(inner: &Arc<Inner>, gone: Gone) {
    let old = inner.lease.worker();
    loop {
        let worker: Arc<str> = new_id("wkr").into();
        let asked = Instant::now();
        match registered(inner, (&old, gone), &worker).await {
            Ok(()) => {
                inner.lease.begin(worker, asked);
                return;
            }
            Err(error) => tracing::debug!(%error, "this worker cannot be registered"),
        }
        sleep(jittered(RETRY * 10)).await;
    }
}

async fn registered(inner: &Arc<Inner>, (old, gone): (&str, Gone), worker: &str) -> Result<(), StoreError> {
    inner.store.deregister(old, gone).await?;
    register(&inner.store, worker, &inner.options).await
}

/// Makes a worker known, and where others hear of its jobs.
pub(super) async fn register(store: &Store, worker: &str, options: &Options) -> Result<(), StoreError> {
    store.register(worker, options.slots, options.lease).await?;
    match &options.address {
        Some(address) => store.advertise(worker, address).await,
        None => Ok(()),
    }
}

/// Puts back what lost workers had, and what this one has without knowing.
pub(super) async fn sweep(inner: Arc<Inner>) {
    let mut unknown = HashSet::new();
    loop {
        // While the store was away, everybody's lease ran out: whoever lives says so first, and its jobs are not blamed.
        if !inner.lease.holds() {
            sleep(jittered(RETRY * 4)).await;
            continue;
        }
        match inner.store.sweep().await {
            Ok(swept) => {
                inner.options.metrics.recovered(swept.jobs);
                if swept.workers > 0 {
                    tracing::warn!(
                        workers = swept.workers,
                        jobs = swept.jobs,
                        tasks = swept.tasks,
                        "workers were lost; what they had is queued again"
                    );
                }
                if swept.jobs + swept.woken + swept.tasks > 0 {
                    inner.has_backlog.store(true, Ordering::Relaxed);
                    inner.work.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "lost workers cannot be looked for"),
        }
        if inner.options.spread.is_some()
            && let Err(error) = look_around(&inner).await
        {
            tracing::debug!(%error, "the other workers cannot be counted");
        }
        if let Err(error) = reclaim(&inner, &mut unknown).await {
            tracing::debug!(%error, "the jobs of this worker cannot be listed");
        }
        sleep(jittered(inner.options.lease / 3)).await;
    }
}

/// Counts the workers that tasks can go to, and takes away those of jobs that changed hands.
async fn look_around(inner: &Arc<Inner>) -> Result<(), StoreError> {
    inner.tasks.set_workers(inner.store.n_workers().await?);
    inner.store.drop_orphans().await
}

/// Lets go of jobs that the store says are this worker's and that it has not: a reply was lost, or a task died.
///
/// Only those that were `unknown` at the last look already: a claim may be on its way here.
async fn reclaim(inner: &Arc<Inner>, unknown: &mut HashSet<(String, i64)>) -> Result<(), StoreError> {
    let owned = inner.store.owned(&inner.lease.worker()).await?;
    let missing: HashSet<(String, i64)> =
        owned.into_iter().filter(|(id, _)| inner.desk.get(id).is_none()).collect();
    for (id, epoch) in missing.intersection(unknown) {
        tracing::warn!(job = id, "a job of this worker was not at work: it is queued again");
        inner.store.give_up(id, *epoch).await?;
    }
    *unknown = missing;
    Ok(())
}
