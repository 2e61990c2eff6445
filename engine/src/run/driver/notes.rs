//! What the driver tells: to whoever watches, and in the end.

use std::collections::BTreeMap;

use super::{Driver, Outputs};
use crate::backend::Usage;
use crate::event::Timing;
use crate::run::{Notice, Outcome, Report};
use crate::scope::Scope;
use crate::state::RunResult;
use crate::value::{Map, Text};

impl Driver {
    pub(super) fn note(&mut self, notice: &Notice) {
        if let Some(observer) = &self.options.observer {
            observer.notice(notice);
        }
        if self.options.details {
            self.nodes.notice(notice);
        }
    }

    pub(super) fn note_ended(
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

    pub(super) fn report(self, result: RunResult) -> Report {
        Report {
            outcome: result.outcome,
            outputs: result.outputs,
            absent: result.absent,
            usage: self.state.usage(),
            nodes: self.nodes.into_reports(),
            elapsed: self.context.elapsed(),
        }
    }

    /// What there is to say of a run that has not ended.
    pub(super) fn rested(self, outcome: Outcome) -> Report {
        self.report(RunResult { outcome, outputs: Map::new(), absent: BTreeMap::new() })
    }
}
