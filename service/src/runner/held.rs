//! The jobs that this process has: how the world outside reaches them, and who watches them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anabranch_engine::cx::Progress as Shown;
use anabranch_engine::run::{Inbox, Notice, Observer};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::LIVE_BEHIND;
use super::live::{Heard, Live, Said};
use super::running::Running;
use crate::job::Progress;
use crate::metrics::{Counting, Metrics};
use crate::store::Wanted;

/// A job that this process works on.
pub(super) struct Held {
    pub(super) id: Arc<str>,
    /// The claim that fences its writes.
    pub(super) epoch: i64,
    /// Ends the run, and what is in flight with it.
    pub(super) cancel: CancellationToken,
    /// Lets what is in flight end and starts nothing more.
    pub(super) pause: CancellationToken,
    /// Forgets the job: it belongs to somebody else, or soon will.
    pub(super) left: CancellationToken,
    /// Whether the store is told when the job is left.
    pub(super) is_handed_over: AtomicBool,
    pub(super) inbox: Inbox,
    /// Whether somebody asked for the cancel, of either kind.
    pub(super) is_cancel_asked: AtomicBool,
    /// Waits whose answers were passed on.
    answered: Mutex<HashSet<String>>,
    /// Made when the first one watches: most jobs are never watched.
    live: OnceLock<broadcast::Sender<Live>>,
    /// Whether what is told is old: read from the journal on resuming.
    pub(super) is_replaying: AtomicBool,
    n_running: AtomicU64,
    n_ended: AtomicU64,
    /// What runs; locked while something is told, so that whoever begins to watch hears each thing once: in what runs
    /// already, or after it.
    running: Mutex<Running>,
    counting: Counting,
}

impl Held {
    pub(super) fn new(
        id: &str,
        epoch: i64,
        live: Option<broadcast::Sender<Live>>,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            epoch,
            cancel: CancellationToken::new(),
            pause: CancellationToken::new(),
            left: CancellationToken::new(),
            is_handed_over: AtomicBool::new(false),
            inbox: Inbox::default(),
            is_cancel_asked: AtomicBool::new(false),
            answered: Mutex::default(),
            live: live.map_or_else(OnceLock::new, OnceLock::from),
            is_replaying: AtomicBool::new(false),
            n_running: AtomicU64::new(0),
            n_ended: AtomicU64::new(0),
            running: Mutex::default(),
            counting: Counting::new(metrics.clone()),
        })
    }

    /// Does what was asked of the job; answers are the caller's affair.
    pub(super) fn obey(&self, wanted: Wanted) {
        if wanted.cancel_now || wanted.cancel {
            self.is_cancel_asked.store(true, Ordering::Relaxed);
        }
        if wanted.cancel_now {
            self.cancel.cancel();
        } else if wanted.cancel {
            self.pause.cancel();
        }
    }

    /// Whether the answer to `wait` was not passed on before.
    pub(super) fn is_first_answer(&self, wait: &str) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(wait.to_owned())
    }

    /// What happens from now on, with what runs already.
    pub(super) fn hear(&self) -> Heard {
        let running = self.running();
        let live = self.live.get_or_init(|| broadcast::Sender::new(LIVE_BEHIND)).subscribe();
        Heard { live, running: running.list(), epoch: self.epoch, is_whole: false }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_watched(&self) -> bool {
        self.live.get().is_some_and(|live| live.receiver_count() > 0)
    }

    pub(super) fn tell(&self, live: impl FnOnce() -> Option<Live>) {
        if let Some(sender) = self.live.get()
            && sender.receiver_count() > 0
            && let Some(live) = live()
        {
            // The last one may have stopped to watch.
            let _unheard = sender.send(live);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            nodes_ended: self.n_ended.load(Ordering::Relaxed),
            nodes_running: self.n_running.load(Ordering::Relaxed),
        }
    }

    fn one_less(&self) {
        let less = |running: u64| Some(running.saturating_sub(1));
        let _before = self.n_running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Forgets how far the job was: the same history is about to be told again, and the answers with it.
    pub(super) fn begin_again(&self) {
        self.is_replaying.store(true, Ordering::Relaxed);
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.n_ended.store(0, Ordering::Relaxed);
        self.n_running.store(0, Ordering::Relaxed);
        self.running().clear();
    }
}

impl Observer for Held {
    fn notice(&self, notice: &Notice) {
        let is_new = !self.is_replaying.load(Ordering::Relaxed);
        // Pieces of text are many, and nothing counts them.
        if !matches!(notice, Notice::Progress { progress: Some(Shown::Delta(_)), .. }) {
            self.counting.noticed(notice, is_new);
        }
        match notice {
            Notice::Started { attempt: 1, .. } => {
                self.n_running.fetch_add(1, Ordering::Relaxed);
            }
            Notice::Ended { retry_in: None, .. } => {
                self.n_ended.fetch_add(1, Ordering::Relaxed);
                // What ended without a start was given from outside.
                self.one_less();
            }
            Notice::Aborted { attempt: 1.., .. } => self.one_less(),
            _ => {}
        }
        let mut running = self.running();
        running.hear(notice);
        if is_new {
            self.tell(|| Said::of(notice).map(Live::Said));
        }
    }

    fn looked_up(&self, op: &str, is_hit: bool) {
        self.counting.metrics().looked_up(op, is_hit);
    }

    fn replayed(&self) {
        self.is_replaying.store(false, Ordering::Relaxed);
    }
}

/// The jobs of this process, by id.
#[derive(Default)]
pub(super) struct Desk {
    jobs: Mutex<HashMap<Arc<str>, Arc<Held>>>,
    /// A job has left.
    left: Notify,
    /// Something may be wanted of a job.
    looked: Notify,
}

impl Desk {
    pub(super) fn put(&self, held: Arc<Held>) {
        let mut jobs = self.lock();
        held.tell(|| Some(Live::Came));
        jobs.insert(held.id.clone(), held);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Held>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes a job off, unless another claim of the same job has taken its place.
    pub(super) fn remove(&self, held: &Arc<Held>) {
        let mut jobs = self.lock();
        if jobs.get(&held.id).is_some_and(|there| Arc::ptr_eq(there, held)) {
            jobs.remove(&held.id);
        }
        drop(jobs);
        held.tell(|| Some(Live::Left));
        self.left.notify_waiters();
    }

    /// Forgets all jobs: their tasks end without a word to the store.
    pub(super) fn forget_all(&self) {
        for held in self.all() {
            held.left.cancel();
        }
    }

    /// Resolves once no job is left.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // From here on a job that leaves is noticed, and only then is it looked whether any is there.
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }

    pub(super) fn look(&self) {
        self.looked.notify_one();
    }

    pub(super) async fn looked(&self) {
        self.looked.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Held>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
