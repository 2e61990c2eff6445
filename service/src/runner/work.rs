//! One job in this process, from its claim to its end, its parking or its loss.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anabranch_engine::event::RunId;
use anabranch_engine::journal;
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{self, Durability, Outcome, Report};
use anabranch_engine::value::{Map, Text, Value};
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, broadcast, oneshot};
use tokio::time::{Instant, sleep};

use super::end::{self, Stopped};
use super::held::Held;
use super::journal::Watched;
use super::spread::Spread;
use super::traced::Traced;
use super::{Inner, Live, POLL, RETRY, caller, now_ms};
use crate::fault::{reach, reach_with};
use crate::flows::FlowError;
use crate::job::{End, OpenWait, Progress, Status, Submitted, Usage};
use crate::store::{Claimed, Receipt, StoreError};

/// Times that a run is read again because its last owner wrote while it was read.
const TAKE_UPS: usize = 20;

/// A job that this process is about to work on.
pub(super) struct Begun {
    pub(super) claimed: Claimed,
    /// As whom this process has claimed it.
    pub(super) worker: Arc<str>,
    /// Its flow, if it is at hand.
    pub(super) plan: Option<Arc<Plan>>,
    /// Its submission, if this is where it was submitted.
    pub(super) submission: Option<Submission>,
    /// Whether it cannot have a journal.
    pub(super) is_new: bool,
    /// Where it is told what came of it.
    pub(super) told: Option<oneshot::Sender<Told>>,
    /// Where those listen who watch it from its beginning.
    pub(super) live: Option<broadcast::Sender<Live>>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A submission on its way to the disk.
pub(super) struct Submission {
    pub(super) receipt: Receipt<Submitted>,
    pub(super) tell: oneshot::Sender<Result<Submitted, StoreError>>,
    /// Whether nothing may be done before it has arrived.
    pub(super) must_be_kept_first: bool,
}

/// What came of a job here, once that is on disk.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a job, and nearly always the large one")]
pub(super) enum Told {
    Ended(End),
    /// It waits, or another worker goes on with it.
    Left,
}

/// What is to be written about a job when its work here is over.
#[expect(clippy::large_enum_variant, reason = "one a job, and nearly always the large one")]
enum Closing {
    End(End),
    Park {
        waits: Vec<OpenWait>,
        usage: Usage,
        progress: Progress,
    },
    /// Another worker goes on, since this one leaves.
    HandOver,
    /// Another worker tries, since this one could not write what happened.
    GiveUp,
}

/// Takes a job off the desk however its task ends, and lets the next one have its place.
struct Seat {
    inner: Arc<Inner>,
    held: Arc<Held>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.inner.desk.remove(&self.held);
        self.inner.work.notify_one();
    }
}

/// Works on a job until it has ended or parked, and the store knows; or until it is another's.
pub(super) async fn work(inner: Arc<Inner>, begun: Begun) {
    let Begun { claimed, worker, plan, submission, is_new, told, live, permit } = begun;
    let held = Held::new(&claimed.id, claimed.epoch, live, &inner.options.metrics);
    let seat = Seat { inner: inner.clone(), held: held.clone(), permit: Some(permit) };
    let mut kept = None;
    match submission {
        Some(submission) if submission.must_be_kept_first => match forward(submission).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(()) => return let_go(&inner, &held, LetGo::HandOver).await,
        },
        submission => kept = submission,
    }
    inner.desk.put(held.clone());
    held.obey(claimed.wanted);
    if inner.is_draining.load(Ordering::Relaxed) {
        held.pause.cancel();
    }
    if !inner.lease.is(&worker) {
        // The lease ended between the claim and here: the job is on its way to another worker.
        return;
    }
    let traced = Arc::new(Traced::new(&inner.options.telemetry, &claimed, held.clone()));
    let job = Job { inner: &inner, held: &held, claimed: &claimed, worker: &worker, traced: &traced };
    let carried = async {
        let closing = match AssertUnwindSafe(Box::pin(job.carry(plan, is_new))).catch_unwind().await {
            Ok(closing) => closing,
            Err(_panic) => Some(Closing::End(end::refused(
                "internal",
                "internal",
                "the engine panicked, which is a bug".to_owned(),
            ))),
        };
        match closing {
            Some(closing) => job.close(closing).await,
            None => None,
        }
    };
    let came_of_it = {
        let forwarded = async {
            match kept {
                Some(submission) => forward(submission).await,
                None => Ok(true),
            }
        };
        tokio::pin!(carried, forwarded);
        let mut is_forwarded = false;
        loop {
            tokio::select! {
                biased;
                () = held.left.cancelled() => break None,
                is_kept = &mut forwarded, if !is_forwarded => {
                    is_forwarded = true;
                    if is_kept != Ok(true) {
                        held.is_handed_over.store(is_kept.is_err(), Ordering::Relaxed);
                        break None;
                    }
                }
                came_of_it = &mut carried => {
                    // Both went into one commit: whoever submitted hears of it in any case.
                    if !is_forwarded {
                        let _is_kept = forwarded.await;
                    }
                    break came_of_it;
                }
            }
        }
    };
    if came_of_it.is_none() && held.is_handed_over.load(Ordering::Relaxed) {
        // All that ran is dropped by now: the next owner cannot meet it.
        let_go(&inner, &held, LetGo::HandOver).await;
    }
    // Whoever waited and comes back at once finds the place free.
    drop(seat);
    if let (Some(told), Some(came_of_it)) = (told, came_of_it) {
        // Whoever waited may have gone.
        let _unheard = told.send(came_of_it);
    }
}

/// Passes on what came of a submission; whether it made a job, if the store knows.
async fn forward(submission: Submission) -> Result<bool, ()> {
    let submitted = submission.receipt.await;
    let is_new = submitted.as_ref().map(|submitted| *submitted == Submitted::New).map_err(|_| ());
    // Whoever submitted may have gone; the job goes on.
    let _unheard = submission.tell.send(submitted);
    is_new
}

/// How a job is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LetGo {
    /// Through no fault of the job: that is no claim that came to nothing.
    HandOver,
    /// It could not be carried on.
    GiveUp,
}

/// Lets go of a job that this process does not work on after all, until the store has it or the lease is over.
async fn let_go(inner: &Inner, held: &Held, how: LetGo) {
    let mut pause = RETRY;
    loop {
        let receipt = match how {
            LetGo::HandOver => inner.store.release(&held.id, held.epoch),
            LetGo::GiveUp => inner.store.give_up(&held.id, held.epoch),
        };
        match receipt.await {
            Err(error) if error.is_passing() && !inner.closed.is_cancelled() => {}
            _ => return,
        }
        sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
}

/// What the steps of a job's work share.
#[derive(Clone, Copy)]
struct Job<'a> {
    inner: &'a Arc<Inner>,
    held: &'a Arc<Held>,
    claimed: &'a Claimed,
    worker: &'a Arc<str>,
    traced: &'a Arc<Traced>,
}

impl Job<'_> {
    /// Carries the run as far as it goes; `None` if the job is lost.
    async fn carry(self, plan: Option<Arc<Plan>>, is_new: bool) -> Option<Closing> {
        reach("runner::claimed");
        let (claimed, metrics) = (self.claimed, &self.inner.options.metrics);
        if claimed.epoch == 1 {
            metrics.started(between(claimed.ready_ms, claimed.started_ms));
        }
        if claimed.claims > i32::try_from(self.inner.options.claims_max).unwrap_or(i32::MAX) {
            let n = claimed.claims - 1;
            let message =
                format!("{n} workers in a row were lost on it, or gave it up, before it got any further");
            metrics.set_aside();
            return Some(Closing::End(end::refused("set_aside", "set_aside", message)));
        }
        let plan = match plan {
            Some(plan) => plan,
            None => match self.pinned().await {
                Ok(plan) => plan,
                Err(end) => return Some(Closing::End(end)),
            },
        };
        reach_with("runner::begun", &claimed.flow);
        let purse = self.inner.purse(&claimed.tenant, claimed.created_by.as_deref()).await;
        let options = run::Options { purse, ..self.options() };
        let result = Box::pin(self.within_deadline(self.run(&plan, options.clone(), is_new))).await;
        let report = match result {
            Ok(report) => report,
            Err(error) => return of_error(&error),
        };
        self.closing(report, plan, options).await
    }

    /// What is to be written about a run that gave `report`.
    async fn closing(self, mut report: Report, plan: Arc<Plan>, options: run::Options) -> Option<Closing> {
        let is_at_rest = matches!(report.outcome, Outcome::Waiting { .. } | Outcome::Paused);
        if is_at_rest && self.is_to_stop() {
            // What was in flight has ended: now the run ends as one that was cancelled.
            self.held.cancel.cancel();
            self.held.begin_again();
            let options = run::Options { taken_up: None, ..options };
            report = match run::resume(plan, self.inner.resources.of(&self.claimed.tenant), options).await {
                Ok(report) => report,
                Err(error) => return of_error(&error),
            };
        }
        Some(match &report.outcome {
            Outcome::Waiting { waits } => Closing::Park {
                waits: end::of_waits(waits),
                usage: end::of_usage(report.usage),
                progress: self.held.progress(),
            },
            Outcome::Paused => Closing::HandOver,
            _ => Closing::End(end::of_report(&report, self.why_stopped(), self.held.progress())),
        })
    }

    /// The plan of the job's flow; what the job comes to if there is none.
    async fn pinned(self) -> Result<Arc<Plan>, End> {
        let mut pause = RETRY;
        loop {
            match self.inner.flows.pinned(&self.claimed.hash).await {
                Ok(plan) => return Ok(plan),
                Err(FlowError::Store(StoreError::Unavailable(_)) | FlowError::Busy) => {}
                Err(error) => return Err(end::refused("internal", "invalid_flow", error.to_string())),
            }
            // Bounded by the lease: without the store it ends, and this task with it.
            sleep(pause).await;
            pause = (pause * 2).min(POLL);
        }
    }

    fn options(self) -> run::Options {
        let journal = Watched { inner: self.inner.store.journal(self.held.epoch), held: self.held.clone() };
        run::Options {
            id: RunId(self.held.id.clone()),
            seed: self.claimed.request.seed,
            journal: Some(Arc::new(journal)),
            durability: if self.inner.options.is_stepwise { Durability::Step } else { Durability::Pipelined },
            taken_up: Some((self.worker.clone(), u64::try_from(self.held.epoch).unwrap_or_default())),
            park: true,
            inbox: self.held.inbox.clone(),
            offload: self.inner.options.spread.map(|threshold| {
                Arc::new(Spread {
                    inner: self.inner.clone(),
                    job: self.held.id.clone(),
                    tenant: self.claimed.tenant.clone(),
                    hash: self.claimed.hash.clone(),
                    worker: self.worker.clone(),
                    threshold,
                }) as Arc<dyn run::Offload>
            }),
            observer: Some(self.traced.clone()),
            cancel: self.held.cancel.clone(),
            pause: self.held.pause.clone(),
            budget: self.claimed.request.budget,
            caller: caller::of(self.claimed),
            deadline: self.time_left().and_then(|left| Instant::now().checked_add(left)),
            use_cache: self.claimed.request.cache,
            details: false,
            flush_end: false,
            ..run::Options::default()
        }
    }

    /// Takes the run up from its journal; begins it if there is none.
    async fn run(self, plan: &Arc<Plan>, options: run::Options, is_new: bool) -> Result<Report, run::Error> {
        let tries = if is_new { 0 } else { TAKE_UPS };
        for n_tries in 1..=tries {
            self.held.begin_again();
            self.pass_answers().await;
            match run::resume(plan.clone(), self.inner.resources.of(&self.claimed.tenant), options.clone())
                .await
            {
                Err(run::Error::NothingToResume(_)) => break,
                // The last owner wrote something between the reading and the taking up: that belongs to the run.
                Err(run::Error::Journal(journal::Error::Fenced { .. }))
                    if n_tries < TAKE_UPS && self.is_ours().await => {}
                result => return result,
            }
        }
        self.held.is_replaying.store(false, Ordering::Relaxed);
        let inputs: Map = self
            .claimed
            .request
            .inputs
            .iter()
            .map(|(name, value)| (Text::from(name.as_str()), Value::from_json(value.clone())))
            .collect();
        run::run(plan.clone(), inputs, self.inner.resources.of(&self.claimed.tenant), options).await
    }

    /// Whether the job is still this claim's. Each time that it is, and the journal has grown nevertheless, the last owner
    /// has written: it can do that only until its own lease ends.
    async fn is_ours(self) -> bool {
        sleep(RETRY).await;
        match self.inner.store.job(None, &self.held.id).await {
            Ok(Some(job)) => job.epoch == self.held.epoch && job.status == Status::Running,
            _ => false,
        }
    }

    /// Cancels the run when the job's deadline passes.
    async fn within_deadline(
        self,
        run: impl Future<Output = Result<Report, run::Error>>,
    ) -> Result<Report, run::Error> {
        let Some(left) = self.time_left() else { return run.await };
        if left.is_zero() {
            // It queued for too long: nothing of it begins any more.
            self.held.cancel.cancel();
            return run.await;
        }
        tokio::pin!(run);
        tokio::select! {
            biased;
            result = &mut run => return result,
            () = sleep(left) => self.held.cancel.cancel(),
        }
        run.await
    }

    fn time_left(self) -> Option<Duration> {
        let left = self.claimed.deadline_ms?.saturating_sub(now_ms());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    fn why_stopped(self) -> Stopped {
        let is_late = self.time_left().is_some_and(|left| left.is_zero());
        let is_asked = self.held.is_cancel_asked.load(Ordering::Relaxed);
        if is_late && !is_asked { Stopped::TimedOut } else { Stopped::Asked }
    }

    fn is_to_stop(self) -> bool {
        self.held.is_cancel_asked.load(Ordering::Relaxed) || self.held.cancel.is_cancelled()
    }

    /// Passes the answers on that the store has and the run has not seen.
    async fn pass_answers(self) {
        if let Err(error) = self.inner.pass_answers(self.held).await {
            // The flag stays: it is tried again with the next look at what is wanted.
            tracing::debug!(job = %self.held.id, %error, "answers could not be read");
        }
    }

    /// Counts the end of a job.
    fn count(self, told: &Told) {
        if let Told::Ended(end) = told {
            let Claimed { tenant, flow, started_ms, .. } = self.claimed;
            let took = between(*started_ms, now_ms());
            self.inner.options.metrics.finished(tenant, flow, end.status, took);
        }
    }

    /// Writes what the work came to; `None` if the job is no longer this worker's, or has to be carried on by another.
    async fn close(self, closing: Closing) -> Option<Told> {
        let (store, id, epoch) = (&self.inner.store, &*self.held.id, self.held.epoch);
        let (receipt, told) = match closing {
            Closing::End(end) => {
                reach("runner::before_end");
                (store.end(id, epoch, end.clone()), Told::Ended(end))
            }
            Closing::Park { waits, usage, progress } => {
                reach("runner::before_park");
                (store.park(id, epoch, waits, usage, progress), Told::Left)
            }
            Closing::HandOver => {
                reach("runner::before_release");
                let_go(self.inner, self.held, LetGo::HandOver).await;
                return Some(Told::Left);
            }
            Closing::GiveUp => {
                reach("runner::before_release");
                let_go(self.inner, self.held, LetGo::GiveUp).await;
                return Some(Told::Left);
            }
        };
        match receipt.await {
            Ok(()) => {
                reach("runner::closed");
                match &told {
                    Told::Ended(end) => self.traced.ended(end),
                    Told::Left => self.traced.parked(),
                }
                self.count(&told);
                Some(told)
            }
            Err(error) if error.is_passing() || matches!(error, StoreError::Refused(_)) => {
                // Parts of the journal may be missing, too: what was not written is done again.
                tracing::warn!(job = id, %error, "the end of a job could not be written: it is queued again");
                let_go(self.inner, self.held, LetGo::GiveUp).await;
                None
            }
            Err(error) => {
                self.inner.options.metrics.fenced();
                tracing::debug!(job = id, %error, "the job is not ours any more");
                None
            }
        }
    }
}

/// The time between two moments (unix ms); none if the clock went back meanwhile.
fn between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

/// What is to be written about a run that could not be carried through; `None` if the job is another's.
fn of_error(error: &run::Error) -> Option<Closing> {
    match error {
        run::Error::Journal(journal::Error::Fenced { .. }) => None,
        run::Error::Journal(journal::Error::Unavailable(_)) => Some(Closing::GiveUp),
        run::Error::Inputs(problems) => {
            Some(Closing::End(end::refused("failed", "invalid_input", problems.join("; "))))
        }
        run::Error::Stuck | run::Error::NothingToResume(_) | run::Error::History(_) => {
            Some(Closing::End(end::refused("internal", "internal", error.to_string())))
        }
    }
}
