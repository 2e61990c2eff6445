//! Attempts that were stopped before their end, as a journal tells of them: that they were follows from the events, what
//! they had used by then is a record of its own.

use std::collections::HashMap;
use std::time::Duration;

use super::Notice;
use crate::backend::Usage;
use crate::event::{Event, Record, Timing};
use crate::scope::Scope;
use crate::state::Start;

/// What attempts had used that were stopped, as far as that was anything.
pub(super) type Spent<'a> = HashMap<(&'a Scope, u32), Usage>;

/// What the journal says of that.
pub(super) fn spent(records: &[Record]) -> Spent<'_> {
    let of = |record| match record {
        &Event::AttemptAborted { ref scope, attempt, usage } => Some(((scope, attempt), usage)),
        _ => None,
    };
    records.iter().filter_map(|record| of(&record.event)).collect()
}

/// The beginning of an attempt, and its end when it was `age` old.
pub(super) fn notices(start: &Start, age: Duration, spent: &Spent<'_>) -> [Notice; 2] {
    let (scope, op, attempt) = (start.scope.clone(), start.op, start.attempt);
    let usage = spent.get(&(&scope, attempt)).copied().unwrap_or_default();
    // How much of its age it waited for a place is in no record.
    let timing = Timing { queued: Duration::ZERO, ran: age.saturating_sub(start.delay) };
    [
        Notice::Started { scope: scope.clone(), op: op.into(), attempt, inputs: start.named_inputs() },
        Notice::Aborted { scope, op: op.into(), attempt, usage, timing },
    ]
}
