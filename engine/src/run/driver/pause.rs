//! Which attempts begin, and when a run that is asked to pause has paused.

use tokio::time::Instant;

use super::Driver;
use crate::state::Start;

impl Driver {
    /// The next attempt to begin; while the run is pausing, only those that the journal says begin.
    pub(super) fn next_start(&mut self, is_pausing: bool) -> Option<(Box<Start>, Instant)> {
        self.promised.pop_front().or_else(|| if is_pausing { None } else { self.ready.pop_front() })
    }

    /// Whether a run that is to pause has: no attempt is in flight, or about to be.
    pub(super) fn has_paused(&self) -> bool {
        self.n_running == 0
            && self.inbox.is_empty()
            && self.effects.is_empty()
            && self.promised.is_empty()
            && !self.behind.holds_effects()
    }

    /// Whether nothing runs, or is about to.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.promised.is_empty() && self.in_flight.is_empty()
    }
}
