//! Runs a plan: performs what [`crate::state`] decides, and tells it what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::{Caller, Usage};
use crate::budget::Purse;
use crate::cx::{Asking, Progress, Resources, WatchCall};
use crate::event::{self, Event, Failure, FailureKind, RunId, Timing};
use crate::flow::expression::Absence;
use crate::journal::{self, Journal};
use crate::limits;
use crate::plan::Plan;
use crate::scope::Scope;
use crate::value::{Map, Text};

mod aborted;
mod again;
mod clock;
mod diff;
mod driver;
mod execute;
mod expanded;
mod fork;
mod inbox;
mod inputs;
mod inspect;
mod offload;
mod replay;
mod report;
mod wait;

pub use again::last_attempt;
pub use clock::Clock;
pub use diff::{Change, Found, NodeDiff, Side, diff};
pub use expanded::Expanded;
pub use fork::{Fork, ForkError, ForkFrom, PatchProblem, fork};
pub use inbox::{AnswerError, Answering, Inbox};
pub use inputs::{InputProblem, check as check_inputs, check_each as check_each_input};
pub use inspect::{AbortedNode, Inspection, OpenNode, inspect};
pub use offload::{Done, NotTaken, Offload, Task, execute_task, execute_task_from};
pub use replay::{Replay, Try, replay};
pub use wait::{OpenWait, WaitDecl, wait_of, waits_of};

use driver::Driver;
use inbox::Looking;

/// How a plan is to be run.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own, named where it is made")]
pub struct Options {
    /// Names the run.
    pub id: RunId,
    /// Seed of all randomness.
    pub seed: u64,
    /// Node executions in flight at once.
    pub concurrency: usize,
    /// Where events are kept; nowhere if `None`.
    pub journal: Option<Arc<dyn Journal>>,
    /// What waits for the journal.
    pub durability: Durability,
    /// Who takes up the run, and how often it has changed hands: written by [`resume`] before it does anything.
    pub taken_up: Option<(Text, u64)>,
    /// Whether a run that only waits for answers ends with [`Outcome::Waiting`], to be resumed later.
    pub park: bool,
    /// Where answers to waits arrive.
    pub inbox: Inbox,
    /// What deadlines of waits are set by.
    pub clock: Clock,
    /// Who may execute attempts elsewhere; everything is executed here if `None`.
    pub offload: Option<Arc<dyn Offload>>,
    /// Who is told what happens, as it happens.
    pub observer: Option<Arc<dyn Observer>>,
    /// Cancelling it ends the run and aborts what is in flight.
    pub cancel: CancellationToken,
    /// Cancelling it starts nothing more; what is in flight ends, and then the run does, with [`Outcome::Paused`].
    pub pause: CancellationToken,
    /// Whether the report waits until the journal has made the run's last events safe.
    ///
    /// Without it, whoever gives the report away first waits for something that its journal writes after them.
    pub flush_end: bool,
    /// Nodes that do not run but give these results, by path without indexes (`hop/search`): for the tests of a flow.
    pub stubs: BTreeMap<String, Stub>,
    /// A budget on top of the flow's own: the smaller limit counts.
    pub budget: crate::budget::Budget,
    /// What calls draw on beside the budgets of the flow.
    pub purse: Option<Arc<dyn Purse>>,
    /// On whose behalf calls are made.
    pub caller: Caller,
    /// After which nobody wants the outcome: calls that could not be sent before are not sent. Whoever wants the run to
    /// end then cancels it.
    pub deadline: Option<Instant>,
    /// Whether results of nodes with `cache` may stand in for their execution; they are kept in any case.
    pub use_cache: bool,
    /// Whether the report lists every node execution.
    pub details: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: RunId("run".into()),
            seed: 0,
            concurrency: limits::RUN_CONCURRENCY,
            journal: None,
            durability: Durability::default(),
            taken_up: None,
            park: false,
            inbox: Inbox::default(),
            clock: Clock::default(),
            offload: None,
            observer: None,
            cancel: CancellationToken::new(),
            pause: CancellationToken::new(),
            flush_end: true,
            stubs: BTreeMap::new(),
            budget: crate::budget::Budget::default(),
            purse: None,
            caller: Caller::default(),
            deadline: None,
            use_cache: true,
            details: true,
        }
    }
}

/// What waits until the journal has made an event safe.
///
/// Either way, what a process lost is begun again from the journal; the question is how much that can be. Operators
/// with effects, a run that parks, and a run's result wait for the journal always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// What follows from an event begins once it is safe: only what was in flight can be repeated.
    Step,
    /// What follows begins at once, and the journal follows: up to [`limits::JOURNAL_BEHIND`] events can be repeated.
    #[default]
    Pipelined,
}

/// What a stubbed node gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Stub {
    /// These outputs; those not named are absent.
    Outputs(Map),
    /// A failure.
    Fails(FailureKind, String),
}

/// Is told what happens in a run, as it happens. Called on the run's own task: must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn notice(&self, notice: &Notice);

    /// Whether an earlier result stands in for an attempt of a node with `cache`.
    fn looked_up(&self, op: &str, is_hit: bool) {
        let _ = (op, is_hit);
    }

    /// What was told so far is old: the run was taken up from its journal, and from here on it is carried on.
    fn replayed(&self) {}

    /// A call of a model or an encoder is about to be made: who is to be told how it goes on, if anybody.
    fn calling(&self, asking: &Asking<'_>) -> Option<Box<dyn WatchCall>> {
        let _ = asking;
        None
    }
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// An attempt of a node began.
    Started {
        /// Which node.
        scope: Scope,
        /// The operator.
        op: Text,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it reads, by port.
        inputs: Map,
    },
    /// An attempt of a node ended.
    Ended {
        /// Which node.
        scope: Scope,
        /// The operator.
        op: Text,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it put out, by port.
        outputs: Map,
        /// Why it failed, if it did.
        failure: Option<Failure>,
        /// The wait before the next attempt, if there is one.
        retry_in: Option<Duration>,
        /// What it used.
        usage: Usage,
        /// Where its time went.
        timing: Timing,
    },
    /// A node was stopped before its end: the run is cancelled, the scope around it failed, or nobody wants it any more.
    Aborted {
        /// Which node.
        scope: Scope,
        /// The operator; empty for what only holds others.
        op: Text,
        /// Which attempt, from 1; 0 for what only holds others.
        attempt: u32,
        /// What it used.
        usage: Usage,
        /// Where its time went.
        timing: Timing,
    },
    /// A node will not run.
    Skipped {
        /// Which node.
        scope: Scope,
        /// Why.
        why: Text,
    },
    /// A sub-flow, a loop or an each began.
    Opened {
        /// Which node.
        scope: Scope,
        /// What it is, with its bound.
        what: Opened,
        /// What it was opened with, where that is known no other way: the plan that runs, and what it reads.
        #[serde(skip_serializing_if = "Map::is_empty")]
        inputs: Map,
    },
    /// A turn of a loop or an item of an each began (1-based turn, 0-based item).
    Part {
        /// Which node.
        scope: Scope,
        /// Which turn or item.
        index: usize,
    },
    /// A sub-flow, a loop or an each ended.
    Closed {
        /// Which node.
        scope: Scope,
        /// Turns or items that ended well.
        parts: usize,
        /// Why it failed, if it did.
        failure: Option<Failure>,
    },
    /// A wait waits for its answer. Its end is told as that of an attempt.
    Waiting(OpenWait),
    /// A running node shows something.
    Progress {
        /// Which node.
        scope: Scope,
        /// What.
        #[serde(skip)]
        progress: Option<Progress>,
    },
}

/// What kind of scope opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Opened {
    /// A sub-flow.
    Flow,
    /// A loop, with its `max_turns`.
    Loop(u32),
    /// An each, with the number of its items.
    Each(usize),
    /// A plan that was made at run time, with the number of its steps.
    Plan(usize),
}

impl Opened {
    /// `flow`, `loop`, `each` or `plan`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Loop(_) => "loop",
            Self::Each(_) => "each",
            Self::Plan(_) => "plan",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// It reached its end.
    Succeeded,
    /// A node failed and nothing caught it.
    Failed(Failure),
    /// It was stopped from outside.
    Cancelled {
        /// Who or why.
        reason: Text,
    },
    /// It has not ended: nothing is in flight, and it goes on once a wait is answered or over. See [`Options::park`].
    Waiting {
        /// What it waits for, by scope.
        waits: Vec<OpenWait>,
    },
    /// It has not ended: it was asked to pause, and nothing is in flight. See [`Options::pause`].
    Paused,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The flow's outputs that are there.
    pub outputs: Map,
    /// The flow's outputs that are not, each with the reason.
    pub absent: BTreeMap<Text, Absence>,
    /// What it used in all.
    pub usage: Usage,
    /// Every node execution, by scope.
    pub nodes: Vec<NodeReport>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What became of one node execution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    /// Which node.
    pub scope: Scope,
    /// The operator.
    pub op: Text,
    /// Attempts made; turns or items of a loop or each; 0 for a skipped node.
    pub attempts: u32,
    /// Why it did not run, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Text>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether it was stopped before its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// Its inputs by port.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub inputs: Map,
    /// Its outputs by port.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub outputs: Map,
    /// What it used, over all attempts.
    pub usage: Usage,
    /// Where the time of its last attempt went.
    pub timing: Timing,
}

/// Why a run could not be carried through, apart from what the flow itself does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The inputs do not fit the flow. All problems at once.
    #[error("{}", .0.join("\n"))]
    Inputs(Vec<String>),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Nothing is in flight and the run has not ended: a bug of the engine.
    #[error("the run cannot go on although it has not ended; this is a bug, please report it")]
    Stuck,
    /// There is no journal, or it holds nothing of this run.
    #[error("there is nothing to resume: the journal has no run `{}`", .0.0)]
    NothingToResume(RunId),
    /// The journal holds events that cannot follow one another.
    #[error(transparent)]
    History(#[from] crate::state::IllegalEvent),
}

/// Runs `plan` from the start.
pub async fn run(
    plan: Arc<Plan>,
    inputs: Map,
    resources: Arc<Resources>,
    options: Options,
) -> Result<Report, Error> {
    let inputs = inputs::check(&plan.root.inputs, inputs).map_err(Error::Inputs)?;
    let looking = Looking(Some(options.inbox.clone()));
    let (plan_hash, seed) = (plan.hash.clone(), options.seed);
    let mut driver = Driver::new(plan, resources, options, std::time::Duration::ZERO);
    driver.happened(Event::RunStarted { version: event::VERSION, plan: plan_hash, inputs, seed });
    to_its_end(driver, looking).await
}

/// Drives a run; what is left in its inbox when it has ended is refused, and kept while it waits.
async fn to_its_end(driver: Driver, mut looking: Looking) -> Result<Report, Error> {
    let report = driver.drive().await?;
    if let Outcome::Waiting { .. } | Outcome::Paused = report.outcome {
        looking.0 = None;
    }
    Ok(report)
}

/// Takes up the run `options.id` from its journal: what had begun and not ended begins again.
///
/// A run whose journal is complete gives its report without doing anything. An attempt with effects that had begun is
/// not made again by itself: it has failed with [`FailureKind::Interrupted`], which `retry.on` may name.
pub async fn resume(plan: Arc<Plan>, resources: Arc<Resources>, options: Options) -> Result<Report, Error> {
    let Some(journal) = options.journal.clone() else { return Err(Error::NothingToResume(options.id)) };
    let records = journal.read(&options.id).await?;
    let Some(last) = records.last() else { return Err(Error::NothingToResume(options.id)) };
    let (taken_up, looking) = (options.taken_up.clone(), Looking(Some(options.inbox.clone())));
    let mut driver = Driver::new(plan, resources, options, last.at);
    driver.replay(&records)?;
    if let Some((by, epoch)) = taken_up {
        driver.take_up(by, epoch).await?;
    }
    to_its_end(driver, looking).await
}
