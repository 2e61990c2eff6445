//! What a run has done so far, worked out from its journal alone: for whoever looks at it from outside.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::report::Nodes;
use super::{NodeReport, Notice, OpenWait, aborted};
use crate::backend::Usage;
use crate::event::{Event, Record};
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunResult, RunState, Setup, Start};
use crate::value::Map;

/// A run as its journal shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inspection {
    /// Every node execution that has ended, was skipped or was opened, by the order in which it was first heard of.
    pub nodes: Vec<NodeReport>,
    /// Attempts that had begun and have no end, by the journal.
    pub open: Vec<OpenNode>,
    /// Attempts that were stopped before their end, in the order in which they were.
    pub aborted: Vec<AbortedNode>,
    /// Waits that have no answer.
    pub waits: Vec<OpenWait>,
    /// How it ended and what it gave, if it has ended.
    pub result: Option<RunResult>,
    /// What it has used.
    pub usage: Usage,
    /// Its age at the last record.
    pub elapsed: Duration,
}

/// An attempt that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenNode {
    /// Which node.
    pub scope: Scope,
    /// The operator.
    pub op: &'static str,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What it reads, by port.
    pub inputs: Map,
    /// Since when, after the run's start.
    pub since: Duration,
}

/// An attempt that was stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortedNode {
    /// Which node.
    pub scope: Scope,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Since when it was to run, after the run's start.
    pub since: Duration,
    /// When it was stopped.
    pub at: Duration,
}

/// Looks at a run through its journal; nothing is executed.
pub fn inspect(plan: &Arc<Plan>, records: &[Record]) -> Result<Inspection, IllegalEvent> {
    let setup = Setup { notes: true, ..Setup::default() };
    let mut state = RunState::new(plan.clone(), setup);
    let mut nodes = Nodes::default();
    // By what ends them: a large each begins thousands at once.
    let mut begun: IndexMap<Scope, (Box<Start>, Duration)> = IndexMap::new();
    let mut waits: Vec<OpenWait> = Vec::new();
    let spent = aborted::spent(records);
    let mut stopped: Vec<AbortedNode> = Vec::new();
    for record in records {
        if let Event::AttemptEnded { scope, attempt, result, usage, timing } = &record.event
            && let Some((start, _)) = begun.swap_remove(scope)
        {
            let (op, attempt, inputs) = (start.op, *attempt, start.named_inputs());
            nodes.notice(&Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs });
            let outputs =
                result.as_ref().map(|values| state.named_outputs(scope, values)).unwrap_or_default();
            nodes.notice(&Notice::Ended {
                scope: scope.clone(),
                op: op.into(),
                attempt,
                outputs,
                failure: result.as_ref().err().cloned(),
                retry_in: None,
                usage: *usage,
                timing: *timing,
            });
        }
        for action in state.apply(record)? {
            match action {
                Action::Start(start) => {
                    begun.insert(start.scope.clone(), (start, record.at));
                }
                Action::Abort(scope) => {
                    let Some((start, since)) = begun.swap_remove(&scope) else { continue };
                    let (at, attempt) = (record.at, start.attempt);
                    for notice in aborted::notices(&start, at.saturating_sub(since), &spent) {
                        nodes.notice(&notice);
                    }
                    stopped.push(AbortedNode { scope, attempt, since, at });
                }
                Action::Note(notice) => {
                    if let Notice::Waiting(wait) = &*notice {
                        waits.push(wait.clone());
                    }
                    if let Notice::Aborted { scope, .. } = &*notice {
                        waits.retain(|wait| wait.scope != *scope);
                    }
                    nodes.notice(&notice);
                }
                Action::Ask { .. } | Action::SetTimer { .. } | Action::SetAlarm { .. } | Action::Finish => {}
            }
        }
        match &record.event {
            Event::WaitAnswered { scope, .. } | Event::TimerFired(crate::event::Timer::Wait(scope)) => {
                waits.retain(|wait| wait.scope != *scope);
            }
            _ => {}
        }
    }
    let open = begun.into_iter().map(|(scope, (start, since))| OpenNode {
        scope,
        op: start.op,
        attempt: start.attempt,
        inputs: start.named_inputs(),
        since,
    });
    let result = state.result().cloned();
    Ok(Inspection {
        nodes: nodes.into_reports(),
        aborted: stopped,
        open: if result.is_some() { Vec::new() } else { open.collect() },
        waits: if result.is_some() { Vec::new() } else { waits },
        result,
        usage: state.usage(),
        elapsed: records.last().map(|record| record.at).unwrap_or_default(),
    })
}
