//! Retries a run: the journal with which a new run starts, so that it executes again only what has to be.
//!
//! The records of the original are fed to a fresh state, without what is cut out: the place to start from, and what
//! depends on it. What the fresh state takes is kept where it stood, so that races end as they did. What it cannot take
//! yet, since the place that an item waits for is held by one that runs again, is kept as [`Event::Given`]: it stands in
//! when its node starts and reads the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::backend::Usage;
use crate::event::{Event, Failure, Record, Timer, Timing};
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunState, Setup};
use crate::value::{Map, Text};

mod cut;
mod history;
mod patch;

use cut::Cut;
use history::{History, Met, of_node};
use patch::Patch;
pub use patch::PatchProblem;

/// What of a run is to be done again.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Fork {
    /// Where to start.
    pub from: ForkFrom,
    /// Results that are put in place of those of nodes, by scope and port. What depends on them is done again.
    pub patch: BTreeMap<String, Map>,
}

/// Where a run is to be started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkFrom {
    /// At every node that failed, or was in flight when the run ended.
    #[default]
    Failed,
    /// At the beginning.
    Start,
    /// At a node (`hop[2]/search`, `fan`), or at a turn or item (`hop[2]`). Nodes whose failure ended the run start too.
    Scope(String),
}

/// Why a run cannot be started again as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ForkError {
    /// The records are no journal of this flow.
    #[error(transparent)]
    History(#[from] IllegalEvent),
    /// There are no records.
    #[error("the run has not started, so there is nothing to start again from")]
    NotStarted,
    /// The flow has no such place.
    #[error("{problem}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    UnknownScope {
        /// The place as it was given.
        scope: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// The flow has the place, and the run never came there.
    #[error("`{scope}` did not run, so nothing can start again there")]
    DidNotRun {
        /// The place.
        scope: String,
    },
    /// Edited results that cannot be used. All problems at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Patch(Vec<PatchProblem>),
    /// No node failed, so there is nothing to do again.
    #[error("no node of the run failed; say at which node to start again, or `start`")]
    NothingFailed,
    /// What would be kept leads to the same failure again.
    #[error("what is kept leads to the same failure again: {0}; start again before it")]
    SameFailure(Failure),
}

/// The journal of a new run that keeps of `records` what `fork` does not ask to be done again.
///
/// What is kept costs the new run nothing: neither time nor budget. The new run has the seed of the old one.
/// `plan` is the one that the records belong to.
pub fn fork(plan: &Arc<Plan>, records: &[Record], fork: &Fork) -> Result<Vec<Record>, ForkError> {
    let history = History::of(plan, records)?;
    let mut cut = Cut::new(&plan.root, &history.plans);
    match &fork.from {
        ForkFrom::Start => {}
        ForkFrom::Failed => {
            if history.failed.is_empty() && fork.patch.is_empty() && history.succeeded() {
                return Err(ForkError::NothingFailed);
            }
            cut_failed(&mut cut, &history, |_| true)?;
        }
        ForkFrom::Scope(path) => {
            cut.add(path)?;
            if !history.seen.contains(path) {
                return Err(ForkError::DidNotRun { scope: path.clone() });
            }
            // Kept, they would end the new run before it has done anything.
            if let Some(Outcome::Failed(failure)) = &history.outcome {
                cut_failed(&mut cut, &history, |scope| is_within(scope, &failure.scope))?;
            }
        }
    }
    let patch = cut_patched(&mut cut, &history, fork)?;
    let kept = match fork.from {
        ForkFrom::Start => records.get(..1).unwrap_or_default(),
        _ => records,
    };
    let mut forked = Forked::new(plan.clone(), &cut, patch);
    forked.take(kept, &history);
    forked.finish()
}

/// Cuts out the nodes that have edited results, and gives those results.
fn cut_patched(cut: &mut Cut<'_>, history: &History, fork: &Fork) -> Result<Patch, ForkError> {
    let mut patch = Patch::new();
    let mut problems = Vec::new();
    // First those that ran: what they lead to may make others run.
    let (ran, others): (Vec<_>, Vec<_>) =
        fork.patch.iter().partition(|(path, _)| history.seen.contains(*path));
    for (position, (path, edited)) in ran.iter().chain(&others).enumerate() {
        if position == ran.len() {
            cut.close();
        }
        let is_reached =
            position < ran.len() || fork.from == ForkFrom::Start || !history.succeeded() || cut.affects(path);
        let Some(node) = cut.add(path)? else {
            problems.push(PatchProblem::NotANode { scope: (*path).clone() });
            continue;
        };
        if !is_reached {
            return Err(ForkError::DidNotRun { scope: (*path).clone() });
        }
        match patch::outputs(path, node, edited, history) {
            Ok(outputs) => {
                patch.insert(Scope::from(path.as_str()), outputs);
            }
            Err(found) => problems.extend(found),
        }
    }
    cut.close();
    if problems.is_empty() { Ok(patch) } else { Err(ForkError::Patch(problems)) }
}

fn cut_failed(cut: &mut Cut<'_>, history: &History, which: impl Fn(&Scope) -> bool) -> Result<(), ForkError> {
    for (scope, by_timer) in history.failed.iter().filter(|(scope, _)| which(scope)) {
        let path = scope.to_string();
        if *by_timer {
            cut.reopen(&path)?;
        } else {
            cut.add(&path)?;
        }
    }
    Ok(())
}

/// Whether `scope` is the node at `around` or inside it.
fn is_within(scope: &Scope, around: &Scope) -> bool {
    let (scope, around) = (scope.to_string(), around.to_string());
    scope.strip_prefix(&around).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
}

/// The new run in the making.
struct Forked<'a> {
    cut: &'a Cut<'a>,
    patch: Patch,
    state: RunState,
    /// Attempts that wait for their end: which, and what they read.
    begun: HashMap<Scope, (u32, Option<Text>)>,
    records: Vec<Record>,
}

impl<'a> Forked<'a> {
    fn new(plan: Arc<Plan>, cut: &'a Cut<'a>, patch: Patch) -> Self {
        let state = RunState::new(plan, Setup::default());
        Self { cut, patch, state, begun: HashMap::new(), records: Vec::new() }
    }

    fn take(&mut self, records: &[Record], history: &History) {
        // Where its end stood, so that a race with others ends as it did; at the start if there was none.
        let ends = |position: usize, record| {
            let is_end = history.met.get(&position).is_some_and(|met| met.result.is_some());
            if is_end { of_node(record) } else { None }
        };
        let ended: BTreeSet<&Scope> = records
            .iter()
            .enumerate()
            .filter_map(|(position, record)| ends(position, &record.event))
            .collect();
        let early: Vec<Scope> = self.patch.keys().filter(|scope| !ended.contains(scope)).cloned().collect();
        for (position, record) in records.iter().enumerate() {
            if let Some(scope) = ends(position, &record.event) {
                self.put(scope);
            }
            self.take_one(record, history.met.get(&position), history);
            if position == 0 {
                for scope in &early {
                    self.put(scope);
                }
            }
            if self.state.result().is_some() {
                break;
            }
        }
    }

    /// Puts the edited result of a node in place, if there is one.
    fn put(&mut self, scope: &Scope) {
        if let Some(outputs) = self.patch.remove(scope) {
            self.keep(Event::Given { scope: scope.clone(), reads: None, result: Ok(outputs) });
        }
    }

    fn take_one(&mut self, record: &Record, met: Option<&Met>, history: &History) {
        let is_kept = |scope: &Scope| !self.cut.affects(&scope.to_string());
        match &record.event {
            Event::RunStarted { .. } => {
                self.keep(record.event.clone());
            }
            Event::Given { scope, .. } if is_kept(scope) => {
                self.keep(record.event.clone());
            }
            Event::TimerFired(timer @ (Timer::Wall(scope) | Timer::Join(scope)))
                if is_kept(scope) && self.state.awaits(timer) =>
            {
                self.keep(record.event.clone());
            }
            // A question that nobody answered is asked again, and has its time again.
            Event::WaitOpened { scope, .. } if !history.waited.contains(scope) => {}
            event => {
                if let (Some(scope), Some(met)) = (of_node(event), met)
                    && is_kept(scope)
                {
                    self.take_met(event, scope, met);
                }
                // All else is what the run was told from outside, and what only its own process needed to know.
            }
        }
    }

    /// Keeps what came of a node where it stood, or for when the node starts.
    fn take_met(&mut self, event: &Event, scope: &Scope, met: &Met) {
        let begun = self.begun.get(scope);
        let is_same = begun.is_some_and(|(attempt, reads)| {
            let ended = if let Event::AttemptEnded { attempt, .. } = event { *attempt } else { 1 };
            *attempt == ended && *reads == met.reads
        });
        if is_same {
            let (usage, timing) = (Usage::default(), Timing::default());
            self.keep(match event.clone() {
                Event::AttemptEnded { scope, attempt, result, .. } => {
                    Event::AttemptEnded { scope, attempt, result, usage, timing }
                }
                other => other,
            });
        } else if let (None, Some(result)) = (begun, &met.result) {
            self.keep(Event::Given {
                scope: scope.clone(),
                reads: met.reads.clone(),
                result: result.clone(),
            });
        }
    }

    /// Adds an event to the new journal, unless it cannot stand there.
    fn keep(&mut self, event: Event) {
        let ended = match &event {
            Event::AttemptEnded { scope, .. } | Event::Given { scope, .. } => Some(scope.clone()),
            _ => None,
        };
        let record = Record { seq: self.state.n_events(), at: Duration::ZERO, event };
        let Ok(actions) = self.state.apply(&record) else { return };
        self.records.push(record);
        if let Some(scope) = ended {
            self.begun.remove(&scope);
        }
        for action in actions {
            match action {
                Action::Start(start) => {
                    let reads = self.state.reads(&start.scope, &start.inputs);
                    self.begun.insert(start.scope.clone(), (start.attempt, reads));
                }
                Action::Ask { scope, .. } => {
                    let reads = self.state.reads(&scope, &[]);
                    self.begun.insert(scope, (1, reads));
                }
                Action::Abort(scope) => {
                    self.begun.remove(&scope);
                }
                Action::SetTimer { .. } | Action::SetAlarm { .. } | Action::Note(_) | Action::Finish => {}
            }
        }
    }

    fn finish(self) -> Result<Vec<Record>, ForkError> {
        match self.state.result().map(|result| &result.outcome) {
            Some(Outcome::Failed(failure)) => Err(ForkError::SameFailure(failure.clone())),
            _ => Ok(self.records),
        }
    }
}
