//! The driver of one run: one future that performs actions, journals what came of them, and feeds it back.
//!
//! Everything in flight lives in here, so dropping the driver stops it all. What is ready at once is polled in place;
//! only what has to wait costs a wake-up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep};

use super::inbox::{Answer, Reply};
use super::report::Nodes;
use super::{Durability, Error, Notice, Options, Outcome, Report, execute::execute, offload};
use crate::backend::Caller;
use crate::cx::{Cx, Progress, Resources, RunContext, Spent};
use crate::event::{Event, Failure, Record, Timer, Timing};
use crate::limits;
use crate::operator::PlanKit;
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, RunState, Setup, Start};
use crate::value::Value;

mod abort;
mod behind;
mod notes;
mod pause;
mod replay;
mod timers;

use behind::{Batch, Behind};

/// Node executions that may end in place before other tasks get their turn.
const IN_A_ROW: usize = 128;

type Work = Pin<Box<dyn Future<Output = Woke> + Send>>;
type Outputs = Result<Vec<Option<Value>>, Failure>;

/// What something in flight came to.
enum Woke {
    Ended(Box<Running>, Outputs),
    Delayed(Box<Start>),
    /// A timer, and how old the run is when it is due.
    Timer(Timer, Duration),
}

/// What goes with an event until it is applied.
enum Attached {
    Nothing,
    /// What the event holds in the budgets.
    Spent(Spent),
    /// Where it is told whether an answer was taken.
    Reply(Reply),
}

/// An attempt in flight.
struct Running {
    cx: Arc<Cx>,
    op: &'static str,
    cache: Option<(Duration, String)>,
    ready: Instant,
    began: Instant,
    /// How long it ran, if that was elsewhere: the rest of its time it waited for that.
    away: Option<Duration>,
}

/// Work in flight that can be dropped from outside.
#[derive(Clone)]
struct Abortable(Arc<Mutex<Option<Work>>>);

impl Future for Abortable {
    type Output = Option<Woke>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match work.as_mut() {
            None => Poll::Ready(None),
            Some(running) => running.as_mut().poll(cx).map(|woke| {
                *work = None;
                Some(woke)
            }),
        }
    }
}

/// Something in flight that an abort can reach.
struct InFlight {
    work: Abortable,
    /// The running attempt; none while it waits for its next.
    attempt: Option<Begun>,
}

/// An attempt that has begun.
struct Begun {
    cx: Arc<Cx>,
    op: &'static str,
    ready: Instant,
    began: Instant,
}

pub(super) struct Driver {
    pub(super) state: RunState,
    pub(super) options: Options,
    pub(super) context: Arc<RunContext>,
    /// What has happened and is not applied yet.
    inbox: VecDeque<(Event, Attached)>,
    /// What the journal has taken and not made safe, with what waits for that.
    behind: Behind,
    /// Attempts with effects, until the journal has it that they begin.
    effects: HashMap<Scope, Box<Start>>,
    /// Attempts of which the journal has it that they begin: they do, whatever else is held up.
    promised: VecDeque<(Box<Start>, Instant)>,
    /// Joins with a deadline that has not passed: a run in which one may start has not come to rest.
    joins: HashSet<Scope>,
    /// Timers that ran out while the run rested, and so were early by its own clock.
    early: Vec<(Timer, Duration)>,
    /// Attempts that wait for a free place, and since when.
    ready: VecDeque<(Box<Start>, Instant)>,
    waiting: FuturesUnordered<Abortable>,
    in_flight: HashMap<Scope, InFlight>,
    n_running: usize,
    nodes: Nodes,
}

impl Driver {
    /// A driver whose run is `elapsed` old.
    pub(super) fn new(
        plan: Arc<Plan>,
        resources: Arc<Resources>,
        options: Options,
        elapsed: Duration,
    ) -> Self {
        let now = Instant::now();
        let on_progress = options.observer.clone().map(|observer| {
            let tell = move |scope: &Scope, progress: Progress| {
                observer.notice(&Notice::Progress { scope: scope.clone(), progress: Some(progress) });
            };
            Arc::new(tell) as Arc<dyn Fn(&Scope, Progress) + Send + Sync>
        });
        let context = RunContext {
            run: options.id.clone(),
            seed: options.seed,
            resources,
            caller: Caller { run: Some(options.id.0.clone()), ..options.caller.clone() },
            deadline: options.deadline,
            purse: options.purse.clone(),
            started: now.checked_sub(elapsed).unwrap_or(now),
            rested_ns: AtomicU64::new(0),
            on_progress,
            observer: options.observer.clone(),
        };
        let setup = Setup {
            stubs: options.stubs.clone(),
            budget: options.budget,
            notes: options.details || options.observer.is_some(),
            keep_plans: false,
        };
        Self {
            state: RunState::new(plan, setup),
            options,
            context: Arc::new(context),
            inbox: VecDeque::new(),
            behind: Behind::default(),
            effects: HashMap::new(),
            promised: VecDeque::new(),
            joins: HashSet::new(),
            early: Vec::new(),
            ready: VecDeque::new(),
            waiting: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            n_running: 0,
            nodes: Nodes::default(),
        }
    }

    pub(super) fn happened(&mut self, event: Event) {
        self.inbox.push_back((event, Attached::Nothing));
    }

    /// Drives the run to its end, or to where it only waits or has paused.
    pub(super) async fn drive(mut self) -> Result<Report, Error> {
        let (cancel, pause) = (self.options.cancel.clone(), self.options.pause.clone());
        let (cancelled, paused) = (cancel.cancelled(), pause.cancelled());
        tokio::pin!(cancelled, paused);
        let mut n_in_a_row = 0;
        loop {
            self.take_in()?;
            if let Some(result) = self.state.result().cloned() {
                if self.options.flush_end {
                    self.behind.caught_up().await?;
                }
                return Ok(self.report(result));
            }
            if cancel.is_cancelled() {
                self.happened(Event::CancelRequested { reason: "cancelled".into() });
                continue;
            }
            let is_pausing = pause.is_cancelled();
            if is_pausing && self.has_paused() {
                self.behind.caught_up().await?;
                return Ok(self.rested(Outcome::Paused));
            }
            // Start what there is room for; stop to take in results after a while, so that they are not held up.
            while self.n_running < self.options.concurrency.max(1)
                && self.inbox.len() < IN_A_ROW
                && self.behind.n_records() <= limits::JOURNAL_BEHIND
                && let Some((start, ready)) = self.next_start(is_pausing)
            {
                self.start(start, ready).await;
            }
            if !self.inbox.is_empty() {
                n_in_a_row += self.inbox.len();
                if n_in_a_row >= IN_A_ROW {
                    n_in_a_row = 0;
                    tokio::task::yield_now().await;
                    // A chain that never waits must not hold up those that do, nor the timers.
                    self.take_woken();
                }
                continue;
            }
            let at_rest = self.is_at_rest();
            if self.is_idle() && self.behind.is_empty() {
                if at_rest && self.may_park() {
                    let waits = self.state.open_waits();
                    return Ok(self.rested(Outcome::Waiting { waits }));
                }
                if self.state.n_waits() == 0 {
                    // Whatever waits, waits for something in flight: this cannot happen, and must not hang if it does.
                    return Err(Error::Stuck);
                }
            }
            if !at_rest {
                self.rearm();
            }
            let since = Instant::now();
            let woke = tokio::select! {
                biased;
                () = &mut cancelled => None,
                () = &mut paused, if !is_pausing => None,
                safe = self.behind.next(), if !self.behind.is_empty() => {
                    let safe = safe?;
                    self.release(safe);
                    None
                }
                Some(woke) = self.waiting.next() => woke,
                () = self.options.inbox.arrived() => None,
            };
            if at_rest {
                self.context.rest(since.elapsed());
            }
            self.woke(woke);
            // Others that are through by now go into the same batch.
            self.take_woken();
        }
    }

    fn take_woken(&mut self) {
        while let Some(Some(woke)) = futures::FutureExt::now_or_never(self.waiting.next()) {
            self.woke(woke);
        }
    }

    /// Applies what has happened, gives it to the journal, and does what follows from it: at once, or once it is safe.
    fn take_in(&mut self) -> Result<(), Error> {
        while let Some(Answer { scope, value, by, reply }) = self.options.inbox.pop() {
            self.inbox.push_back((Event::WaitAnswered { scope, value, by }, Attached::Reply(reply)));
        }
        let mut records = Vec::new();
        let mut follows = Batch::default();
        while let Some((event, attached)) = self.inbox.pop_front() {
            if let Event::WaitAnswered { scope, value, .. } = &event
                && let Err(error) = self.state.check_answer(scope, value)
            {
                if let Attached::Reply(reply) = attached {
                    // Whoever asked may have stopped to listen.
                    let _unheard = reply.send(Err(error));
                }
                continue;
            }
            if self.state.is_moot(&event) {
                continue;
            }
            let record = Record { seq: self.state.n_events(), at: self.context.elapsed(), event };
            let actions = self.state.apply(&record)?;
            if let Attached::Reply(reply) = attached {
                follows.replies.push(reply);
            }
            if let Event::EffectBegan { scope, .. } = &record.event
                && let Some(start) = self.effects.remove(scope)
            {
                follows.effects.push(start);
            }
            for action in actions {
                match action {
                    Action::Start(start) => follows.starts.push(start),
                    Action::Abort(scope) => {
                        follows.drop_starts(&scope);
                        self.abort(&scope);
                    }
                    Action::Ask { scope, deadline } => self.ask(scope, deadline),
                    Action::SetTimer { timer, after } => self.set_timer(timer, after),
                    Action::SetAlarm { timer, until_ms } => self.set_alarm(timer, until_ms),
                    Action::Note(notice) => self.note(&notice),
                    Action::Finish => {}
                }
            }
            if self.options.journal.is_some() {
                records.push(record);
            }
            if self.state.result().is_some() {
                // Late news of a run that has ended; only what was spent still counts.
                self.inbox.retain(|(event, _)| matches!(event, Event::AttemptAborted { .. }));
            }
        }
        if let Some(journal) = &self.options.journal
            && !records.is_empty()
        {
            let n_records = records.len();
            match journal.append(&self.options.id, records).known() {
                Ok(result) => result?,
                Err(receipt) => {
                    if self.options.durability == Durability::Pipelined {
                        for start in std::mem::take(&mut follows.starts) {
                            self.begin(start);
                        }
                    }
                    self.behind.push(receipt, n_records, follows);
                    return Ok(());
                }
            }
        }
        self.release(follows);
        Ok(())
    }

    /// Does what waited for the journal.
    fn release(&mut self, batch: Batch) {
        for start in batch.starts {
            self.begin(start);
        }
        for mut start in batch.effects {
            // The journal has it: from here on it is an attempt like any other.
            start.has_effects = false;
            self.promised.push_back((start, Instant::now()));
        }
        for reply in batch.replies {
            let _unheard = reply.send(Ok(()));
        }
    }

    /// Queues an attempt, after its delay.
    fn begin(&mut self, start: Box<Start>) {
        if start.delay.is_zero() {
            self.ready.push_back((start, Instant::now()));
            return;
        }
        let scope = start.scope.clone();
        let work: Work = Box::pin(async move {
            sleep(start.delay).await;
            Woke::Delayed(start)
        });
        let work = Abortable(Arc::new(Mutex::new(Some(work))));
        self.waiting.push(work.clone());
        self.in_flight.insert(scope, InFlight { work, attempt: None });
    }

    /// Starts an attempt; if it ends at once, its end is in the inbox already.
    async fn start(&mut self, mut start: Box<Start>, ready: Instant) {
        if start.has_effects && self.options.journal.is_some() {
            let (scope, attempt) = (start.scope.clone(), start.attempt);
            start.delay = Duration::ZERO;
            self.effects.insert(scope.clone(), start);
            self.happened(Event::EffectBegan { scope, attempt });
            return;
        }
        let (scope, attempt, op) = (start.scope.clone(), start.attempt, start.op);
        if self.options.details || self.options.observer.is_some() {
            let inputs = start.named_inputs();
            self.note(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
        }
        let cx = Cx::new(self.context.clone(), scope.clone(), attempt, start.ledger.clone());
        let cx = Arc::new(cx.with_kit(start.kit.clone().map(|kit| kit as Arc<dyn PlanKit>)));
        let cache = start.cache.clone();
        let (began, away) = (Instant::now(), None);
        let mut running = Box::new(Running { cx: cx.clone(), op, cache, ready, began, away });
        if self.options.use_cache
            && let Some((_, key)) = &running.cache
        {
            let found = self.context.resources.cache.get(key);
            if let Some(observer) = &self.options.observer {
                observer.looked_up(op, found.is_some());
            }
            if let Some(outputs) = found {
                self.ended(&running, Ok((*outputs).clone()));
                return;
            }
        }
        if start.idle_timeout.is_some() {
            cx.touch();
        }
        let for_work = cx.clone();
        let offload = self.offload_for(&start);
        let mut work: Work = Box::pin(async move {
            let result = match offload {
                None => execute(start, for_work).await,
                Some((offload, task)) => {
                    // Boxed: the many that stay here need not carry the room for it.
                    let there = Box::pin(offload::execute(&*offload, task, start, for_work));
                    let (result, ran) = there.await;
                    running.away = ran;
                    result
                }
            };
            Woke::Ended(running, result)
        });
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(Woke::Ended(running, result)) => self.ended(&running, result),
            Poll::Ready(Woke::Delayed(_) | Woke::Timer(..)) => {}
            Poll::Pending => {
                self.n_running += 1;
                let work = Abortable(Arc::new(Mutex::new(Some(work))));
                self.waiting.push(work.clone());
                self.in_flight
                    .insert(scope, InFlight { work, attempt: Some(Begun { cx, op, ready, began }) });
            }
        }
    }

    fn woke(&mut self, woke: Option<Woke>) {
        match woke {
            // Aborted before.
            None => {}
            Some(Woke::Timer(timer, due)) => self.timer_ran_out(timer, due),
            Some(Woke::Delayed(start)) => {
                self.in_flight.remove(&start.scope);
                self.ready.push_back((start, Instant::now()));
            }
            Some(Woke::Ended(running, result)) => {
                self.n_running -= 1;
                self.in_flight.remove(running.cx.scope());
                self.ended(&running, result);
            }
        }
    }

    fn ended(&mut self, running: &Running, result: Outputs) {
        let spent = running.cx.close();
        let usage = spent.usage;
        let now = Instant::now();
        let ran = running.away.unwrap_or(now - running.began);
        let timing = Timing { queued: (now - running.ready).saturating_sub(ran), ran };
        let (scope, attempt) = (running.cx.scope().clone(), running.cx.attempt());
        if let (Some((ttl, key)), Ok(outputs)) = (&running.cache, &result) {
            self.context.resources.cache.put(key.clone(), *ttl, outputs.clone());
        }
        if self.options.details || self.options.observer.is_some() {
            self.note_ended(&scope, running.op, attempt, &result, usage, timing);
        }
        self.inbox.push_back((
            Event::AttemptEnded { scope, attempt, result, usage, timing },
            Attached::Spent(spent),
        ));
    }
}
