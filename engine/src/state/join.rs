//! When a node with several inputs may start, and what becomes of those it did not wait for.

use super::frame::{At, Phase, Role};
use super::start::Hindrance;
use super::{RunState, Work, absence, node_of};
use crate::flow::Need;
use crate::flow::expression::Slot;
use crate::plan::{Body, Kind, Node, Ref};

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

    /// Whether as many needs are present as the join asks for, before all are settled.
    fn is_met(&self, at: At, body: &Body) -> bool {
        let node = node_of(body, at.node);
        let Some(wanted) = wanted(node) else { return false };
        let is_settled = |need: u32| matches!(self.frame(at.frame).node(need).phase, Phase::Settled);
        node.needs.iter().all(|need| !need.strict || is_settled(need.node))
            && self.n_present(at, node) >= wanted
    }

    /// A join that all of its needs together do not meet skips the node; one whose deadline has passed does not.
    pub(super) fn check_join(&self, at: At, node: &Node) -> Result<(), Hindrance> {
        let Some(wanted) = wanted(node) else { return Ok(()) };
        let is_waiting = self.frame(at.frame).node(at.node).n_pending > 0;
        let n_present = self.n_present(at, node);
        if is_waiting || n_present >= wanted {
            return Ok(());
        }
        Err(Hindrance::Absent(absence::join_not_met(&self.scope(at), wanted, n_present)))
    }

    /// How many of the node's needs have put something out.
    fn n_present(&self, at: At, node: &Node) -> usize {
        let frame = self.frame(at.frame);
        let is_present =
            |need: u32| frame.node(need).outputs.iter().any(|slot| matches!(slot, Slot::Present(_)));
        node.needs.iter().filter(|need| is_present(need.node)).count()
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
            self.cut(at);
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

/// How many needs must be present; `None` where all must be settled instead.
fn wanted(node: &Node) -> Option<usize> {
    match node.join.need {
        Need::All => None,
        Need::Any => Some(1),
        Need::AtLeast(n) => Some(n as usize),
    }
}
