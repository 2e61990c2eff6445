//! What a run came to, as the store keeps it.

use anabranch_engine::backend;
use anabranch_engine::event::{Failure, FailureKind};
use anabranch_engine::run::{self, Outcome, Report};
use serde_json::{Map, Value};

use crate::job::{End, JobError, OpenWait, Progress, Status, Usage};

/// Why a run was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Somebody asked for it.
    Asked,
    /// The job's deadline passed.
    TimedOut,
}

/// How a job ended whose run gave `report`; `stopped` says why, if it was cancelled.
pub(super) fn of_report(report: &Report, stopped: Stopped, progress: Progress) -> End {
    let (status, error) = match &report.outcome {
        Outcome::Failed(failure) => (Status::Failed, Some(of_failure(failure))),
        Outcome::Cancelled { .. } => of_stop(stopped),
        // Those that only wait or rest do not come here.
        Outcome::Succeeded | Outcome::Waiting { .. } | Outcome::Paused => (Status::Succeeded, None),
    };
    End {
        status,
        outputs: report.outputs.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect(),
        absent: report.absent.iter().map(|(name, why)| (name.to_string(), json(why))).collect(),
        error,
        usage: of_usage(report.usage),
        progress: Progress { nodes_running: 0, ..progress },
    }
}

/// How a job ended that this service cannot carry through.
pub(super) fn refused(kind: &str, code: &str, message: String) -> End {
    let error = JobError {
        kind: kind.to_owned(),
        code: code.to_owned(),
        message,
        scope: None,
        attempt: None,
        retryable: false,
    };
    End { error: Some(error), ..nothing() }
}

/// The open waits of a run that parks.
pub(super) fn of_waits(waits: &[run::OpenWait]) -> Vec<OpenWait> {
    waits.iter().map(OpenWait::of).collect()
}

pub(super) fn of_usage(usage: backend::Usage) -> Usage {
    Usage {
        model_calls: usage.model_calls,
        encoder_calls: usage.encoder_calls,
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        shareable_tokens: usage.shareable_tokens,
        completion_tokens: usage.completion_tokens,
        cost: usage.cost,
    }
}

fn nothing() -> End {
    End {
        status: Status::Failed,
        outputs: Map::new(),
        absent: Map::new(),
        error: None,
        usage: Usage::default(),
        progress: Progress::default(),
    }
}

fn of_stop(stopped: Stopped) -> (Status, Option<JobError>) {
    let (status, message) = match stopped {
        Stopped::Asked => (Status::Cancelled, "it was cancelled on request"),
        Stopped::TimedOut => (Status::TimedOut, "its deadline passed"),
    };
    let error = JobError {
        kind: status.as_str().to_owned(),
        code: status.as_str().to_owned(),
        message: message.to_owned(),
        scope: None,
        attempt: None,
        retryable: stopped == Stopped::TimedOut,
    };
    (status, Some(error))
}

fn of_failure(failure: &Failure) -> JobError {
    let kind = match failure.kind {
        FailureKind::OverBudget => "over_budget",
        FailureKind::Internal => "internal",
        _ => "failed",
    };
    JobError {
        kind: kind.to_owned(),
        code: failure.kind.as_str().to_owned(),
        message: failure.message.clone(),
        scope: Some(failure.scope.to_string()),
        attempt: Some(failure.attempt),
        retryable: is_passing(failure.kind),
    }
}

/// Whether it may be otherwise another time, with nothing changed.
fn is_passing(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Overloaded
            | FailureKind::TimedOut
            | FailureKind::Unavailable
            | FailureKind::Garbled
            | FailureKind::Interrupted
    )
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
