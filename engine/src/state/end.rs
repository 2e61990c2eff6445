//! How nodes, scopes and the run end: outputs put in place, failures caught or passed on.

use std::collections::BTreeMap;

use super::frame::{At, Composite, FrameId, Phase, Role};
use super::{Action, RunResult, RunState, Work, absence, failure, node_of};
use crate::event::{Failure, FailureKind};
use crate::flow::expression::{EvalError, Slot};
use crate::plan::{Body, OnError};
use crate::run::Outcome;
use crate::scope::Scope;
use crate::value::Map;

impl RunState {
    /// Every node of a scope is settled: its results go to whatever opened it.
    pub(super) fn frame_done(&mut self, id: FrameId) {
        // It may have failed while its end was queued.
        if !self.is_open(id) {
            return;
        }
        let frame = self.frame(id);
        let body = frame.body.clone();
        let slots: Result<Vec<Slot>, EvalError> =
            body.outputs.iter().map(|output| output.value.eval(frame)).collect();
        let slots = match slots {
            Ok(slots) => slots,
            Err(error) => {
                let scope =
                    frame.role.scope_of(self).unwrap_or_else(|| Scope::new("", self.plan.name.clone()));
                let failure = failure(scope, FailureKind::Expression, error.to_string());
                return self.fail_frame(id, failure);
            }
        };
        match frame.role {
            Role::Root => self.end_with(&body, slots),
            Role::Sub { parent } => {
                self.close(id);
                self.close_node(parent, 1, None);
                self.settle(parent, slots);
            }
            Role::Fallback { parent } => self.fallback_done(id, parent, &slots),
            Role::Plan { parent } => self.plan_done(id, parent, &slots),
            Role::Turn { parent, index } => self.turn_done(id, parent, index, slots),
            Role::Item { parent, index } => {
                self.close(id);
                self.item_done(parent, index, Ok(slots));
            }
        }
    }

    pub(super) fn fallback_done(&mut self, id: FrameId, parent: At, slots: &[Slot]) {
        self.close(id);
        self.close_node(parent, 1, None);
        let body = self.frame(parent.frame).body.clone();
        if let OnError::Flow { outputs, .. } = &node_of(&body, parent.node).on_error {
            let by_port = outputs
                .iter()
                .map(|position| slots.get(*position as usize).cloned().unwrap_or(Slot::Pending))
                .collect();
            self.settle(parent, by_port);
        }
    }

    /// Puts the outputs of a node in place and wakes what waits for it.
    pub(super) fn settle(&mut self, at: At, slots: Vec<Slot>) {
        let frame = self.frame_mut(at.frame);
        let node = frame.node_mut(at.node);
        node.phase = Phase::Settled;
        node.outputs = slots;
        node.retry_inputs = None;
        frame.n_open -= 1;
        let is_done = frame.n_open == 0;
        let body = frame.body.clone();
        for &dependent in &node_of(&body, at.node).dependents {
            self.need_settled(At { frame: at.frame, node: dependent }, &body);
        }
        if is_done {
            self.work.push_back(Work::FrameDone(at.frame));
        }
    }

    /// A node has failed for good: what its `on_error` says happens.
    pub(super) fn fail(&mut self, at: At, failure: Failure) {
        let frame = self.frame(at.frame);
        let body = frame.body.clone();
        let node = node_of(&body, at.node);
        let in_fallback = matches!(frame.node(at.node).phase, Phase::Open(Composite::Fallback(_)));
        self.close_node(at, 0, Some(&failure));
        // Nothing of it is left to abort, whatever happens next.
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Stopped;
        match &node.on_error {
            OnError::Flow { body: fallback, inputs, .. } if !in_fallback => {
                self.start_fallback(at, fallback, inputs, failure);
            }
            OnError::Fail | OnError::Flow { .. } => self.fail_frame(at.frame, failure),
            OnError::Skip => {
                let why = absence::failed(&self.scope(at), &failure);
                self.settle_absent(at, why);
            }
            OnError::Value(values) => {
                let scope = self.scope(at);
                let slots = values
                    .iter()
                    .zip(&node.outputs)
                    .map(|(value, port)| match value {
                        Some(value) => Slot::Present(value.clone()),
                        None => Slot::Absent(absence::not_put_out(&scope, &port.name)),
                    })
                    .collect();
                self.settle(at, slots);
            }
        }
    }

    /// A scope has failed: what runs in it is aborted, and whatever opened it decides.
    pub(super) fn fail_frame(&mut self, id: FrameId, failure: Failure) {
        let role = self.frame(id).role;
        self.close(id);
        match role {
            Role::Root => self.end(Outcome::Failed(failure)),
            Role::Sub { parent }
            | Role::Fallback { parent }
            | Role::Turn { parent, .. }
            | Role::Plan { parent } => self.fail(parent, failure),
            Role::Item { parent, index } => self.item_done(parent, index, Err(failure)),
        }
    }

    pub(super) fn end_with(&mut self, body: &Body, slots: Vec<Slot>) {
        let mut outputs = Map::new();
        let mut absent = BTreeMap::new();
        for (output, slot) in body.outputs.iter().zip(slots) {
            match slot {
                Slot::Present(value) => {
                    outputs.insert(output.port.name.clone(), value);
                }
                Slot::Absent(why) => {
                    absent.insert(output.port.name.clone(), (*why).clone());
                }
                Slot::Pending => {
                    absent.insert(output.port.name.clone(), (*absence::pending(&output.port.name)).clone());
                }
            }
        }
        self.close(FrameId::ROOT);
        self.result = Some(RunResult { outcome: Outcome::Succeeded, outputs, absent });
        self.actions.push(Action::Finish);
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        if self.is_open(FrameId::ROOT) {
            self.close(FrameId::ROOT);
        }
        self.result = Some(RunResult { outcome, outputs: Map::new(), absent: BTreeMap::new() });
        self.actions.push(Action::Finish);
    }
}
