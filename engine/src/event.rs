//! What is written to the journal: the facts from outside that a run cannot work out again by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Usage;
use crate::scope::Scope;
use crate::value::{Map, Text, Value};

/// Version of the event format; written into every [`Event::RunStarted`].
pub const VERSION: u32 = 1;

/// Names a run: a prefixed `UUIDv7` where a service gives it, any text in tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Text);

/// Kinds of failure; `retry.on` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A backend refused for now.
    Overloaded,
    /// A backend, or the node's `timeout` or `idle_timeout`.
    TimedOut,
    /// A backend could not be reached or failed on its side.
    Unavailable,
    /// A backend refused for good.
    Rejected,
    /// A backend answered with something that is no answer.
    Garbled,
    /// A budget ran out.
    OverBudget,
    /// A limit of the engine was reached.
    OverLimit,
    /// An expression could not be evaluated.
    Expression,
    /// A value had another type than promised.
    Type,
    /// The input made no sense to the operator.
    InvalidInput,
    /// A setting that only became known at run time is wrong.
    InvalidSetting,
    /// Too few items of an each succeeded.
    TooFewItems,
    /// The process ended while an operator with effects ran: they may have happened, or not.
    Interrupted,
    /// The operator panicked: a bug, to be reported.
    Internal,
}

impl FailureKind {
    /// Every kind, for messages and schemas.
    pub const ALL: [FailureKind; 14] = [
        Self::Overloaded,
        Self::TimedOut,
        Self::Unavailable,
        Self::Rejected,
        Self::Garbled,
        Self::OverBudget,
        Self::OverLimit,
        Self::Expression,
        Self::Type,
        Self::InvalidInput,
        Self::InvalidSetting,
        Self::TooFewItems,
        Self::Interrupted,
        Self::Internal,
    ];

    /// As flows and answers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::Garbled => "garbled",
            Self::OverBudget => "over_budget",
            Self::OverLimit => "over_limit",
            Self::Expression => "expression",
            Self::Type => "type",
            Self::InvalidInput => "invalid_input",
            Self::InvalidSetting => "invalid_setting",
            Self::TooFewItems => "too_few_items",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a node, and with it perhaps the run, failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("node `{scope}` failed ({kind}): {message}")]
pub struct Failure {
    /// The node execution that failed first.
    pub scope: Scope,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// How long the backend asked to be left alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Duration>,
}

/// Where the time of an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// From ready to started: waiting for a free place.
    pub queued: Duration,
    /// From started to ended.
    pub ran: Duration,
}

/// What a timer was set for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "timer", content = "scope", rename_all = "snake_case")]
pub enum Timer {
    /// The `wall` budget of the flow.
    RunWall,
    /// The `wall` budget of a node.
    Wall(Scope),
    /// The `deadline` of a node's join.
    Join(Scope),
    /// The `deadline` of a wait.
    Wait(Scope),
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began. Always the first.
    RunStarted {
        /// [`VERSION`].
        version: u32,
        /// Hash of the compiled flow that the run belongs to, for good.
        plan: Text,
        /// The inputs, defaults filled in.
        inputs: Map,
        /// Seed of all randomness.
        seed: u64,
    },
    /// An attempt of a node ended; whether another follows is worked out from the plan.
    AttemptEnded {
        /// Which node execution.
        scope: Scope,
        /// Which attempt, from 1.
        attempt: u32,
        /// The outputs by port, `None` for an absent one; or why there are none.
        #[serde(with = "outcome")]
        result: Result<Vec<Option<Value>>, Failure>,
        /// What it used.
        usage: Usage,
        /// Where its time went.
        timing: Timing,
    },
    /// An attempt was stopped before its end, and had used something.
    AttemptAborted {
        /// Which node execution.
        scope: Scope,
        /// Which attempt, from 1.
        attempt: u32,
        /// What it used.
        usage: Usage,
    },
    /// A timer ran out.
    TimerFired(Timer),
    /// Somebody asked the run to stop.
    CancelRequested {
        /// Who or why.
        reason: Text,
    },
    /// A process took up the run from its journal: the first thing that it writes.
    TakenUp {
        /// Which process.
        by: Text,
        /// How often the run has changed hands.
        epoch: u64,
    },
    /// An attempt of an operator with effects is about to begin. Without an end it was interrupted.
    EffectBegan {
        /// Which node execution.
        scope: Scope,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A wait began to wait.
    WaitOpened {
        /// Which node execution.
        scope: Scope,
        /// Until when, in milliseconds of Unix time.
        until_ms: u64,
    },
    /// A wait was answered.
    WaitAnswered {
        /// Which node execution.
        scope: Scope,
        /// With what: a value of its type.
        value: Value,
        /// By whom, as far as is known.
        by: Option<Text>,
    },
    /// What a node gives instead of running: kept from the run that this one was forked from, or put there by somebody.
    Given {
        /// Which node execution.
        scope: Scope,
        /// Names what the node must read for it to stand in; `None` for whatever it reads.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reads: Option<Text>,
        /// As in [`Event::AttemptEnded`]; no attempt follows on a failure.
        #[serde(with = "outcome")]
        result: Result<Vec<Option<Value>>, Failure>,
    },
}

/// An event with its number and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the journal, from 0, without holes.
    pub seq: u64,
    /// Time since the run began.
    pub at: Duration,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// `Result` as `{"ok": …}` or `{"error": …}`.
mod outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Failure, Value};

    type Outcome = Result<Vec<Option<Value>>, Failure>;

    /// A value that is there, `null` too: `{"value": …}`, where `null` alone is an absent one.
    #[derive(Serialize, Deserialize)]
    struct There<V> {
        value: V,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Form<O, E> {
        Ok(O),
        Error(E),
    }

    pub(super) fn serialize<S: Serializer>(result: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
        match result {
            Ok(outputs) => {
                let outputs: Vec<_> =
                    outputs.iter().map(|value| value.as_ref().map(|value| There { value })).collect();
                Form::<_, &Failure>::Ok(outputs).serialize(serializer)
            }
            Err(failure) => Form::<(), _>::Error(failure).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
        Ok(match Form::<Vec<Option<There<Value>>>, _>::deserialize(deserializer)? {
            Form::Ok(outputs) => Ok(outputs.into_iter().map(|there| Some(there?.value)).collect()),
            Form::Error(failure) => Err(failure),
        })
    }
}
