//! The driver of one run: one future that performs actions, journals what came of them, and feeds it back.
//!
//! Everything in flight lives in here, so dropping the driver stops it all. What is ready at once is polled in place;
//! only what has to wait costs a wake-up.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep};

use super::report::Nodes;
use super::{Error, Notice, Options, Report, execute::execute};
use crate::backend::Usage;
use crate::cx::{Cx, Progress, Resources, RunContext, Spent};
use crate::event::{Event, Failure, Record, Timer, Timing};
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, RunResult, RunState, Setup, Start};
use crate::value::{Map, Text, Value};

/// Node executions that may end in place before other tasks get their turn.
const IN_A_ROW: usize = 128;

type Work = Pin<Box<dyn Future<Output = Woke> + Send>>;
type Outputs = Result<Vec<Option<Value>>, Failure>;

/// What something in flight came to.
enum Woke {
    Ended(Box<Running>, Outputs),
    Delayed(Box<Start>),
    Timer(Timer),
}

/// An attempt in flight.
struct Running {
    cx: Arc<Cx>,
    op: &'static str,
    cache: Option<(Duration, String)>,
    ready: Instant,
    began: Instant,
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
    /// The context of a running attempt; none while it waits for its next.
    cx: Option<Arc<Cx>>,
}

pub(super) struct Driver {
    state: RunState,
    options: Options,
    context: Arc<RunContext>,
    /// What has happened and is not applied yet, with what it holds in the budgets until then.
    inbox: VecDeque<(Event, Option<Spent>)>,
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
            started: now.checked_sub(elapsed).unwrap_or(now),
            on_progress,
        };
        let setup = Setup {
            stubs: options.stubs.clone(),
            budget: options.budget,
            notes: options.details || options.observer.is_some(),
        };
        Self {
            state: RunState::new(plan, setup),
            options,
            context: Arc::new(context),
            inbox: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            n_running: 0,
            nodes: Nodes::default(),
        }
    }

    pub(super) fn happened(&mut self, event: Event) {
        self.inbox.push_back((event, None));
    }

    /// Rebuilds the run from its journal. What had begun and not ended is begun again by [`Driver::drive`].
    pub(super) fn replay(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut begun: Vec<Box<Start>> = Vec::new();
        let mut timers: Vec<(Timer, Duration)> = Vec::new();
        for record in records {
            if let Event::AttemptEnded { scope, attempt, result, usage, timing } = &record.event
                && let Some(position) = begun.iter().position(|start| start.scope == *scope)
            {
                let start = begun.remove(position);
                let (op, attempt) = (start.op, *attempt);
                let inputs = start.named_inputs();
                self.note(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
                self.note_ended(scope, op, attempt, result, *usage, *timing);
            }
            for action in self.state.apply(record)? {
                match action {
                    Action::Start(start) => begun.push(start),
                    Action::Abort(scope) => begun.retain(|start| start.scope != scope),
                    Action::SetTimer { timer, after } => timers.push((timer, record.at + after)),
                    Action::Note(notice) => self.note(&notice),
                    Action::Finish => {}
                }
            }
        }
        self.context = Arc::new(RunContext {
            run: self.context.run.clone(),
            seed: self.state.seed(),
            resources: self.context.resources.clone(),
            started: self.context.started,
            on_progress: self.context.on_progress.clone(),
        });
        let elapsed = self.context.started.elapsed();
        timers.retain(|(timer, _)| self.state.awaits(timer));
        for (timer, at) in timers {
            self.set_timer(timer, at.saturating_sub(elapsed));
        }
        for start in begun {
            self.begin(start);
        }
        Ok(())
    }

    /// Drives the run to its end.
    pub(super) async fn drive(mut self) -> Result<Report, Error> {
        let cancel = self.options.cancel.clone();
        let cancelled = cancel.cancelled();
        tokio::pin!(cancelled);
        let mut n_in_a_row = 0;
        loop {
            self.take_in().await?;
            if let Some(result) = self.state.result().cloned() {
                return Ok(self.report(result));
            }
            if cancel.is_cancelled() {
                self.happened(Event::CancelRequested { reason: "cancelled".into() });
                continue;
            }
            // Start what there is room for; stop to take in results after a while, so that they are not held up.
            while self.n_running < self.options.concurrency.max(1)
                && self.inbox.len() < IN_A_ROW
                && let Some((start, ready)) = self.ready.pop_front()
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
            if self.ready.is_empty() && self.in_flight.is_empty() {
                // Whatever waits, waits for something in flight: this cannot happen, and must not hang if it does.
                return Err(Error::Stuck);
            }
            tokio::select! {
                biased;
                () = &mut cancelled => {}
                Some(woke) = self.waiting.next() => self.woke(woke),
            }
            // Others that are through by now go into the same batch.
            self.take_woken();
        }
    }

    fn take_woken(&mut self) {
        while let Some(Some(woke)) = futures::FutureExt::now_or_never(self.waiting.next()) {
            self.woke(woke);
        }
    }

    /// Applies what has happened, journals it, then does what follows from it.
    async fn take_in(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        let mut starts: Vec<Box<Start>> = Vec::new();
        while let Some((event, spent)) = self.inbox.pop_front() {
            let record = Record { seq: self.state.n_events(), at: self.context.started.elapsed(), event };
            let actions = self.state.apply(&record)?;
            drop(spent);
            for action in actions {
                match action {
                    Action::Start(start) => starts.push(start),
                    Action::Abort(scope) => {
                        starts.retain(|start| start.scope != scope);
                        self.abort(&scope);
                    }
                    Action::SetTimer { timer, after } => self.set_timer(timer, after),
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
            journal.append(&self.options.id, records).await?;
        }
        for start in starts {
            self.begin(start);
        }
        Ok(())
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
        self.in_flight.insert(scope, InFlight { work, cx: None });
    }

    fn set_timer(&mut self, timer: Timer, after: Duration) {
        let work: Work = Box::pin(async move {
            sleep(after).await;
            Woke::Timer(timer)
        });
        self.waiting.push(Abortable(Arc::new(Mutex::new(Some(work)))));
    }

    /// Starts an attempt; if it ends at once, its end is in the inbox already.
    async fn start(&mut self, start: Box<Start>, ready: Instant) {
        let (scope, attempt, op) = (start.scope.clone(), start.attempt, start.op);
        if self.options.details || self.options.observer.is_some() {
            let inputs = start.named_inputs();
            self.note(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
        }
        let cx = Arc::new(Cx::new(self.context.clone(), scope.clone(), attempt, start.ledger.clone()));
        let cache = start.cache.clone();
        let running = Box::new(Running { cx: cx.clone(), op, cache, ready, began: Instant::now() });
        if let Some((_, key)) = &running.cache
            && let Some(outputs) = self.context.resources.cache.get(key)
        {
            self.ended(&running, Ok((*outputs).clone()));
            return;
        }
        if start.idle_timeout.is_some() {
            cx.touch();
        }
        let for_work = cx.clone();
        let mut work: Work = Box::pin(async move {
            let result = execute(start, for_work).await;
            Woke::Ended(running, result)
        });
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(Woke::Ended(running, result)) => self.ended(&running, result),
            Poll::Ready(Woke::Delayed(_) | Woke::Timer(_)) => {}
            Poll::Pending => {
                self.n_running += 1;
                let work = Abortable(Arc::new(Mutex::new(Some(work))));
                self.waiting.push(work.clone());
                self.in_flight.insert(scope, InFlight { work, cx: Some(cx) });
            }
        }
    }

    fn woke(&mut self, woke: Option<Woke>) {
        match woke {
            Some(Woke::Timer(timer)) if self.state.awaits(&timer) => {
                self.happened(Event::TimerFired(timer));
            }
            // Aborted before, or a timer of something that has ended since: it leaves no trace in the journal.
            None | Some(Woke::Timer(_)) => {}
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
        let timing = Timing { queued: running.began - running.ready, ran: now - running.began };
        let (scope, attempt) = (running.cx.scope().clone(), running.cx.attempt());
        if let (Some((ttl, key)), Ok(outputs)) = (&running.cache, &result) {
            self.context.resources.cache.put(key.clone(), *ttl, outputs.clone());
        }
        if self.options.details || self.options.observer.is_some() {
            self.note_ended(&scope, running.op, attempt, &result, usage, timing);
        }
        self.inbox.push_back((Event::AttemptEnded { scope, attempt, result, usage, timing }, Some(spent)));
    }

    /// Drops what runs at `scope`, wherever it is by now; what it used is still told.
    fn abort(&mut self, scope: &Scope) {
        self.ready.retain(|(start, _)| start.scope != *scope);
        if let Some(in_flight) = self.in_flight.remove(scope) {
            // First the future, then the books: dropping it is what ends its model calls.
            drop(in_flight.work.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(cx) = in_flight.cx {
                self.n_running -= 1;
                self.tell_aborted(scope, cx.attempt(), cx.close());
            }
            return;
        }
        // Its end may be in the inbox, in the same batch as what aborted it.
        let ended = self.inbox.iter().position(
            |(event, _)| matches!(event, Event::AttemptEnded { scope: ended, .. } if ended == scope),
        );
        if let Some((Event::AttemptEnded { attempt, .. }, Some(spent))) =
            ended.and_then(|at| self.inbox.remove(at))
        {
            self.tell_aborted(scope, attempt, spent);
        }
    }

    fn tell_aborted(&mut self, scope: &Scope, attempt: u32, spent: Spent) {
        let usage = spent.usage;
        if usage != Usage::default() {
            let event = Event::AttemptAborted { scope: scope.clone(), attempt, usage };
            self.inbox.push_back((event, Some(spent)));
        }
    }

    fn note(&mut self, notice: &Notice) {
        if let Some(observer) = &self.options.observer {
            observer.notice(notice);
        }
        if self.options.details {
            self.nodes.notice(notice);
        }
    }

    fn note_ended(
        &mut self,
        scope: &Scope,
        op: &'static str,
        attempt: u32,
        result: &Outputs,
        usage: Usage,
        timing: Timing,
    ) {
        let outputs = match result {
            Ok(values) => self.state.named_outputs(scope, values),
            Err(_) => Map::new(),
        };
        let failure = result.as_ref().err().cloned();
        let retry_in = failure.as_ref().and_then(|failure| self.state.retry_in(failure));
        let op: Text = op.into();
        self.note(&Notice::Ended {
            scope: scope.clone(),
            op,
            attempt,
            outputs,
            failure,
            retry_in,
            usage,
            timing,
        });
    }

    fn report(self, result: RunResult) -> Report {
        Report {
            outcome: result.outcome,
            outputs: result.outputs,
            absent: result.absent,
            usage: self.state.usage(),
            nodes: self.nodes.into_reports(),
            elapsed: self.context.started.elapsed(),
        }
    }
}
