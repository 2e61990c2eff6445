//! What is told of a job while it happens: to those who watch it here, and over the wire to other processes.

use anabranch_engine::backend::Usage;
use anabranch_engine::cx::Progress;
use anabranch_engine::event::Failure;
use anabranch_engine::run::{Notice, Opened};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::job::OpenWait;

/// Something that happens in a job. What is journaled has its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Live {
    /// The job has come to this process.
    Came,
    /// Something that is not journaled: a node began, a piece of text.
    Said(Said),
    /// Records up to this position can be read from the store.
    Journaled(u64),
    /// As many were dropped, because they were not taken fast enough.
    Missed(u64),
    /// The job has ended, parked or was handed over.
    Left,
}

/// What is told live only. Of what the engine notices, as much as somebody who watches is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said {
    /// An attempt of a node began.
    Started {
        /// Which node.
        node: String,
        /// The operator.
        op: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// An attempt of a node ended; the journal has what it came to.
    Ended {
        /// Which node.
        node: String,
        /// Whether no other attempt follows.
        is_last: bool,
    },
    /// An attempt of a node was stopped before its end, and the journal says nothing of it: it used nothing.
    Aborted {
        /// Which node.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it used.
        usage: Usage,
    },
    /// A node will not run.
    Skipped {
        /// Which node.
        node: String,
        /// Why.
        why: String,
    },
    /// A sub-flow, a loop or an each began.
    Opened {
        /// Which node.
        node: String,
        /// `flow`, `loop`, `each` or `plan`.
        kind: String,
        /// Most turns, items or steps.
        bound: Option<u64>,
    },
    /// A turn or an item began.
    Part {
        /// Which node.
        node: String,
        /// Which.
        index: u64,
    },
    /// A sub-flow, a loop or an each ended.
    Closed {
        /// Which node.
        node: String,
        /// Turns or items that ended well.
        parts: u64,
        /// Why it failed, if it did.
        failure: Option<Failure>,
    },
    /// A wait waits for its answer.
    Waiting {
        /// What it asks.
        wait: OpenWait,
    },
    /// A node writes.
    Delta {
        /// Which node.
        node: String,
        /// The piece.
        text: String,
    },
    /// A node remarks.
    Note {
        /// Which node.
        node: String,
        /// The remark.
        text: String,
    },
}

/// A node that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningNode {
    /// Which node.
    pub node: String,
    /// The operator.
    pub op: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What it has written, or the end of that.
    pub text: String,
    /// Bytes that were written before and are not kept.
    pub left_out: usize,
}

/// What is heard of a job from now on.
#[derive(Debug)]
pub struct Heard {
    /// What happens.
    pub live: broadcast::Receiver<Live>,
    /// What runs already: what happens goes on right after it.
    pub running: Vec<RunningNode>,
    /// The claim of whoever tells: a job that has changed hands since is told by somebody else.
    pub epoch: i64,
    /// Whether nothing has happened before.
    pub is_whole: bool,
}

impl Said {
    /// What is told of a notice, if anything is.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        Some(match notice {
            Notice::Started { scope, op, attempt, .. } => {
                Self::Started { node: scope.to_string(), op: op.to_string(), attempt: *attempt }
            }
            Notice::Ended { scope, retry_in, .. } => {
                Self::Ended { node: scope.to_string(), is_last: retry_in.is_none() }
            }
            // The journal has it, with a number.
            Notice::Aborted { usage, .. } if *usage != Usage::default() => return None,
            Notice::Aborted { scope, attempt, usage, .. } => {
                Self::Aborted { node: scope.to_string(), attempt: *attempt, usage: *usage }
            }
            Notice::Skipped { scope, why } => Self::Skipped { node: scope.to_string(), why: why.to_string() },
            Notice::Opened { scope, what, .. } => Self::Opened {
                node: scope.to_string(),
                kind: what.name().to_owned(),
                bound: match what {
                    Opened::Flow => None,
                    Opened::Loop(turns) => Some(u64::from(*turns)),
                    Opened::Each(items) => Some(*items as u64),
                    Opened::Plan(steps) => Some(*steps as u64),
                },
            },
            Notice::Part { scope, index } => Self::Part { node: scope.to_string(), index: *index as u64 },
            Notice::Closed { scope, parts, failure } => {
                Self::Closed { node: scope.to_string(), parts: *parts as u64, failure: failure.clone() }
            }
            Notice::Waiting(wait) => Self::Waiting { wait: OpenWait::from(wait) },
            Notice::Progress { scope, progress } => match progress.as_ref()? {
                Progress::Delta(text) => Self::Delta { node: scope.to_string(), text: text.clone() },
                Progress::Note(text) => Self::Note { node: scope.to_string(), text: text.clone() },
            },
        })
    }
}
