//! Results that stand in for running a node: kept from another run, or put there by somebody.

use super::frame::{At, Composite, Phase};
use super::start::{Hindrance, named};
use super::{RunState, absence, failure, node_of};
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
    /// Names what an attempt reads, with what its settings took from the run, or what a wait shows: the same name, the
    /// same reading. To be asked right after the event that began it, while its scope is as it was then.
    pub(crate) fn reads(&self, scope: &Scope, inputs: &[Option<Value>]) -> Option<Text> {
        let at = self.find(scope)?;
        let node = self.frame(at.frame).node(at.node);
        match (&node_of(&self.frame(at.frame).body, at.node).kind, &node.phase) {
            (Kind::Op(op), _) => Some(self.cache_key(at, op, inputs).into()),
            (Kind::Wait(_), Phase::Asking(asked)) => Some(name_of(&asked.shown)),
            _ => None,
        }
    }

    /// As [`RunState::reads`], of a node that is about to start.
    fn would_read(&self, at: At, node: &Node) -> Result<Option<Text>, Hindrance> {
        Ok(match &node.kind {
            Kind::Op(op) => Some(self.cache_key(at, op, &self.op_inputs(at, op)?).into()),
            Kind::Wait(wait) => Some(name_of(&self.shown(at, wait)?)),
            Kind::Flow { .. } | Kind::Loop(_) | Kind::Each(_) | Kind::Plan(_) => None,
        })
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
                Phase::Running(_)
                | Phase::Asking(_)
                | Phase::Open(Composite::Sub(_) | Composite::Loop(_) | Composite::Each(_) | Composite::Plan(_)),
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
        if reads.is_some() && self.would_read(at, node)? != reads {
            return Ok(false);
        }
        self.settle_given(at, node, result)?;
        Ok(true)
    }

    fn settle_given(&mut self, at: At, node: &Node, result: Outputs) -> Result<(), Failure> {
        let scope = self.scope(at);
        let slots = result.and_then(|outputs| output_slots(&scope, node, &outputs));
        if let Kind::Wait(_) = &node.kind {
            let is_answer = slots
                .as_ref()
                .is_ok_and(|slots| matches!(slots.as_slice(), [_, Slot::Present(Value::Bool(true))]));
            self.waits.closed(&scope, is_answer);
        }
        if self.setup.notes {
            let (op, inputs): (Text, Map) = match &node.kind {
                Kind::Op(op) => {
                    let values = self.op_inputs(at, op).unwrap_or_default();
                    let named = op.names.iter().zip(values);
                    let named = named.filter_map(|(name, value)| Some((name.clone(), value?)));
                    (op.spec.name.into(), named.collect())
                }
                Kind::Wait(wait) => ("wait".into(), self.shown(at, wait).unwrap_or_default()),
                Kind::Flow { .. } | Kind::Loop(_) | Kind::Each(_) | Kind::Plan(_) => {
                    ("given".into(), Map::new())
                }
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

/// Names what a wait shows without showing it.
fn name_of(shown: &Map) -> Text {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in shown {
        let json = value.to_json().to_string();
        hasher.update(name.as_bytes()).update(b"\0").update(json.as_bytes()).update(b"\0");
    }
    hasher.finalize().to_hex().as_str().into()
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
