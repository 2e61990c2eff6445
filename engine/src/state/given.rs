//! Results that stand in for running a node: kept from another run, or put there by somebody.

use super::frame::{At, Composite, Phase};
use super::start::{Hindrance, named};
use super::{RunState, Start, absence, failure, node_of};
use crate::event::{Failure, FailureKind, Timing};
use crate::flow::expression::Slot;
use crate::plan::{Kind, Node};
use crate::run::Notice;
use crate::scope::Scope;
use crate::value::{Map, Text, Value};

type Outputs = Result<Vec<Option<Value>>, Failure>;

/// A result that waits for its node to start.
pub(super) struct Given {
    reads: Option<Text>,
    result: Outputs,
}

impl RunState {
    /// Names what an attempt reads, with what its settings took from the run: the same name, the same reading.
    ///
    /// To be asked right after the event that began it, while its scope is as it was then.
    pub(crate) fn reads(&self, start: &Start) -> Option<Text> {
        let at = self.find(&start.scope)?;
        match &node_of(&self.frame(at.frame).body, at.node).kind {
            Kind::Op(op) => Some(self.cache_key(at, op, &start.inputs).into()),
            _ => None,
        }
    }

    /// Keeps a result for a node that has not started; ends one that has, if it stands in whatever is read.
    pub(super) fn give(&mut self, scope: &Scope, reads: Option<Text>, result: Outputs) -> Result<(), String> {
        let at = self.find(scope);
        let phase = at.map(|at| (at, &self.frame(at.frame).node(at.node).phase));
        match phase {
            None | Some((_, Phase::Waiting | Phase::Queued)) => {
                self.given.insert(scope.clone(), Given { reads, result });
                Ok(())
            }
            Some((
                at,
                Phase::Running(_) | Phase::Open(Composite::Sub(_) | Composite::Loop(_) | Composite::Each(_)),
            )) if reads.is_none() => {
                self.abort(at);
                self.close_node(at, 0, None);
                let body = self.frame(at.frame).body.clone();
                match self.settle_given(at, node_of(&body, at.node), result) {
                    Ok(()) => {}
                    Err(failure) => self.fail(at, failure),
                }
                Ok(())
            }
            Some((_, other)) => Err(format!("{scope:?} is {}", other.name())),
        }
    }

    /// Gives a node the result that was kept for it; false if there is none, or not for what it reads.
    pub(super) fn start_given(&mut self, at: At, node: &Node) -> Result<bool, Hindrance> {
        if self.given.is_empty() {
            return Ok(false);
        }
        let Some(Given { reads, result }) = self.given.remove(&self.scope(at)) else { return Ok(false) };
        if let Some(expected) = reads {
            let Kind::Op(op) = &node.kind else { return Ok(false) };
            let inputs = self.op_inputs(at, op)?;
            if *self.cache_key(at, op, &inputs) != *expected {
                return Ok(false);
            }
        }
        self.settle_given(at, node, result)?;
        Ok(true)
    }

    fn settle_given(&mut self, at: At, node: &Node, result: Outputs) -> Result<(), Failure> {
        let scope = self.scope(at);
        let slots = result.and_then(|outputs| output_slots(&scope, node, &outputs));
        if self.setup.notes {
            let (op, inputs): (Text, Map) = match &node.kind {
                Kind::Op(op) => {
                    let values = self.op_inputs(at, op).unwrap_or_default();
                    let named = op.names.iter().zip(values);
                    let named = named.filter_map(|(name, value)| Some((name.clone(), value?)));
                    (op.spec.name.into(), named.collect())
                }
                _ => ("given".into(), Map::new()),
            };
            self.note(|| Notice::Started { scope: scope.clone(), op: op.clone(), attempt: 1, inputs });
            let outputs = slots.as_ref().map(|slots| named(node, slots)).unwrap_or_default();
            let failure = slots.as_ref().err().cloned();
            self.note(|| Notice::Ended {
                scope,
                op,
                attempt: failure.as_ref().map_or(1, |failure| failure.attempt),
                outputs,
                failure,
                retry_in: None,
                usage: crate::backend::Usage::default(),
                timing: Timing::default(),
            });
        }
        self.settle(at, slots?);
        Ok(())
    }
}

/// The outputs of a node as they were recorded.
pub(super) fn output_slots(
    scope: &Scope,
    node: &Node,
    outputs: &[Option<Value>],
) -> Result<Vec<Slot>, Failure> {
    let values = outputs.iter().zip(&node.outputs);
    values
        .map(|(value, port)| match value {
            // From a journal that keeps JSON, records come as maps.
            Some(value) => value.clone().into_type(&port.ty).map(Slot::Present).map_err(|mismatch| {
                let message = format!("output `{}`: {mismatch}", port.name);
                failure(scope.clone(), FailureKind::Type, message)
            }),
            None => Ok(Slot::Absent(absence::not_put_out(scope, &port.name))),
        })
        .collect()
}
