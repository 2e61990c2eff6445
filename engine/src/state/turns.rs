//! Loops: one turn after the other, until a reason to stop or the last turn.

use std::sync::Arc;

use super::frame::{At, Composite, FrameId, Phase, Role};
use super::start::Hindrance;
use super::{RunState, failure, node_of};
use crate::event::FailureKind;
use crate::flow::expression::Slot;
use crate::limits;
use crate::plan::{Kind, Loop, Node};
use crate::run::{Notice, Opened};
use crate::value::{Text, Value};

/// What an open loop keeps.
pub(super) struct Turns {
    /// The open turn.
    pub(super) frame: FrameId,
    most: u32,
    captures: Arc<[Slot]>,
}

impl RunState {
    pub(super) fn start_loop(&mut self, at: At, node: &Node, spec: &Loop) -> Result<(), Hindrance> {
        let max_turns = self.bound(at, &spec.max_turns, limits::MAX_TURNS, "max_turns")?;
        let mut carried = Vec::with_capacity(spec.first.len());
        for first in &spec.first {
            carried.push(self.eval(at, first)?);
        }
        self.open_budget(at, node);
        self.note_opened(at, Opened::Loop(max_turns));
        let captures = self.captures(at, &spec.body);
        self.open_turn(at, spec, 1, carried, max_turns, captures);
        Ok(())
    }

    fn open_turn(
        &mut self,
        at: At,
        spec: &Loop,
        index: usize,
        carried: Vec<Slot>,
        max_turns: u32,
        captures: Arc<[Slot]>,
    ) {
        let scope = self.scope(at);
        let path = scope.indexed(index);
        self.note(|| Notice::Part { scope, index });
        let ledger = self.node_ledger(at).clone();
        let role = Role::Turn { parent: at, index };
        let frame = self.open(path, spec.body.clone(), role, carried, captures.clone(), ledger);
        let turns = Turns { frame, most: max_turns, captures };
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Open(Composite::Loop(Box::new(turns)));
    }

    /// A turn has ended with the values for the next: on it goes, or the loop is over.
    pub(super) fn turn_done(&mut self, id: FrameId, parent: At, index: usize, next: Vec<Slot>) {
        let body = self.frame(parent.frame).body.clone();
        let Kind::Loop(spec) = &node_of(&body, parent.node).kind else { return };
        let reason = match self.reason_to_stop(id, spec) {
            Ok(reason) => reason,
            Err((kind, message)) => {
                let failure = failure(self.scope(parent), kind, format!("`until`: {message}"));
                return self.fail_frame(id, failure);
            }
        };
        self.close(id);
        let Phase::Open(Composite::Loop(turns)) = &self.frame(parent.frame).node(parent.node).phase else {
            return;
        };
        let (max_turns, captures) = (turns.most, turns.captures.clone());
        let is_last = index >= max_turns as usize;
        match reason.or_else(|| is_last.then(|| "max_turns".into())) {
            None => self.open_turn(parent, spec, index + 1, next, max_turns, captures),
            Some(reason) => {
                self.close_node(parent, index, None);
                // The outputs of a loop: what it carried, then `turns`, then `stopped_because`.
                let mut slots = next;
                slots.push(Slot::Present(Value::Int(i64::try_from(index).unwrap_or(i64::MAX))));
                slots.push(Slot::Present(Value::Text(reason)));
                self.settle(parent, slots);
            }
        }
    }

    /// The first reason in the written order whose condition holds; an absent condition does not.
    fn reason_to_stop(&self, id: FrameId, spec: &Loop) -> Result<Option<Text>, (FailureKind, String)> {
        for (reason, condition) in &spec.until {
            match condition.eval(self.frame(id)) {
                Ok(Slot::Present(Value::Bool(true))) => return Ok(Some(reason.clone())),
                Ok(Slot::Present(Value::Bool(false)) | Slot::Absent(_) | Slot::Pending) => {}
                Ok(Slot::Present(other)) => {
                    let message =
                        format!("`{reason}` gave `{}`, not a bool: {}", other.ty(), condition.source);
                    return Err((FailureKind::Type, message));
                }
                Err(error) => return Err((FailureKind::Expression, error.to_string())),
            }
        }
        Ok(None)
    }
}
