//! The one writer of a process: takes what waits, commits it together, tells everybody; waits while the database is away.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::commit::{Outcome, Reply, commit};
use super::database::{Database, refused_value};
use super::entry::{Claim, Entry, Work};
use super::wakes::Wakes;
use super::{StoreError, Wake, limits};
use crate::job::Submitted;
use crate::metrics;

/// The writer, as those who hand something in see it.
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Entry>,
    state: Arc<State>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What the writer and those who hand something in both look at.
struct State {
    begun: Instant,
    /// Until when (milliseconds after `begun`) the database counts as away.
    away_until: AtomicU64,
    submits: AtomicUsize,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    commits: AtomicU64,
    committed: AtomicU64,
    /// A permit for each job that has ended.
    ended: Semaphore,
    metrics: metrics::Journal,
}

/// How the writer is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writing {
    /// Entries that wait for a commit.
    pub waiting: u64,
    /// Of these, jobs that were taken in.
    pub submits: u64,
    /// Bytes that wait for a commit.
    pub waiting_bytes: u64,
    /// Commits so far.
    pub commits: u64,
    /// Entries that they held.
    pub entries: u64,
    /// Whether the database is known to be away.
    pub is_away: bool,
}

impl State {
    fn is_away(&self) -> bool {
        self.now() < self.away_until.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn set_away(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.away_until.store(self.now().saturating_add(pause), Ordering::Relaxed);
    }

    fn set_back(&self) {
        self.away_until.store(0, Ordering::Relaxed);
    }
}

impl Writer {
    pub(super) fn start(database: Arc<Database>, wakes: Arc<Wakes>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            begun: Instant::now(),
            away_until: AtomicU64::new(0),
            submits: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            commits: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            ended: Semaphore::new(0),
            metrics: metrics::Journal::default(),
        });
        let work = Working {
            database,
            wakes,
            state: state.clone(),
            queue: waiting,
            waiting: VecDeque::new(),
            broken: HashMap::new(),
        };
        let task = Mutex::new(Some(tokio::spawn(work.run())));
        Self { queue, state, task }
    }

    /// Hands something in; the receiver gets its outcome.
    pub(super) fn hand_in(&self, work: Work, bytes: usize) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        let entry = Entry { work, bytes, since: Instant::now(), reply };
        if let Some(refusal) = self.refusal(&entry) {
            drop(entry.reply.send(Err(StoreError::Unavailable(refusal.to_owned()))));
            return outcome;
        }
        self.state.entries.fetch_add(1, Ordering::Relaxed);
        self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        if matches!(entry.work, Work::Submit(_)) {
            self.state.submits.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(mpsc::error::SendError(entry)) = self.queue.send(entry) {
            drop(entry.reply.send(Err(StoreError::Unavailable("the store is closed".to_owned()))));
        }
        outcome
    }

    fn refusal(&self, entry: &Entry) -> Option<&'static str> {
        let state = &self.state;
        let bytes = state.bytes.load(Ordering::Relaxed);
        if matches!(entry.work, Work::Submit(_)) {
            if state.is_away() {
                return Some("the database is away");
            }
            if state.submits.load(Ordering::Relaxed) >= limits::QUEUE_SUBMITS || bytes >= limits::QUEUE_BYTES
            {
                return Some("too many jobs wait to be written");
            }
        }
        let is_full = state.entries.load(Ordering::Relaxed) >= limits::QUEUE_ENTRIES;
        (is_full || bytes >= 2 * limits::QUEUE_BYTES).then_some("too much waits to be written")
    }

    pub(super) fn writing(&self) -> Writing {
        let state = &self.state;
        Writing {
            waiting: state.entries.load(Ordering::Relaxed) as u64,
            submits: state.submits.load(Ordering::Relaxed) as u64,
            waiting_bytes: state.bytes.load(Ordering::Relaxed) as u64,
            commits: state.commits.load(Ordering::Relaxed),
            entries: state.committed.load(Ordering::Relaxed),
            is_away: state.is_away(),
        }
    }

    pub(super) fn metrics(&self) -> metrics::Journal {
        self.state.metrics.clone()
    }

    /// Waits until so many more jobs have ended than the calls before have waited for.
    pub(super) async fn ended(&self, jobs: u32) {
        match self.state.ended.acquire_many(jobs).await {
            Ok(permits) => permits.forget(),
            // Never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until everything handed in so far is committed or given up.
    pub(super) async fn flush(&self) {
        drop(self.hand_in(Work::Flush, 0).await);
    }

    /// Ends the writer; what waits is not written.
    pub(super) fn stop(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The writer at work.
struct Working {
    database: Arc<Database>,
    wakes: Arc<Wakes>,
    state: Arc<State>,
    queue: mpsc::UnboundedReceiver<Entry>,
    waiting: VecDeque<Entry>,
    /// Claims of which something was given up: what follows it must not be written, it would leave a hole. Since when, and why.
    broken: HashMap<Claim, (Instant, StoreError)>,
}

impl Working {
    async fn run(mut self) {
        while self.fill().await {
            let batch = self.batch();
            self.write(batch).await;
        }
    }

    /// Takes up what waits; `false` once nothing will come any more.
    async fn fill(&mut self) -> bool {
        if self.waiting.is_empty() {
            match self.queue.recv().await {
                Some(entry) => self.waiting.push_back(entry),
                None => return false,
            }
        }
        self.gather().await;
        true
    }

    /// Lets others run as long as they keep handing something in: what comes close together is committed together, and a
    /// short job begins, runs and ends in one commit.
    async fn gather(&mut self) {
        let begun = Instant::now();
        let mut last = begun;
        loop {
            let n_before = self.waiting.len();
            while self.waiting.len() < limits::BATCH_ENTRIES
                && let Ok(entry) = self.queue.try_recv()
            {
                self.waiting.push_back(entry);
            }
            let now = Instant::now();
            if self.waiting.len() > n_before {
                last = now;
            }
            let is_over = now - begun >= limits::GATHER || now - last >= limits::GATHER_GAP;
            if is_over || self.waiting.len() >= limits::BATCH_ENTRIES {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next entries, in their order.
    fn batch(&mut self) -> Vec<Entry> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = self.waiting.front() {
            let is_full = batch.len() >= limits::BATCH_ENTRIES || bytes + entry.bytes > limits::BATCH_BYTES;
            if is_full && !batch.is_empty() {
                break;
            }
            bytes += entry.bytes;
            batch.extend(self.waiting.pop_front());
        }
        batch
    }

    /// Writes a batch, however often that takes within [`limits::STORE_PATIENCE`].
    async fn write(&mut self, mut batch: Vec<Entry>) {
        let mut pause = limits::RETRY_PAUSE.0;
        loop {
            batch = self.without_broken(batch);
            if batch.is_empty() {
                return;
            }
            let begun = Instant::now();
            match commit(&self.database, &batch).await {
                Ok(outcomes) => {
                    self.state.metrics.committed(batch.len(), begun.elapsed());
                    return self.tell(batch, outcomes);
                }
                Err(error) if is_away(&error) => {
                    tracing::warn!(%error, entries = batch.len(), "the store cannot be written");
                    self.state.set_away(2 * pause);
                    batch = self.without_impatient(batch, &error);
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(limits::RETRY_PAUSE.1);
                }
                Err(error) => return self.write_apart(batch, &error).await,
            }
        }
    }

    /// Something in a batch is refused for good: what belongs to one job is written by itself, so that the others do
    /// not suffer from it.
    async fn write_apart(&mut self, batch: Vec<Entry>, error: &sqlx::Error) {
        let n_jobs = batch.iter().map(|entry| entry.work.job()).collect::<HashSet<_>>().len();
        if n_jobs <= 1 {
            tracing::error!(%error, "a write is refused");
            let why = match refused_value(error) {
                Some(why) => StoreError::Refused(why),
                None => StoreError::Unavailable(format!("the database refuses this: {error}")),
            };
            for entry in batch {
                self.give_up(entry, why.clone());
            }
            return;
        }
        let mut jobs: Vec<Vec<Entry>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for entry in batch {
            let place = *places.entry(entry.work.job().to_owned()).or_insert(jobs.len());
            match jobs.get_mut(place) {
                Some(job) => job.push(entry),
                None => jobs.push(vec![entry]),
            }
        }
        for job in jobs {
            Box::pin(self.write(job)).await;
        }
    }

    /// Refuses what follows something that was given up.
    fn without_broken(&mut self, batch: Vec<Entry>) -> Vec<Entry> {
        if self.broken.is_empty() {
            return batch;
        }
        self.broken.retain(|_, (since, _)| since.elapsed() < 10 * limits::STORE_PATIENCE);
        let mut left = Vec::new();
        for entry in batch {
            match (&entry.work, entry.work.claim()) {
                // Letting go of it is the right thing to do.
                (Work::Release(releasing), _) => {
                    self.broken.remove(&releasing.claim);
                    left.push(entry);
                }
                (_, Some(claim)) if let Some((_, error)) = self.broken.get(claim) => {
                    let error = error.clone();
                    self.give_up(entry, error);
                }
                _ => left.push(entry),
            }
        }
        left
    }

    /// Gives up what has waited too long for the database.
    fn without_impatient(&mut self, batch: Vec<Entry>, error: &sqlx::Error) -> Vec<Entry> {
        let mut left = Vec::new();
        for entry in batch {
            if entry.since.elapsed() < limits::STORE_PATIENCE {
                left.push(entry);
            } else {
                // An attempt whose answer was lost may have written it.
                self.give_up(entry, StoreError::Unsure(error.to_string()));
            }
        }
        left
    }

    fn give_up(&mut self, entry: Entry, error: StoreError) {
        if let Some(claim) = entry.work.claim() {
            self.broken.entry(claim.clone()).or_insert((Instant::now(), error.clone()));
        }
        self.done(&entry);
        drop(entry.reply.send(Err(error)));
    }

    fn done(&self, entry: &Entry) {
        self.state.entries.fetch_sub(1, Ordering::Relaxed);
        self.state.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
        if matches!(entry.work, Work::Submit(_)) {
            self.state.submits.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tell(&mut self, batch: Vec<Entry>, outcomes: Vec<Outcome>) {
        self.state.set_back();
        self.state.commits.fetch_add(1, Ordering::Relaxed);
        self.state.committed.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut changed = BTreeSet::new();
        let (mut is_work, mut is_wanted) = (false, false);
        for (entry, outcome) in batch.into_iter().zip(outcomes) {
            if matches!(entry.work, Work::End(_)) && outcome.is_ok() {
                self.state.ended.add_permits(1);
            }
            is_work |= match &entry.work {
                Work::Submit(submission) => {
                    submission.job.claimed_by.is_none()
                        && matches!(outcome, Ok(Reply::Submitted(Submitted::New)))
                }
                // A job that was asked for something while it parked is in the queue again.
                Work::Release(_) | Work::Park(_) => true,
                _ => false,
            };
            let job = entry.work.job();
            // Nobody knows a new job before its submission is answered.
            let is_known = !job.is_empty() && !matches!(entry.work, Work::Submit(_));
            if let Ok(Reply::Cancelled(jobs)) = &outcome {
                is_wanted |= jobs.iter().any(|(_, status)| !status.is_final());
                changed
                    .extend(jobs.iter().filter(|(_, status)| status.is_final()).map(|(job, _)| job.clone()));
            }
            if outcome.is_ok() && is_known && !changed.contains(job) {
                changed.insert(job.to_owned());
            }
            if let (Err(error), Some(claim)) = (&outcome, entry.work.claim()) {
                self.broken.insert(claim.clone(), (Instant::now(), error.clone()));
            }
            self.done(&entry);
            // Whoever asked may have gone.
            drop(entry.reply.send(outcome));
        }
        if !changed.is_empty() {
            self.wakes.tell(Wake::Changed(changed.into_iter().collect()));
        }
        if is_wanted {
            self.wakes.tell(Wake::Wanted);
        }
        if is_work {
            self.wakes.tell(Wake::Work);
        }
    }
}

/// Whether the same write may succeed later.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        // Something was left open by a failure; the connection is replaced.
        | sqlx::Error::InvalidSavePointStatement
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let is_postgres = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some();
            if is_postgres {
                // Connection, resources, operator's intervention, the system; transactions that hindered each other;
                // a server that only reads because another takes its place; a transaction that stood still for too long.
                let class = code.get(..2).unwrap_or_default();
                ["08", "53", "57", "58", "40"].contains(&class)
                    || ["25006", "25P03", "55P03"].contains(&&*code)
            } else {
                // Busy, locked, no memory, read-only, input or output failed, disk full, cannot be opened.
                matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(5..=8 | 10 | 13 | 14))
            }
        }
        _ => false,
    }
}
