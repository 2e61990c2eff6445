//! Frames: the open scopes of a run, and the nodes in them.

use std::sync::Arc;

use super::{Action, RunState, Work, node_of};
use crate::backend::Usage;
use crate::budget::Ledger;
use crate::event::{Failure, Timer, Timing};
use crate::flow::expression::{Env, Slot};
use crate::plan::{Body, Ref};
use crate::run::Notice;
use crate::scope::Scope;
use crate::state::items::Items;
use crate::state::plans::Expanded;
use crate::state::turns::Turns;
use crate::state::waits::Asked;
use crate::value::{Text, Value};

/// Names a frame for good: its place, which is used again after the frame is closed, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameId {
    place: usize,
    number: u64,
}

impl FrameId {
    /// The first frame of a run: the flow itself.
    pub(super) const ROOT: Self = Self { place: 0, number: 0 };
}

/// A node in an open scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) frame: FrameId,
    pub(super) node: u32,
}

/// Why a frame is open, and what its end means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Root,
    Sub { parent: At },
    Fallback { parent: At },
    Turn { parent: At, index: usize },
    Item { parent: At, index: usize },
    Plan { parent: At },
}

impl Role {
    /// The node that opened the frame.
    pub(super) fn parent(self) -> Option<At> {
        match self {
            Self::Root => None,
            Self::Sub { parent }
            | Self::Fallback { parent }
            | Self::Turn { parent, .. }
            | Self::Item { parent, .. }
            | Self::Plan { parent } => Some(parent),
        }
    }

    /// The scope of the node that opened the frame.
    pub(super) fn scope_of(self, state: &RunState) -> Option<Scope> {
        self.parent().map(|parent| state.scope(parent))
    }
}

/// An open scope.
pub(super) struct Frame {
    pub(super) id: FrameId,
    pub(super) path: Text,
    /// Counted by this frame alone: the plan's own count is shared by all runs of the process.
    #[expect(clippy::redundant_allocation, reason = "the outer count is the point")]
    pub(super) body: Arc<Arc<Body>>,
    pub(super) role: Role,
    pub(super) inputs: Vec<Slot>,
    pub(super) captures: Arc<[Slot]>,
    pub(super) nodes: Vec<NodeState>,
    /// Nodes that are not settled.
    pub(super) n_open: usize,
    pub(super) ledger: Arc<Ledger>,
    /// Inside a plan that was made at run time: which one.
    pub(super) salt: Option<Text>,
}

/// A node in an open scope.
pub(super) struct NodeState {
    pub(super) phase: Phase,
    /// Needs that are not settled.
    pub(super) n_pending: u32,
    /// Its outputs once settled; empty while not.
    pub(super) outputs: Vec<Slot>,
    /// The ledger of its own budget, if it has one and has started.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// Its inputs, kept while another attempt is possible.
    pub(super) retry_inputs: Option<Vec<Option<Value>>>,
}

/// How far a node is.
pub(super) enum Phase {
    Waiting,
    Queued,
    Running(u32),
    Open(Composite),
    /// It waits for an answer.
    Asking(Box<Asked>),
    /// It has failed and nothing runs in it; its `on_error` is about to decide.
    Stopped,
    Settled,
}

/// What a node that opens scopes keeps.
pub(super) enum Composite {
    Sub(FrameId),
    Fallback(FrameId),
    Loop(Box<Turns>),
    Each(Box<Items>),
    Plan(Box<Expanded>),
}

impl Phase {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running(_) => "running",
            Self::Open(_) => "open",
            Self::Asking(_) => "asking",
            Self::Stopped => "stopped",
            Self::Settled => "settled",
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Open(_))
    }
}

impl Frame {
    #[expect(
        clippy::indexing_slicing,
        reason = "as many nodes as the body has; positions come from the plan"
    )]
    pub(super) fn node(&self, node: u32) -> &NodeState {
        &self.nodes[node as usize]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "as many nodes as the body has; positions come from the plan"
    )]
    pub(super) fn node_mut(&mut self, node: u32) -> &mut NodeState {
        &mut self.nodes[node as usize]
    }
}

impl Env for Frame {
    fn slot(&self, at: Ref) -> Slot {
        let slot = match at {
            Ref::Input(input) => self.inputs.get(input as usize),
            Ref::Capture(capture) => self.captures.get(capture as usize),
            Ref::Port { node, port } => {
                self.nodes.get(node as usize).and_then(|node| node.outputs.get(port as usize))
            }
        };
        slot.cloned().unwrap_or(Slot::Pending)
    }
}

impl RunState {
    #[expect(clippy::expect_used, clippy::indexing_slicing, reason = "ids are handed out by `open` only")]
    pub(super) fn frame(&self, id: FrameId) -> &Frame {
        self.frames[id.place].as_ref().expect("an open frame")
    }

    #[expect(clippy::expect_used, clippy::indexing_slicing, reason = "ids are handed out by `open` only")]
    pub(super) fn frame_mut(&mut self, id: FrameId) -> &mut Frame {
        self.frames[id.place].as_mut().expect("an open frame")
    }

    pub(super) fn is_open(&self, id: FrameId) -> bool {
        matches!(self.frames.get(id.place), Some(Some(frame)) if frame.id == id)
    }

    /// The node that the journal calls `scope`, if its scope is open.
    pub(super) fn find(&self, scope: &Scope) -> Option<At> {
        let frame = *self.by_path.get(&scope.frame)?;
        let body = &self.frame(frame).body;
        let node = body.nodes.iter().position(|node| node.name == scope.node)?;
        Some(At { frame, node: u32::try_from(node).ok()? })
    }

    pub(super) fn scope(&self, at: At) -> Scope {
        let frame = self.frame(at.frame);
        Scope::new(frame.path.clone(), node_of(&frame.body, at.node).name.clone())
    }

    /// The ledger that the node spends from.
    pub(super) fn node_ledger(&self, at: At) -> &Arc<Ledger> {
        let frame = self.frame(at.frame);
        frame.node(at.node).ledger.as_ref().unwrap_or(&frame.ledger)
    }

    /// Opens a scope and queues the nodes that wait for nothing.
    pub(super) fn open(
        &mut self,
        path: Text,
        body: Arc<Body>,
        role: Role,
        inputs: Vec<Slot>,
        captures: Arc<[Slot]>,
        ledger: Arc<Ledger>,
    ) -> FrameId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.frames.push(None);
            self.frames.len() - 1
        });
        let id = FrameId { place, number: self.n_opened };
        self.n_opened += 1;
        let nodes: Vec<NodeState> = body
            .nodes
            .iter()
            .map(|node| NodeState {
                phase: if node.needs.is_empty() { Phase::Queued } else { Phase::Waiting },
                n_pending: u32::try_from(node.needs.len()).unwrap_or(u32::MAX),
                outputs: Vec::new(),
                ledger: None,
                retry_inputs: None,
            })
            .collect();
        for (node, position) in body.nodes.iter().zip(0..) {
            if node.needs.is_empty() {
                self.work.push_back(Work::Start(At { frame: id, node: position }));
            }
            if let Some(after) = node.join.deadline {
                let scope = Scope::new(path.clone(), node.name.clone());
                self.actions.push(Action::SetTimer { timer: Timer::Join(scope), after });
            }
        }
        if nodes.is_empty() {
            self.work.push_back(Work::FrameDone(id));
        }
        self.by_path.insert(path.clone(), id);
        let n_open = nodes.len();
        let salt = role.parent().and_then(|parent| self.frame(parent.frame).salt.clone());
        if let Some(free) = self.frames.get_mut(place) {
            let body = Arc::new(body);
            *free = Some(Frame { id, path, body, role, inputs, captures, nodes, n_open, ledger, salt });
        }
        id
    }

    /// Closes a scope: what still runs in it is aborted.
    pub(super) fn close(&mut self, id: FrameId) {
        let n_nodes = u32::try_from(self.frame(id).nodes.len()).unwrap_or(u32::MAX);
        if self.frame(id).n_open > 0 {
            for node in 0..n_nodes {
                self.cut(At { frame: id, node });
            }
        }
        if let Some(frame) = self.frames.get_mut(id.place).and_then(Option::take) {
            self.by_path.remove(&frame.path);
            self.free.push(id.place);
        }
    }

    /// Stops a node that nobody waits for any more, with everything inside it, and tells so. Of an attempt, whoever stops
    /// it tells: what it has used is known there.
    pub(super) fn cut(&mut self, at: At) {
        let is_told = matches!(self.frame(at.frame).node(at.node).phase, Phase::Open(_) | Phase::Asking(_));
        self.abort(at);
        if is_told {
            let scope = self.scope(at);
            self.note(|| Notice::Aborted {
                scope,
                op: "".into(),
                attempt: 0,
                usage: Usage::default(),
                timing: Timing::default(),
            });
        }
    }

    /// Stops a node, with everything inside it. Its phase is left for the caller to decide.
    pub(super) fn abort(&mut self, at: At) {
        let open: Vec<FrameId> = match &self.frame(at.frame).node(at.node).phase {
            Phase::Running(_) => {
                let scope = self.scope(at);
                self.aborted.insert(scope.clone(), self.node_ledger(at).clone());
                self.actions.push(Action::Abort(scope));
                return;
            }
            Phase::Asking(_) => {
                let scope = self.scope(at);
                return self.waits.closed(&scope, false);
            }
            Phase::Open(Composite::Sub(id) | Composite::Fallback(id)) => vec![*id],
            Phase::Open(Composite::Loop(turns)) => vec![turns.frame],
            Phase::Open(Composite::Each(items)) => items.open_frames(),
            Phase::Open(Composite::Plan(expanded)) => vec![expanded.frame],
            Phase::Waiting | Phase::Queued | Phase::Stopped | Phase::Settled => return,
        };
        for id in open {
            self.close(id);
        }
    }

    /// Tells whoever watches that a node that had opened scopes is through.
    pub(super) fn close_node(&mut self, at: At, parts: usize, failure: Option<&Failure>) {
        if self.setup.notes
            && let Phase::Open(_) = self.frame(at.frame).node(at.node).phase
        {
            let (scope, failure) = (self.scope(at), failure.cloned());
            self.note(|| Notice::Closed { scope, parts, failure });
        }
    }
}
