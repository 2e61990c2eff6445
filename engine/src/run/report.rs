//! Gathers what became of every node execution, out of the notices.

use std::collections::HashMap;

use super::{NodeReport, Notice};
use crate::backend::Usage;
use crate::event::Timing;
use crate::scope::Scope;
use crate::value::{Map, Text};

/// The node executions so far, in the order in which they were first heard of.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<NodeReport>,
    positions: HashMap<Scope, usize>,
}

impl Nodes {
    pub(super) fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Started { scope, op, inputs, .. } => {
                let node = self.entry(scope, op);
                node.inputs.clone_from(inputs);
                node.aborted = false;
            }
            Notice::Ended { scope, op, attempt, outputs, failure, usage, timing, .. } => {
                let node = self.entry(scope, op);
                node.attempts = *attempt;
                node.outputs.clone_from(outputs);
                node.failure.clone_from(failure);
                node.usage += *usage;
                node.timing = *timing;
            }
            Notice::Aborted { scope, op, attempt, usage, timing } => {
                let node = self.entry(scope, op);
                node.aborted = true;
                if *attempt > 0 {
                    node.attempts = *attempt;
                    node.timing = *timing;
                }
                node.usage += *usage;
            }
            Notice::Skipped { scope, why } => self.entry(scope, &"".into()).skipped = Some(why.clone()),
            Notice::Opened { scope, what, inputs } => {
                let node = self.entry(scope, &what.name().into());
                // What was stopped and has an `on_error` goes on.
                node.aborted = false;
                if !inputs.is_empty() {
                    node.inputs.clone_from(inputs);
                }
            }
            Notice::Closed { scope, parts, failure } => {
                let node = self.entry(scope, &"".into());
                // An operator that a flow stood in for keeps its own attempts and its failure.
                if !node.op.contains('.') {
                    node.attempts = u32::try_from(*parts).unwrap_or(u32::MAX);
                }
                if failure.is_some() {
                    node.failure.clone_from(failure);
                }
            }
            Notice::Waiting(wait) => self.entry(&wait.scope, &"wait".into()).inputs.clone_from(&wait.shown),
            Notice::Part { .. } | Notice::Progress { .. } => {}
        }
    }

    pub(super) fn into_reports(self) -> Vec<NodeReport> {
        self.nodes
    }

    #[expect(clippy::indexing_slicing, reason = "positions are those of pushed nodes")]
    fn entry(&mut self, scope: &Scope, op: &Text) -> &mut NodeReport {
        let position = *self.positions.entry(scope.clone()).or_insert_with(|| {
            self.nodes.push(NodeReport {
                scope: scope.clone(),
                op: op.clone(),
                attempts: 0,
                skipped: None,
                failure: None,
                aborted: false,
                inputs: Map::new(),
                outputs: Map::new(),
                usage: Usage::default(),
                timing: Timing::default(),
            });
            self.nodes.len() - 1
        });
        &mut self.nodes[position]
    }
}
