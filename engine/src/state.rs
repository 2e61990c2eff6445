//! The state of a run: `apply(event) -> actions`. No I/O, no clock, no await.
//!
//! The only module that knows about branches, turns and items. Everything that can be worked out again from the plan
//! and the events (conditions, inputs, turns, items, absence) is worked out here, so that feeding the same events to
//! a fresh state gives the same run.
//!
//! ```text
//!            needs settled, or join met           when / inputs
//!  Waiting ───────────────────────────► Queued ──┬─────────────► Settled(absent)
//!     │                                          ├─► Running(n) ─┬─ ok ──────────────► Settled(values)
//!     │ join not wanted any more                 │      ▲ retry  │
//!     └────────────► Settled(absent)             │      └────────┤ failed ─► on_error ─┬─► Settled(value, absent)
//!                                                └─► Open ───────┘                     ├─► Open(fallback flow)
//!                                   (flow, loop turns, each items)                     └─► the scope around fails
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Usage;
use crate::budget::{Budget, Ledger};
use crate::event::{self, Event, Failure, FailureKind, Record, Timer};
use crate::flow::expression::{Absence, Expr, Slot};
use crate::operator::DynOperator;
use crate::plan::{Body, Kit, Node, Plan};
use crate::run::{Notice, Outcome, Stub};
use crate::scope::Scope;
use crate::value::{Map, Text, Value};
use crate::{cx, limits};

mod absence;
mod end;
mod frame;
mod given;
mod items;
mod join;
mod plans;
mod start;
mod timers;
mod turns;
mod waits;

use frame::{At, Frame, FrameId, Phase, Role};
pub(crate) use start::check_bounds;
use waits::Waits;

/// An event that cannot follow what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} (`{event}`) cannot follow: {state}")]
pub struct IllegalEvent {
    /// Position in the journal.
    pub seq: u64,
    /// What kind of event.
    pub event: String,
    /// The state that it met.
    pub state: String,
}

/// What the driver has to do.
pub enum Action {
    /// Execute a node; answer with [`Event::AttemptEnded`].
    Start(Box<Start>),
    /// Open a wait that lasts `deadline`; answer with [`Event::WaitOpened`].
    Ask {
        /// Which node.
        scope: Scope,
        /// How long.
        deadline: Duration,
    },
    /// Stop executing a node; answer with [`Event::AttemptAborted`] if it has used anything.
    Abort(Scope),
    /// Answer with [`Event::TimerFired`] after `after`, unless the run has ended by then.
    SetTimer {
        /// What it is for.
        timer: Timer,
        /// How long.
        after: Duration,
    },
    /// Answer with [`Event::TimerFired`] when the clock outside the run shows `until_ms`.
    SetAlarm {
        /// What it is for.
        timer: Timer,
        /// Milliseconds of Unix time.
        until_ms: u64,
    },
    /// Tell whoever watches.
    Note(Box<Notice>),
    /// The run has ended; [`RunState::result`] says how.
    Finish,
}

/// The execution of a node.
pub struct Start {
    /// Which node.
    pub scope: Scope,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How long to wait before it.
    pub delay: Duration,
    /// Name of the operator.
    pub op: &'static str,
    /// The operator with its settings.
    pub operator: Arc<dyn DynOperator>,
    /// Its settings, if they only became known as it started.
    pub settings: Option<serde_json::Value>,
    /// Names of the input ports.
    pub names: Arc<[Text]>,
    /// Values of the input ports.
    pub inputs: Vec<Option<Value>>,
    /// Bound of the attempt.
    pub timeout: Option<Duration>,
    /// Bound of its silence.
    pub idle_timeout: Option<Duration>,
    /// How long its result may be used again, and the name that it has in the cache.
    pub cache: Option<(Duration, String)>,
    /// Whether its beginning must be in the journal before it does anything.
    pub has_effects: bool,
    /// Where it spends.
    pub ledger: Arc<Ledger>,
    /// Of an operator that makes plans: what they may be made of.
    pub kit: Option<Arc<Kit>>,
}

impl Start {
    /// The inputs that are there, by port.
    pub fn named_inputs(&self) -> Map {
        let named = self.names.iter().zip(&self.inputs);
        named.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
    }
}

/// How a run ended, and what it gave.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// How it ended.
    pub outcome: Outcome,
    /// The outputs that are there.
    pub outputs: Map,
    /// The outputs that are not.
    pub absent: BTreeMap<Text, Absence>,
}

/// What a state is told once, apart from the events.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Nodes that do not run; see [`crate::run::Options::stubs`].
    pub stubs: BTreeMap<String, Stub>,
    /// A budget on top of the flow's own.
    pub budget: Budget,
    /// Whether to make [`Action::Note`]s.
    pub notes: bool,
    /// Whether to keep what plans that were made at run time turned out to be; see [`RunState::plans`].
    pub keep_plans: bool,
}

/// The state of one run.
pub struct RunState {
    plan: Arc<Plan>,
    setup: Setup,
    seed: u64,
    n_events: u64,
    frames: Vec<Option<Frame>>,
    free: Vec<usize>,
    n_opened: u64,
    by_path: HashMap<Text, FrameId>,
    // Ledgers of attempts that were aborted and may still report what they used.
    aborted: HashMap<Scope, Arc<Ledger>>,
    waits: Waits,
    given: HashMap<Scope, given::Given>,
    plans: BTreeMap<String, Arc<Body>>,
    ledger: Arc<Ledger>,
    work: VecDeque<Work>,
    actions: Vec<Action>,
    result: Option<RunResult>,
}

/// Steps that one event sets off, in order: a queue instead of recursion, however long a loop is.
enum Work {
    Start(At),
    FrameDone(FrameId),
}

impl RunState {
    /// The state before the first event.
    pub fn new(plan: Arc<Plan>, setup: Setup) -> Self {
        let budget = tighter(plan.budget, setup.budget);
        Self {
            plan,
            setup,
            seed: 0,
            n_events: 0,
            frames: Vec::new(),
            free: Vec::new(),
            n_opened: 0,
            by_path: HashMap::new(),
            aborted: HashMap::new(),
            waits: Waits::default(),
            given: HashMap::new(),
            plans: BTreeMap::new(),
            ledger: Ledger::new("".into(), budget, None),
            work: VecDeque::new(),
            actions: Vec::new(),
            result: None,
        }
    }

    /// How the run ended, once it has.
    pub fn result(&self) -> Option<&RunResult> {
        self.result.as_ref()
    }

    /// What ran as the plans that were made at run time, by the paths of their nodes, if that was to be kept.
    pub(crate) fn plans(&self) -> &BTreeMap<String, Arc<Body>> {
        &self.plans
    }

    /// What the run has used, by the journal.
    pub fn usage(&self) -> Usage {
        self.ledger.settled()
    }

    /// Seed of all randomness.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The flow that runs.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Events applied so far.
    pub fn n_events(&self) -> u64 {
        self.n_events
    }

    /// The outputs of a node by name; empty once its scope is closed.
    pub fn named_outputs(&self, scope: &Scope, values: &[Option<Value>]) -> Map {
        let Some(at) = self.find(scope) else { return Map::new() };
        let ports = &node_of(&self.frame(at.frame).body, at.node).outputs;
        let named = ports.iter().zip(values);
        named.filter_map(|(port, value)| Some((port.name.clone(), value.clone()?))).collect()
    }

    /// How long until the attempt after `failure`, if there is one.
    pub fn retry_in(&self, failure: &Failure) -> Option<Duration> {
        let at = self.find(&failure.scope)?;
        let crate::plan::Kind::Op(op) = &node_of(&self.frame(at.frame).body, at.node).kind else {
            return None;
        };
        op.retry.delay_after(failure, cx::seed_for(self.seed, &failure.scope, failure.attempt))
    }

    /// Whether what `event` tells the beginning of has been stopped before it began. Such an event is not to be applied.
    pub fn is_moot(&self, event: &Event) -> bool {
        match event {
            Event::EffectBegan { scope, attempt } => self.running_attempt(scope) != Some(*attempt),
            Event::WaitOpened { scope, .. } => !self.is_asking(scope),
            _ => false,
        }
    }

    /// Which attempt of the node at `scope` is in flight.
    fn running_attempt(&self, scope: &Scope) -> Option<u32> {
        let at = self.find(scope)?;
        match self.frame(at.frame).node(at.node).phase {
            Phase::Running(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// Takes in one event; gives what is to be done now, in order.
    pub fn apply(&mut self, record: &Record) -> Result<Vec<Action>, IllegalEvent> {
        let illegal =
            |state: String| IllegalEvent { seq: record.seq, event: name_of(&record.event).to_owned(), state };
        if record.seq != self.n_events {
            return Err(illegal(format!("{} events have been applied", self.n_events)));
        }
        if self.result.is_some() && !matches!(record.event, Event::AttemptAborted { .. }) {
            return Err(illegal("the run has ended".to_owned()));
        }
        match &record.event {
            Event::RunStarted { version, plan, inputs, seed } => {
                self.run_started(*version, plan, inputs, *seed).map_err(illegal)?;
            }
            _ if record.seq == 0 => return Err(illegal("the run has not started".to_owned())),
            Event::AttemptEnded { scope, attempt, result, usage, .. } => {
                self.attempt_ended(scope, *attempt, result, *usage).map_err(illegal)?;
            }
            Event::AttemptAborted { scope, usage, .. } => match self.aborted.remove(scope) {
                Some(ledger) => ledger.settle(*usage),
                None => return Err(illegal(format!("{scope:?} was not aborted"))),
            },
            Event::TimerFired(timer) => self.timer_fired(timer),
            Event::CancelRequested { reason } => {
                self.end(Outcome::Cancelled { reason: reason.clone() });
            }
            Event::TakenUp { .. } => {}
            Event::EffectBegan { scope, attempt } => {
                if self.running_attempt(scope) != Some(*attempt) {
                    return Err(illegal(format!("{scope:?} is not in attempt {attempt}")));
                }
            }
            Event::WaitOpened { scope, until_ms } => self.wait_opened(scope, *until_ms).map_err(illegal)?,
            Event::WaitAnswered { scope, value, .. } => self.wait_answered(scope, value).map_err(illegal)?,
            Event::Given { scope, reads, result } => {
                self.give(scope, reads.clone(), result.clone()).map_err(illegal)?;
            }
        }
        self.n_events += 1;
        self.settle_all();
        if self.n_events >= limits::RUN_EVENTS as u64 && self.result.is_none() {
            let message =
                format!("the run has reached {} events, the most that a run may have", limits::RUN_EVENTS);
            self.end(Outcome::Failed(self.run_failure(FailureKind::OverLimit, message)));
        }
        Ok(std::mem::take(&mut self.actions))
    }

    fn run_started(&mut self, version: u32, plan: &str, inputs: &Map, seed: u64) -> Result<(), String> {
        if self.n_events > 0 {
            return Err("the run has started already".to_owned());
        }
        if version > event::VERSION {
            return Err(format!(
                "this build reads event formats up to {}, the run has {version}",
                event::VERSION
            ));
        }
        if *plan != *self.plan.hash {
            return Err(format!("the run belongs to flow {plan}, not {}", self.plan.hash));
        }
        self.seed = seed;
        let body = self.plan.root.clone();
        let slots = body
            .inputs
            .iter()
            .map(|input| match inputs.get(&input.port.name) {
                // From a journal that keeps JSON, records come as maps.
                Some(value) => match value.clone().into_type(&input.port.ty) {
                    Ok(value) => Ok(Slot::Present(value)),
                    Err(mismatch) => Err(format!("input `{}`: {mismatch}", input.port.name)),
                },
                None => Ok(Slot::Absent(absence::not_given(&input.port.name))),
            })
            .collect::<Result<_, _>>()?;
        let wall = tighter(self.plan.budget, self.setup.budget).wall.unwrap_or(limits::RUN_WALL);
        self.actions.push(Action::SetTimer { timer: Timer::RunWall, after: wall });
        self.open("".into(), body, Role::Root, slots, Arc::default(), self.ledger.clone());
        Ok(())
    }

    fn attempt_ended(
        &mut self,
        scope: &Scope,
        attempt: u32,
        result: &Result<Vec<Option<Value>>, Failure>,
        usage: Usage,
    ) -> Result<(), String> {
        let at = self.find(scope).ok_or_else(|| format!("there is no node {scope:?} in an open scope"))?;
        let running = match &self.frame(at.frame).node(at.node).phase {
            Phase::Running(running) => *running,
            other => return Err(format!("{scope:?} is {}", other.name())),
        };
        if running != attempt {
            return Err(format!("{scope:?} is in attempt {running}"));
        }
        self.node_ledger(at).settle(usage);
        match result {
            Ok(outputs) => {
                let body = self.frame(at.frame).body.clone();
                match given::output_slots(scope, node_of(&body, at.node), outputs) {
                    Ok(slots) => self.settle(at, slots),
                    Err(failure) => self.fail(at, failure),
                }
            }
            Err(failure) => self.attempt_failed(at, failure.clone()),
        }
        Ok(())
    }

    fn attempt_failed(&mut self, at: At, failure: Failure) {
        let body = self.frame(at.frame).body.clone();
        let node = node_of(&body, at.node);
        if let crate::plan::Kind::Op(op) = &node.kind {
            let seed = cx::seed_for(self.seed, &failure.scope, failure.attempt);
            if let Some(delay) = op.retry.delay_after(&failure, seed)
                && let Some(inputs) = self.frame_mut(at.frame).node_mut(at.node).retry_inputs.clone()
            {
                return match self.start_attempt(at, op, inputs, failure.attempt + 1, delay) {
                    Ok(()) => {}
                    Err(failure) => self.fail(at, failure),
                };
            }
        }
        self.fail(at, failure);
    }

    /// Works off everything that the event has set off.
    fn settle_all(&mut self) {
        while self.result.is_none()
            && let Some(work) = self.work.pop_front()
        {
            match work {
                Work::Start(at) => {
                    // Its scope may have failed while it was queued.
                    if self.is_open(at.frame)
                        && matches!(self.frame(at.frame).node(at.node).phase, Phase::Queued)
                    {
                        self.start(at);
                    }
                }
                Work::FrameDone(id) => self.frame_done(id),
            }
            if self.n_opened > limits::RUN_SCOPES && self.result.is_none() {
                let message = format!(
                    "the run has opened {} turns, items and sub-flows, the most that a run may have",
                    limits::RUN_SCOPES
                );
                self.end(Outcome::Failed(self.run_failure(FailureKind::OverLimit, message)));
            }
        }
        self.work.clear();
    }

    fn run_failure(&self, kind: FailureKind, message: String) -> Failure {
        failure(Scope::new("", self.plan.name.clone()), kind, message)
    }

    fn note(&mut self, notice: impl FnOnce() -> Notice) {
        if self.setup.notes {
            self.actions.push(Action::Note(Box::new(notice())));
        }
    }

    /// Evaluates in the terms of the scope at `id`; an error becomes the failure of the node `at`.
    fn eval(&self, at: At, expr: &Expr) -> Result<Slot, Failure> {
        expr.eval(self.frame(at.frame))
            .map_err(|error| failure(self.scope(at), FailureKind::Expression, error.to_string()))
    }
}

/// The failure of a node before or between attempts.
fn failure(scope: Scope, kind: FailureKind, message: String) -> Failure {
    Failure { scope, attempt: 1, kind, message, retry_after: None }
}

fn node_of(body: &Body, node: u32) -> &Node {
    #[expect(clippy::indexing_slicing, reason = "positions come from the plan itself")]
    &body.nodes[node as usize]
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::RunStarted { .. } => "run_started",
        Event::AttemptEnded { .. } => "attempt_ended",
        Event::AttemptAborted { .. } => "attempt_aborted",
        Event::TimerFired(_) => "timer_fired",
        Event::CancelRequested { .. } => "cancel_requested",
        Event::TakenUp { .. } => "taken_up",
        Event::EffectBegan { .. } => "effect_began",
        Event::WaitOpened { .. } => "wait_opened",
        Event::WaitAnswered { .. } => "wait_answered",
        Event::Given { .. } => "given",
    }
}

/// The smaller limit of two budgets, each on its own.
fn tighter(a: Budget, b: Budget) -> Budget {
    fn min<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b < a { b } else { a }),
            (a, b) => a.or(b),
        }
    }
    Budget {
        model_calls: min(a.model_calls, b.model_calls),
        model_tokens: min(a.model_tokens, b.model_tokens),
        cost: min(a.cost, b.cost),
        wall: min(a.wall, b.wall),
    }
}
