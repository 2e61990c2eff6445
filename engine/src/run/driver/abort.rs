//! Stopping what is in flight.

use std::sync::PoisonError;

use super::{Attached, Begun, Driver};
use crate::backend::Usage;
use crate::cx::Spent;
use crate::event::{Event, Timing};
use crate::run::Notice;
use crate::scope::Scope;

impl Driver {
    /// Drops what runs at `scope`, wherever it is by now; what it used is still told.
    pub(super) fn abort(&mut self, scope: &Scope) {
        self.ready.retain(|(start, _)| start.scope != *scope);
        self.promised.retain(|(start, _)| start.scope != *scope);
        self.effects.remove(scope);
        self.behind.drop_starts(scope);
        if let Some(in_flight) = self.in_flight.remove(scope) {
            // First the future, then the books: dropping it is what ends its model calls.
            drop(in_flight.work.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(Begun { cx, op, ready, began }) = in_flight.attempt {
                self.n_running -= 1;
                let (attempt, spent) = (cx.attempt(), cx.close());
                let timing = Timing { queued: began - ready, ran: began.elapsed() };
                let (scope_of, usage) = (scope.clone(), spent.usage);
                self.note(&Notice::Aborted { scope: scope_of, op: op.into(), attempt, usage, timing });
                self.tell_aborted(scope, attempt, spent);
            }
            return;
        }
        // Its end may be in the inbox, in the same batch as what aborted it.
        let ended = self.inbox.iter().position(
            |(event, _)| matches!(event, Event::AttemptEnded { scope: ended, .. } if ended == scope),
        );
        if let Some((Event::AttemptEnded { attempt, .. }, Attached::Spent(spent))) =
            ended.and_then(|at| self.inbox.remove(at))
        {
            self.tell_aborted(scope, attempt, spent);
        }
    }

    fn tell_aborted(&mut self, scope: &Scope, attempt: u32, spent: Spent) {
        let usage = spent.usage;
        if usage != Usage::default() {
            let event = Event::AttemptAborted { scope: scope.clone(), attempt, usage };
            self.inbox.push_back((event, Attached::Spent(spent)));
        }
    }
}
