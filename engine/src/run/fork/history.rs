//! What a run was, as far as starting it again asks: what ran, what failed, and what each attempt read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::event::{Event, Record, Timer};
use crate::plan::Plan;
use crate::run::{Notice, Outcome};
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunState, Setup};
use crate::value::{Text, Value};

use super::ForkError;

/// The end of an attempt, by the state that it met.
pub(super) struct End {
    /// What the attempt read.
    pub(super) reads: Option<Text>,
    /// Whether no attempt followed.
    pub(super) is_final: bool,
}

pub(super) struct History {
    /// By position of the record.
    pub(super) read: HashMap<usize, End>,
    /// Nodes, turns and items that began.
    pub(super) seen: BTreeSet<String>,
    /// Node executions that failed and did not succeed later; whether it was a timer that failed them.
    pub(super) failed: BTreeMap<Scope, bool>,
    /// What operators put out, the last time that they did.
    pub(super) outputs: HashMap<Scope, Vec<Option<Value>>>,
    pub(super) outcome: Option<Outcome>,
}

impl History {
    pub(super) fn of(plan: &Arc<Plan>, records: &[Record]) -> Result<Self, ForkError> {
        if records.is_empty() {
            return Err(ForkError::NotStarted);
        }
        let mut history = Self {
            read: HashMap::new(),
            seen: BTreeSet::new(),
            failed: BTreeMap::new(),
            outputs: HashMap::new(),
            outcome: None,
        };
        let setup = Setup { notes: true, ..Setup::default() };
        let mut state = RunState::new(plan.clone(), setup);
        let mut begun = HashMap::new();
        for (position, record) in records.iter().enumerate() {
            history.take_in(&mut state, &mut begun, position, record)?;
        }
        history.outcome = state.result().map(|result| result.outcome.clone());
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
            Event::AttemptEnded { scope, result, .. } => {
                let reads = begun.remove(scope).flatten();
                self.read.insert(position, End { reads, is_final: true });
                self.ended(scope, result.as_ref().ok());
            }
            Event::Given { scope, result, .. } => self.ended(scope, result.as_ref().ok()),
            Event::TimerFired(timer @ Timer::Wall(scope)) if state.awaits(timer) => {
                self.failed.insert(scope.clone(), true);
            }
            _ => {}
        }
        for action in state.apply(record)? {
            match action {
                Action::Start(start) => {
                    self.seen.insert(start.scope.to_string());
                    begun.insert(start.scope.clone(), state.reads(&start));
                }
                Action::Abort(scope) => {
                    begun.remove(&scope);
                }
                Action::Note(notice) => self.note(&notice),
                Action::SetTimer { .. } | Action::SetAlarm { .. } | Action::Ask { .. } | Action::Finish => {}
            }
        }
        if let Event::AttemptEnded { scope, .. } = &record.event
            && begun.contains_key(scope)
            && let Some(end) = self.read.get_mut(&position)
        {
            end.is_final = false;
        }
        Ok(())
    }

    fn ended(&mut self, scope: &Scope, outputs: Option<&Vec<Option<Value>>>) {
        match outputs {
            Some(outputs) => {
                self.failed.remove(scope);
                self.outputs.insert(scope.clone(), outputs.clone());
            }
            None => {
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
