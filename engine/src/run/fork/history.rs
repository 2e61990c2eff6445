//! What a run was, as far as starting it again asks: what ran, what failed, and what each attempt read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::event::{Event, Failure, Record, Timer};
use crate::plan::{Body, Plan};
use crate::run::{Notice, Outcome};
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunState, Setup};
use crate::value::{Text, Value};

use super::ForkError;

/// An event of an attempt or a wait, by the state that it met.
pub(super) struct Met {
    /// What the attempt read, or the wait showed.
    pub(super) reads: Option<Text>,
    /// What the node gave in the end, if this was its end: no attempt followed.
    pub(super) result: Option<Outputs>,
}

type Outputs = Result<Vec<Option<Value>>, Failure>;

pub(super) struct History {
    /// By position of the record.
    pub(super) met: HashMap<usize, Met>,
    /// Waits that came to an end.
    pub(super) waited: HashSet<Scope>,
    /// Nodes, turns and items that began.
    pub(super) seen: BTreeSet<String>,
    /// Node executions that failed and did not succeed later; whether it was a timer that failed them.
    pub(super) failed: BTreeMap<Scope, bool>,
    /// What operators put out, the last time that they did.
    pub(super) outputs: HashMap<Scope, Vec<Option<Value>>>,
    pub(super) outcome: Option<Outcome>,
    /// What ran as plans that were made at run time, by the paths of their nodes.
    pub(super) plans: BTreeMap<String, Arc<Body>>,
}

impl History {
    pub(super) fn of(plan: &Arc<Plan>, records: &[Record]) -> Result<Self, ForkError> {
        if records.is_empty() {
            return Err(ForkError::NotStarted);
        }
        let mut history = Self {
            met: HashMap::new(),
            waited: HashSet::new(),
            seen: BTreeSet::new(),
            failed: BTreeMap::new(),
            outputs: HashMap::new(),
            outcome: None,
            plans: BTreeMap::new(),
        };
        let setup = Setup { notes: true, keep_plans: true, ..Setup::default() };
        let mut state = RunState::new(plan.clone(), setup);
        let mut begun = HashMap::new();
        for (position, record) in records.iter().enumerate() {
            history.take_in(&mut state, &mut begun, position, record)?;
        }
        history.outcome = state.result().map(|result| result.outcome.clone());
        history.plans = state.plans().clone();
        Ok(history)
    }

    pub(super) fn succeeded(&self) -> bool {
        self.outcome == Some(Outcome::Succeeded)
    }

    fn take_in(
        &mut self,
        state: &mut RunState,
        begun: &mut HashMap<Scope, Option<Text>>,
        position: usize,
        record: &Record,
    ) -> Result<(), IllegalEvent> {
        match &record.event {
            Event::Given { scope, result, .. } => self.ended(scope, result),
            Event::TimerFired(timer @ Timer::Wall(scope)) if state.awaits(timer) => {
                self.failed.insert(scope.clone(), true);
            }
            event => {
                if let Some(scope) = of_node(event) {
                    let reads = begun.get(scope).cloned().flatten();
                    self.met.insert(position, Met { reads, result: None });
                    // Put back if an attempt follows.
                    if matches!(event, Event::AttemptEnded { .. }) {
                        begun.remove(scope);
                    }
                }
            }
        }
        let is_wait_over =
            matches!(record.event, Event::WaitAnswered { .. } | Event::TimerFired(Timer::Wait(_)));
        for action in state.apply(record)? {
            match action {
                Action::Start(start) => {
                    self.seen.insert(start.scope.to_string());
                    begun.insert(start.scope.clone(), state.reads(&start.scope, &start.inputs));
                }
                Action::Ask { scope, .. } => {
                    self.seen.insert(scope.to_string());
                    let reads = state.reads(&scope, &[]);
                    begun.insert(scope, reads);
                }
                Action::Abort(scope) => {
                    begun.remove(&scope);
                }
                Action::Note(notice) => {
                    if let Notice::Ended { scope, outputs, failure, .. } = &*notice
                        && is_wait_over
                        && of_node(&record.event) == Some(scope)
                        && let Some(met) = self.met.get_mut(&position)
                    {
                        let values = ["value", "answered"].map(|port| outputs.get(port).cloned());
                        let result = failure.clone().map_or_else(|| Ok(values.to_vec()), Err);
                        met.result = Some(result.clone());
                        self.waited.insert(scope.clone());
                        self.ended(scope, &result);
                    }
                    self.note(&notice);
                }
                Action::SetTimer { .. } | Action::SetAlarm { .. } | Action::Finish => {}
            }
        }
        if let Event::AttemptEnded { scope, result, .. } = &record.event {
            self.ended(scope, result);
            if !begun.contains_key(scope)
                && let Some(met) = self.met.get_mut(&position)
            {
                met.result = Some(result.clone());
            }
        }
        Ok(())
    }

    fn ended(&mut self, scope: &Scope, result: &Outputs) {
        match result {
            Ok(outputs) => {
                self.failed.remove(scope);
                self.outputs.insert(scope.clone(), outputs.clone());
            }
            Err(_) => {
                self.failed.insert(scope.clone(), false);
            }
        }
    }

    fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Started { scope, .. } | Notice::Opened { scope, .. } => {
                self.seen.insert(scope.to_string());
            }
            Notice::Part { scope, index } => {
                self.seen.insert(scope.indexed(*index).to_string());
            }
            _ => {}
        }
    }
}

/// The node execution of which an event tells that it went on or ended.
pub(super) fn of_node(event: &Event) -> Option<&Scope> {
    match event {
        Event::AttemptEnded { scope, .. }
        | Event::WaitOpened { scope, .. }
        | Event::WaitAnswered { scope, .. }
        | Event::TimerFired(Timer::Wait(scope)) => Some(scope),
        _ => None,
    }
}
