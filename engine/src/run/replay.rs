//! What a journal tells of its run, ended or not, without executing anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::report::Nodes;
use super::{NodeReport, Notice, OpenWait, Outcome, aborted};
use crate::backend::Usage;
use crate::budget::Budget;
use crate::event::{Event, Failure, Record, Timing};
use crate::flow::expression::Absence;
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunState, Setup, Start};
use crate::value::{Map, Text};

/// A run as its journal has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// How it ended; `None` if it has not.
    pub outcome: Option<Outcome>,
    /// The flow's outputs that are there; none before the end.
    pub outputs: Map,
    /// The flow's outputs that are not, each with the reason.
    pub absent: BTreeMap<Text, Absence>,
    /// What it has used in all.
    pub usage: Usage,
    /// Every node execution that began or was skipped, in the order in which they were begun.
    pub nodes: Vec<NodeReport>,
    /// Every attempt that ended, in the order of the journal.
    pub tries: Vec<Try>,
    /// Attempts that have begun, or wait to begin, and have not ended.
    pub in_flight: Vec<Scope>,
    /// Waits that are open, in the order in which they began.
    pub waits: Vec<OpenWait>,
    /// The time of its last event.
    pub elapsed: Duration,
    /// How many events it has.
    pub events: u64,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Try {
    /// Which node.
    pub scope: Scope,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Since the run began.
    pub ended: Duration,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The wait before the next attempt, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<Duration>,
    /// Whether it was stopped before its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// What it used.
    pub usage: Usage,
    /// Where its time went.
    pub timing: Timing,
}

/// Tells from its records alone what became of a run.
///
/// `budget` is that of the run's [`super::Options`].
pub fn replay(plan: Arc<Plan>, records: &[Record], budget: Budget) -> Result<Replay, IllegalEvent> {
    let setup = Setup { budget, notes: true, ..Setup::default() };
    let mut story = Story {
        state: RunState::new(plan, setup),
        nodes: Nodes::default(),
        begun: HashMap::new(),
        tries: Vec::new(),
    };
    let spent = aborted::spent(records);
    for record in records {
        story.take_in(record, &spent)?;
    }
    Ok(story.into_replay(records.last().map(|record| record.at).unwrap_or_default()))
}

struct Story {
    state: RunState,
    nodes: Nodes,
    begun: HashMap<Scope, (Box<Start>, Duration)>,
    tries: Vec<Try>,
}

impl Story {
    fn take_in(&mut self, record: &Record, spent: &aborted::Spent<'_>) -> Result<(), IllegalEvent> {
        // The names of ports are known as long as the scope is open, which this event may end.
        if let Some(ended) = self.ended(record) {
            self.nodes.notice(&ended);
        }
        let actions = self.state.apply(record)?;
        for action in actions {
            match action {
                Action::Start(start) => {
                    let (scope, op, attempt) = (start.scope.clone(), start.op.into(), start.attempt);
                    let inputs = start.named_inputs();
                    self.nodes.notice(&Notice::Started { scope: scope.clone(), op, attempt, inputs });
                    self.begun.insert(scope, (start, record.at));
                }
                Action::Abort(scope) => {
                    if let Some((start, since)) = self.begun.remove(&scope) {
                        let age = record.at.saturating_sub(since);
                        for notice in aborted::notices(&start, age, spent) {
                            self.nodes.notice(&notice);
                        }
                    }
                }
                Action::Note(notice) => self.nodes.notice(&notice),
                Action::Ask { .. } | Action::SetTimer { .. } | Action::SetAlarm { .. } | Action::Finish => {}
            }
        }
        Ok(())
    }

    fn ended(&mut self, record: &Record) -> Option<Notice> {
        let at = record.at;
        match &record.event {
            Event::AttemptEnded { scope, attempt, result, usage, timing } => {
                let (start, _) = self.begun.remove(scope)?;
                let outputs = match result {
                    Ok(values) => self.state.named_outputs(scope, values),
                    Err(_) => Map::new(),
                };
                let (usage, timing, attempt) = (*usage, *timing, *attempt);
                let failure = result.as_ref().err().cloned();
                let retry_in = failure.as_ref().and_then(|failure| self.state.retry_in(failure));
                self.tries.push(Try {
                    scope: scope.clone(),
                    attempt,
                    ended: at,
                    failure: failure.clone(),
                    retry_in,
                    aborted: false,
                    usage,
                    timing,
                });
                let (scope, op) = (scope.clone(), start.op.into());
                Some(Notice::Ended { scope, op, attempt, outputs, failure, retry_in, usage, timing })
            }
            Event::AttemptAborted { scope, attempt, usage } => {
                self.tries.push(Try {
                    scope: scope.clone(),
                    attempt: *attempt,
                    ended: at,
                    failure: None,
                    retry_in: None,
                    aborted: true,
                    usage: *usage,
                    timing: Timing::default(),
                });
                None
            }
            _ => None,
        }
    }

    fn into_replay(self, elapsed: Duration) -> Replay {
        let mut in_flight: Vec<Scope> = self.begun.into_keys().collect();
        in_flight.sort();
        let (outcome, outputs, absent) = match self.state.result().cloned() {
            Some(result) => {
                in_flight.clear();
                (Some(result.outcome), result.outputs, result.absent)
            }
            None => (None, Map::new(), BTreeMap::new()),
        };
        Replay {
            outcome,
            outputs,
            absent,
            usage: self.state.usage(),
            nodes: self.nodes.into_reports(),
            tries: self.tries,
            in_flight,
            waits: self.state.open_waits(),
            elapsed,
            events: self.state.n_events(),
        }
    }
}
