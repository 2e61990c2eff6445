//! The words of events: one for each thing that can happen in a job.

use anabranch_engine::event::{Event, Record, Timer};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::names::Names;
use crate::api::App;
use crate::api::jobs::NodeError;
use crate::api::jobs::view::{JobView, WaitView, time, usage};
use crate::job::{Job, Usage};
use crate::runner::{RunningNode, Said};

/// Something that happens in a job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobEvent {
    /// Its number in the journal, and the id in a stream; what is only told live has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How old the run was, without the time in which no process had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// What happens.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happens: `type` says which.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// The job as it is: the first event of every stream. Not journaled.
    Snapshot {
        /// The job.
        job: Box<JobView>,
        /// What the nodes that run have written so far: the pieces that follow go on right after it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        texts: Vec<TextView>,
    },
    /// The job began.
    JobStarted {
        /// Hash of the flow that it runs.
        flow_hash: String,
        /// Seed of all randomness.
        seed: u64,
    },
    /// Another process took the job up.
    JobTakenUp {
        /// Which process.
        by: String,
        /// How often the job has changed hands.
        epoch: u64,
    },
    /// Somebody asked the job to stop.
    CancelRequested {
        /// Who or why.
        reason: String,
    },
    /// An attempt of a node began, or runs as the reader begins to hear of it: what it writes is told from its beginning
    /// on. Told live only.
    NodeStarted {
        /// Which node.
        node: String,
        /// The operator.
        op: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// An attempt of a node ended.
    NodeEnded {
        /// Which node.
        node: String,
        /// The operator.
        op: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it gave, by port, if it did not fail.
        #[serde(skip_serializing_if = "Option::is_none")]
        outputs: Option<Map<String, Value>>,
        /// Why it failed, if it did; whether another attempt follows is told by its beginning.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<NodeError>,
        /// What it used.
        usage: Usage,
        /// How long it waited for a free place.
        queued_ms: f64,
        /// How long it ran.
        ran_ms: f64,
    },
    /// A node was stopped before its end. Of what had used nothing the journal keeps no record: that is only told live.
    NodeAborted {
        /// Which node.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it used.
        usage: Usage,
    },
    /// A result that was kept from the job that this one repeats, or was put there.
    NodeGiven {
        /// Which node.
        node: String,
        /// What it gives, by port.
        #[serde(skip_serializing_if = "Option::is_none")]
        outputs: Option<Map<String, Value>>,
        /// The failure that it stands for.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<NodeError>,
    },
    /// A node will not run. Told live only.
    NodeSkipped {
        /// Which node.
        node: String,
        /// Why.
        why: String,
    },
    /// An attempt with effects outside is about to begin.
    EffectBegan {
        /// Which node.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A time ran out: of the run (`run_wall`), of a node (`wall`), of its join, or of a wait.
    TimerFired {
        /// Which kind of time.
        timer: String,
        /// Which node, if it is a node's.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A node waits for an answer.
    WaitOpened {
        /// Which node.
        node: String,
        /// Until when.
        until: String,
    },
    /// What a wait asks and shows. Told live only; the job's `waits` have it too.
    WaitShown {
        /// The wait.
        wait: WaitView,
    },
    /// A wait was answered.
    WaitAnswered {
        /// Which node.
        node: String,
        /// With what.
        #[schema(value_type = Value)]
        value: Value,
        /// By whom, as far as is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A sub-flow, a loop or an each began. Told live only.
    ScopeOpened {
        /// Which node.
        node: String,
        /// `flow`, `loop` or `each`.
        kind: String,
        /// Most turns of the loop, or the items of the each.
        #[serde(skip_serializing_if = "Option::is_none")]
        bound: Option<u64>,
    },
    /// A turn or an item began. Told live only.
    PartStarted {
        /// Which node.
        node: String,
        /// Which: turns count from 1, items from 0.
        index: u64,
    },
    /// A sub-flow, a loop or an each ended. Told live only.
    ScopeClosed {
        /// Which node.
        node: String,
        /// Turns or items that ended well.
        parts: u64,
        /// Why it failed, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<NodeError>,
    },
    /// A piece of text that a node is writing. Told live only.
    Delta {
        /// Which node.
        node: String,
        /// The piece.
        text: String,
    },
    /// A remark of a running node. Told live only.
    Note {
        /// Which node.
        node: String,
        /// The remark.
        text: String,
    },
    /// The reader was too slow: events without a number were dropped. Those with one were not.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The process stops, and the stream with it; the job does not. Come back with `Last-Event-ID`.
    Interrupted {},
    /// The job has ended: always the last.
    JobEnded {
        /// The job.
        job: Box<JobView>,
    },
}

/// A text that a running node has begun.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = RunningText)]
pub struct TextView {
    /// Which node.
    pub node: String,
    /// What it has written; of more than 64 KiB, the end.
    pub text: String,
    /// Bytes before it that are not shown.
    pub left_out: usize,
}

impl From<RunningNode> for TextView {
    fn from(RunningNode { node, text, left_out, .. }: RunningNode) -> Self {
        Self { node, text, left_out }
    }
}

impl JobEvent {
    /// What is told live.
    pub(super) fn live(what: Happening) -> Self {
        Self { seq: None, at: None, elapsed_ms: None, what }
    }

    /// The end, with the number after the last record.
    pub(super) fn ended(app: &App, job: Job, seq: u64) -> Self {
        let at = job.finished_ms.map(time);
        let job = Box::new(JobView::whole(app, job));
        Self { seq: Some(seq), at, elapsed_ms: None, what: Happening::JobEnded { job } }
    }

    /// What the journal says.
    pub(super) fn recorded(at_ms: i64, record: &Record, names: &Names) -> Self {
        Self {
            seq: Some(record.seq),
            at: Some(time(at_ms)),
            elapsed_ms: u64::try_from(record.at.as_millis()).ok(),
            what: recorded(&record.event, names),
        }
    }

    /// What is told live; nothing if the journal says it too.
    pub(super) fn said(said: Said) -> Option<Self> {
        self::said(said).map(Self::live)
    }

    /// That a node runs, with what it has written so far, for a reader that has not heard its beginning.
    pub(super) fn running(RunningNode { node, op, attempt, text, .. }: RunningNode) -> Vec<Self> {
        let started = Happening::NodeStarted { node: node.clone(), op, attempt };
        let delta = (!text.is_empty()).then_some(Happening::Delta { node, text });
        [Some(started), delta].into_iter().flatten().map(Self::live).collect()
    }

    /// The word, as `event:` has it.
    pub(super) fn word(&self) -> &'static str {
        match self.what {
            Happening::Snapshot { .. } => "snapshot",
            Happening::JobStarted { .. } => "job_started",
            Happening::JobTakenUp { .. } => "job_taken_up",
            Happening::CancelRequested { .. } => "cancel_requested",
            Happening::NodeStarted { .. } => "node_started",
            Happening::NodeEnded { .. } => "node_ended",
            Happening::NodeAborted { .. } => "node_aborted",
            Happening::NodeGiven { .. } => "node_given",
            Happening::NodeSkipped { .. } => "node_skipped",
            Happening::EffectBegan { .. } => "effect_began",
            Happening::TimerFired { .. } => "timer_fired",
            Happening::WaitOpened { .. } => "wait_opened",
            Happening::WaitShown { .. } => "wait_shown",
            Happening::WaitAnswered { .. } => "wait_answered",
            Happening::ScopeOpened { .. } => "scope_opened",
            Happening::PartStarted { .. } => "part_started",
            Happening::ScopeClosed { .. } => "scope_closed",
            Happening::Delta { .. } => "delta",
            Happening::Note { .. } => "note",
            Happening::Lagged { .. } => "lagged",
            Happening::Interrupted {} => "interrupted",
            Happening::JobEnded { .. } => "job_ended",
        }
    }

    /// As a stream has it.
    pub(super) fn frame(&self) -> bytes::Bytes {
        let data = serde_json::to_string(self).unwrap_or_default();
        let id = self.seq.map(|seq| format!("id: {seq}\n")).unwrap_or_default();
        format!("{id}event: {}\ndata: {data}\n\n", self.word()).into()
    }
}

fn recorded(event: &Event, names: &Names) -> Happening {
    match event {
        Event::RunStarted { plan, seed, .. } => {
            Happening::JobStarted { flow_hash: plan.to_string(), seed: *seed }
        }
        Event::TakenUp { by, epoch } => Happening::JobTakenUp { by: by.to_string(), epoch: *epoch },
        Event::CancelRequested { reason } => Happening::CancelRequested { reason: reason.to_string() },
        Event::AttemptEnded { scope, attempt, result, usage: used, timing } => {
            let node = scope.to_string();
            Happening::NodeEnded {
                op: names.op(&node),
                attempt: *attempt,
                outputs: result.as_ref().ok().map(|values| names.outputs(&node, values)),
                error: result.as_ref().err().map(NodeError::from),
                usage: usage(*used),
                queued_ms: timing.queued.as_secs_f64() * 1e3,
                ran_ms: timing.ran.as_secs_f64() * 1e3,
                node,
            }
        }
        Event::AttemptAborted { scope, attempt, usage: used } => {
            Happening::NodeAborted { node: scope.to_string(), attempt: *attempt, usage: usage(*used) }
        }
        Event::Given { scope, result, .. } => {
            let node = scope.to_string();
            Happening::NodeGiven {
                outputs: result.as_ref().ok().map(|values| names.outputs(&node, values)),
                error: result.as_ref().err().map(NodeError::from),
                node,
            }
        }
        Event::EffectBegan { scope, attempt } => {
            Happening::EffectBegan { node: scope.to_string(), attempt: *attempt }
        }
        Event::TimerFired(timer) => {
            let (timer, node) = match timer {
                Timer::RunWall => ("run_wall", None),
                Timer::Wall(scope) => ("wall", Some(scope.to_string())),
                Timer::Join(scope) => ("join", Some(scope.to_string())),
                Timer::Wait(scope) => ("wait", Some(scope.to_string())),
            };
            Happening::TimerFired { timer: timer.to_owned(), node }
        }
        Event::WaitOpened { scope, until_ms } => Happening::WaitOpened {
            node: scope.to_string(),
            until: time(i64::try_from(*until_ms).unwrap_or(i64::MAX)),
        },
        Event::WaitAnswered { scope, value, by } => Happening::WaitAnswered {
            node: scope.to_string(),
            value: value.to_json(),
            by: by.as_deref().map(str::to_owned),
        },
    }
}

fn said(said: Said) -> Option<Happening> {
    Some(match said {
        // The journal has it, with a number.
        Said::Ended { .. } => return None,
        Said::Aborted { node, attempt, usage: used } => {
            Happening::NodeAborted { node, attempt, usage: usage(used) }
        }
        Said::Started { node, op, attempt } => Happening::NodeStarted { node, op, attempt },
        Said::Skipped { node, why } => Happening::NodeSkipped { node, why },
        Said::Opened { node, kind, bound } => Happening::ScopeOpened { node, kind, bound },
        Said::Part { node, index } => Happening::PartStarted { node, index },
        Said::Closed { node, parts, failure } => {
            Happening::ScopeClosed { node, parts, error: failure.as_ref().map(NodeError::from) }
        }
        Said::Waiting { wait } => Happening::WaitShown { wait: wait.into() },
        Said::Delta { node, text } => Happening::Delta { node, text },
        Said::Note { node, text } => Happening::Note { node, text },
    })
}
