//! When a node with several inputs may start, and what becomes of those it did not wait for.

use super::frame::{At, Phase, Role};
use super::{RunState, Work, absence, node_of};
use crate::flow::Need;
use crate::flow::expression::Slot;
use crate::plan::{Body, Kind, Ref};

impl RunState {
    /// One need of a node has settled: the node starts if its join is met.
    pub(super) fn need_settled(&mut self, at: At, body: &Body) {
        let node = self.frame_mut(at.frame).node_mut(at.node);
        node.n_pending = node.n_pending.saturating_sub(1);
        if !matches!(node.phase, Phase::Waiting) {
            return;
        }
        if node.n_pending == 0 || self.is_met(at, body) {
            self.enqueue(at);
        }
    }

    pub(super) fn enqueue(&mut self, at: At) {
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Queued;
        self.work.push_back(Work::Start(at));
    }

    fn is_met(&self, at: At, body: &Body) -> bool {
        let node = node_of(body, at.node);
        let wanted = match node.join.need {
            Need::All => return false,
            Need::Any => 1,
            Need::AtLeast(n) => n as usize,
        };
        let frame = self.frame(at.frame);
        let is_settled = |need: u32| matches!(frame.node(need).phase, Phase::Settled);
        let is_present =
            |need: u32| frame.node(need).outputs.iter().any(|slot| matches!(slot, Slot::Present(_)));
        node.needs.iter().all(|need| !need.strict || is_settled(need.node))
            && node.needs.iter().filter(|need| is_settled(need.node) && is_present(need.node)).count()
                >= wanted
    }

    /// Stops the branches that a node with `cancel_losers` did not wait for and that nobody else wants.
    pub(super) fn cancel_losers(&mut self, winner: At) {
        let body = self.frame(winner.frame).body.clone();
        let name = node_of(&body, winner.node).name.clone();
        let mut candidates: Vec<u32> =
            node_of(&body, winner.node).needs.iter().map(|need| need.node).collect();
        while let Some(node) = candidates.pop() {
            let at = At { frame: winner.frame, node };
            if !self.is_unwanted(at, &body) {
                continue;
            }
            candidates.extend(node_of(&body, node).needs.iter().map(|need| need.node));
            self.abort(at);
            let why = absence::not_wanted(&self.scope(at), &name);
            self.settle_absent(at, why);
        }
    }

    /// Whether a node is not settled, and everything that waits for it has started or settled without it.
    fn is_unwanted(&self, at: At, body: &Body) -> bool {
        let frame = self.frame(at.frame);
        // What `until` reads counts as an output of the turn.
        let around = match frame.role {
            Role::Turn { parent, .. } => Some((self.frame(parent.frame).body.clone(), parent.node)),
            _ => None,
        };
        let until = match around.as_ref().map(|(body, node)| &node_of(body, *node).kind) {
            Some(Kind::Loop(spec)) => spec.until.as_slice(),
            _ => &[],
        };
        let is_output = body
            .outputs
            .iter()
            .map(|output| &output.value)
            .chain(until.iter().map(|(_, condition)| condition))
            .flat_map(|expr| &expr.refs)
            .any(|reference| matches!(reference.at, Ref::Port { node, .. } if node == at.node));
        !is_output
            && !matches!(frame.node(at.node).phase, Phase::Settled)
            && node_of(body, at.node)
                .dependents
                .iter()
                .all(|dependent| !matches!(frame.node(*dependent).phase, Phase::Waiting | Phase::Queued))
    }
}
