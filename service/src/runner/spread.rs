//! Items of a large `each`, executed by whichever process has room: tasks in the store, which the owner of the job waits for.
//!
//! The owner alone writes the job's journal. A task is a copy of an attempt: if it is lost, the attempt is made again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::run::{Done, NotTaken, Offload, Task, execute_task_from};
use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Inner, POLL, RETRY, jittered};
use crate::job::new_id;
use crate::store::{ClaimedTask, NewTask, StoreError, Wake};

/// Tasks that a process executes at once, beside its jobs.
const TASK_SLOTS: usize = 64;
/// Tasks that are written, or claimed, at once.
const AT_ONCE: usize = 64;
/// Claims of a task after which the owner of the job executes it.
const CLAIMS_MAX: i32 = 3;

/// The tasks that this process waits for, and those that it executes.
pub(super) struct Tasks {
    outgoing: mpsc::UnboundedSender<NewTask>,
    to_be_written: Mutex<Option<mpsc::UnboundedReceiver<NewTask>>>,
    expected: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// Tasks that nobody waits for any more.
    dropped: Mutex<Vec<String>>,
    slots: Arc<Semaphore>,
    at_work: Mutex<HashMap<String, CancellationToken>>,
    /// Workers that there are, this one included.
    n_workers: AtomicU64,
    /// Tasks that this process has executed.
    n_executed: AtomicU64,
    /// One of ours is done, or one is to be dropped.
    looked: Notify,
}

impl Default for Tasks {
    fn default() -> Self {
        let (outgoing, to_be_written) = mpsc::unbounded_channel();
        Self {
            outgoing,
            to_be_written: Mutex::new(Some(to_be_written)),
            expected: Mutex::default(),
            dropped: Mutex::default(),
            slots: Arc::new(Semaphore::new(TASK_SLOTS)),
            at_work: Mutex::default(),
            n_workers: AtomicU64::new(1),
            n_executed: AtomicU64::new(0),
            looked: Notify::new(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    /// Stops all tasks at work without a word.
    pub(super) fn forget_all(&self) {
        for (_, stop) in lock(&self.at_work).drain() {
            stop.cancel();
        }
    }

    pub(super) fn set_workers(&self, n: u64) {
        self.n_workers.store(n.max(1), Ordering::Relaxed);
    }

    /// Tasks that this process has executed so far.
    pub(super) fn n_executed(&self) -> u64 {
        self.n_executed.load(Ordering::Relaxed)
    }

    /// Tasks that it executes.
    #[cfg(test)]
    pub(super) fn n_at_work(&self) -> usize {
        lock(&self.at_work).len()
    }

    fn n_expected(&self) -> usize {
        lock(&self.expected).len()
    }

    /// How many more tasks this process should take: of its own, its share; others are to have theirs.
    fn room(&self) -> usize {
        let free = self.slots.available_permits();
        let own = self.n_expected();
        if own == 0 {
            return free.min(AT_ONCE);
        }
        let n_workers = usize::try_from(self.n_workers.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let share = own.div_ceil(n_workers).max(1);
        free.min(share.saturating_sub(TASK_SLOTS - free))
    }
}

/// Spreads the attempts of one job.
pub(super) struct Spread {
    pub(super) inner: Arc<Inner>,
    pub(super) job: Arc<str>,
    pub(super) tenant: String,
    pub(super) hash: String,
    pub(super) worker: Arc<str>,
    pub(super) threshold: usize,
}

/// A task that somebody waits for; dropped before it is done, it is taken away.
struct Expected<'a> {
    tasks: &'a Tasks,
    id: String,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if lock(&self.tasks.expected).remove(&self.id).is_some() {
            lock(&self.tasks.dropped).push(std::mem::take(&mut self.id));
            self.tasks.looked.notify_one();
        }
    }
}

#[async_trait]
impl Offload for Spread {
    fn threshold(&self) -> usize {
        self.threshold
    }

    async fn execute(&self, task: Task) -> Result<Done, NotTaken> {
        let refuse = |why: &str| NotTaken { why: why.to_owned() };
        let tasks = &self.inner.tasks;
        if tasks.n_workers.load(Ordering::Relaxed) < 2 {
            return Err(refuse("there is no other worker"));
        }
        let input = serde_json::to_string(&task).map_err(|error| refuse(&error.to_string()))?;
        let id = new_id("tsk");
        let (tell, told) = oneshot::channel();
        lock(&tasks.expected).insert(id.clone(), tell);
        let _expected = Expected { tasks, id: id.clone() };
        let new = NewTask {
            id,
            job: self.job.to_string(),
            hash: self.hash.clone(),
            tenant: self.tenant.clone(),
            job_owner: self.worker.to_string(),
            input,
        };
        tasks.outgoing.send(new).map_err(|_| refuse("this worker stops"))?;
        let output = told.await.map_err(|_| refuse("the task is lost"))?;
        serde_json::from_str::<Result<Done, NotTaken>>(&output)
            .unwrap_or_else(|error| Err(refuse(&format!("what came of it cannot be read: {error}"))))
    }
}

/// Writes the tasks of this process's jobs, many at once.
pub(super) async fn write(inner: Arc<Inner>) {
    let Some(mut outgoing) = lock(&inner.tasks.to_be_written).take() else { return };
    let mut batch = Vec::new();
    while outgoing.recv_many(&mut batch, AT_ONCE).await > 0 {
        // Whoever does not wait any more need not be served.
        batch.retain(|task| lock(&inner.tasks.expected).contains_key(&task.id));
        if let Err(error) = inner.store.enqueue(&batch).await {
            tracing::debug!(%error, "tasks could not be written: they are executed here");
            for task in &batch {
                // Dropping it tells whoever waits. What was written nevertheless is taken away.
                drop(lock(&inner.tasks.expected).remove(&task.id));
                lock(&inner.tasks.dropped).push(task.id.clone());
            }
        }
        batch.clear();
    }
}

/// Passes on what came of the tasks of this process's jobs, and takes away what nobody waits for.
pub(super) async fn collect(inner: Arc<Inner>) {
    let mut wakes = inner.store.wakes();
    loop {
        let news = async {
            loop {
                match wakes.recv().await {
                    Ok(Wake::Wanted) | Err(RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _elapsed = timeout(jittered(POLL / 2), async {
            tokio::select! {
                () = news => {}
                () = inner.tasks.looked.notified() => {}
            }
        })
        .await;
        if let Err(error) = collect_some(&inner).await {
            tracing::debug!(%error, "what came of tasks cannot be read");
        }
    }
}

async fn collect_some(inner: &Arc<Inner>) -> Result<(), StoreError> {
    if inner.tasks.n_expected() > 0 {
        let done = inner.store.done_tasks(&inner.lease.worker()).await?;
        for task in &done {
            if let Some(tell) = lock(&inner.tasks.expected).remove(&task.id) {
                // Whoever waited may have stopped just now.
                let _unheard = tell.send(task.output.clone());
            }
        }
        if !done.is_empty() {
            let ids: Vec<String> = done.into_iter().map(|task| task.id).collect();
            inner.store.take_tasks(&ids).await?;
        }
    }
    let dropped = std::mem::take(&mut *lock(&inner.tasks.dropped));
    if !dropped.is_empty()
        && let Err(error) = inner.store.drop_tasks(&dropped).await
    {
        lock(&inner.tasks.dropped).extend(dropped);
        return Err(error);
    }
    // Tasks of others that were taken away from under this process.
    let at_work: Vec<String> = lock(&inner.tasks.at_work).keys().cloned().collect();
    if !at_work.is_empty() {
        let ours = inner.store.held_tasks(&inner.lease.worker()).await?;
        for id in at_work.iter().filter(|id| !ours.contains(id)) {
            if let Some(stop) = lock(&inner.tasks.at_work).remove(id) {
                stop.cancel();
            }
        }
    }
    Ok(())
}

/// Claims tasks, of this process's jobs and of others, while there is room.
pub(super) async fn claim(inner: Arc<Inner>) {
    let mut wakes = inner.store.wakes();
    loop {
        match claim_some(&inner).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, "tasks cannot be claimed");
                sleep(jittered(RETRY * 4)).await;
            }
        }
        let news = async {
            loop {
                match wakes.recv().await {
                    Ok(Wake::Work) | Err(RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _elapsed = timeout(jittered(POLL), async {
            tokio::select! {
                () = news => {}
                () = inner.task_room.notified() => {}
            }
        })
        .await;
    }
}

async fn claim_some(inner: &Arc<Inner>) -> Result<bool, StoreError> {
    let room = inner.tasks.room();
    if room == 0 || inner.is_draining.load(Ordering::Relaxed) || !inner.lease.holds() {
        return Ok(false);
    }
    let worker = inner.lease.worker();
    let claimed = inner.store.claim_tasks(&worker, u32::try_from(room).unwrap_or(u32::MAX)).await?;
    let is_full = claimed.len() == room;
    for task in claimed {
        let stop = CancellationToken::new();
        lock(&inner.tasks.at_work).insert(task.id.clone(), stop.clone());
        // There is one: this task alone takes them.
        let Ok(permit) = inner.tasks.slots.clone().acquire_owned().await else { return Ok(false) };
        let inner = inner.clone();
        tokio::spawn(async move {
            let id = task.id.clone();
            if stop.run_until_cancelled(execute(&inner, task)).await.is_some() {
                lock(&inner.tasks.at_work).remove(&id);
            }
            drop(permit);
            inner.task_room.notify_one();
        });
    }
    Ok(is_full)
}

/// Executes a task, and keeps what came of it if the task is still this process's.
async fn execute(inner: &Arc<Inner>, claimed: ClaimedTask) {
    let refuse = |why: String| Err(NotTaken { why });
    let result = if claimed.attempts > CLAIMS_MAX {
        refuse(format!("it was lost by {CLAIMS_MAX} workers"))
    } else {
        match (serde_json::from_str::<Task>(&claimed.input), inner.flows.pinned(&claimed.hash).await) {
            (Ok(task), Ok(plan)) => {
                let purse = inner.purse(&claimed.tenant, task.caller.key.as_deref()).await;
                execute_task_from(&plan, task, inner.resources.of(&claimed.tenant), purse).await
            }
            (Err(error), _) => refuse(format!("the task cannot be read: {error}")),
            (_, Err(error)) => refuse(format!("its flow cannot be used: {error}")),
        }
    };
    let output = match serde_json::to_string(&result) {
        Ok(output) => output,
        Err(error) => {
            tracing::error!(%error, "what came of a task cannot be written");
            return;
        }
    };
    inner.tasks.n_executed.fetch_add(1, Ordering::Relaxed);
    let mut pause = RETRY;
    while let Err(error) = inner.store.complete_task(&claimed.id, claimed.epoch, &output).await
        && error.is_passing()
    {
        // Bounded by the lease, whose end stops all tasks.
        sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
}
