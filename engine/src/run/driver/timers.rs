//! The driver's two clocks: the run's own, which stands still while the run only waits, and that of the world outside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::{Abortable, Driver, Woke, Work};
use crate::event::{Event, Timer};
use crate::scope::Scope;

impl Driver {
    /// Whether nothing goes on but waiting for answers: then the run's own clock stands still.
    pub(super) fn is_at_rest(&self) -> bool {
        self.state.n_waits() > 0
            && self.is_idle()
            && !self.behind.holds_starts()
            && !self.joins.iter().any(|scope| self.state.awaits(&Timer::Join(scope.clone())))
    }

    /// Whether a run at rest can be left: unless an answer lies in the inbox, or a deadline has passed already.
    pub(super) fn may_park(&self) -> bool {
        let is_overdue = |until_ms| until_ms <= self.options.clock.now_ms();
        self.options.park
            && self.options.inbox.is_empty()
            && !self.state.next_deadline_ms().is_some_and(is_overdue)
    }

    /// Sets again the timers that ran out while the run rested.
    pub(super) fn rearm(&mut self) {
        for (timer, due) in std::mem::take(&mut self.early) {
            self.set_timer(timer, due.saturating_sub(self.context.elapsed()));
        }
    }

    /// Sets a timer on the run's own clock.
    pub(super) fn set_timer(&mut self, timer: Timer, after: Duration) {
        if let Timer::Join(scope) = &timer {
            self.joins.insert(scope.clone());
        }
        self.wake_after(timer, after, self.context.elapsed() + after);
    }

    /// Sets a timer on the clock of the world outside.
    pub(super) fn set_alarm(&mut self, timer: Timer, until_ms: u64) {
        let after = Duration::from_millis(until_ms.saturating_sub(self.options.clock.now_ms()));
        self.wake_after(timer, after, Duration::ZERO);
    }

    pub(super) fn wake_after(&mut self, timer: Timer, after: Duration, due: Duration) {
        let work: Work = Box::pin(async move {
            sleep(after).await;
            Woke::Timer(timer, due)
        });
        self.waiting.push(Abortable(Arc::new(Mutex::new(Some(work)))));
    }

    /// Opens a wait that ends `deadline` from now.
    pub(super) fn ask(&mut self, scope: Scope, deadline: Duration) {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.options.clock.now_ms().saturating_add(deadline_ms);
        self.happened(Event::WaitOpened { scope, until_ms });
    }

    /// A timer has run out that was due when the run was `due` old.
    pub(super) fn timer_ran_out(&mut self, timer: Timer, due: Duration) {
        if let Timer::Join(scope) = &timer {
            self.joins.remove(scope);
        }
        if !self.state.awaits(&timer) {
            // Of something that has ended since: it leaves no trace in the journal.
        } else if self.context.elapsed() < due {
            // The run has rested meanwhile. Set again once it goes on, not before: it would only run out again.
            self.early.push((timer, due));
        } else {
            self.happened(Event::TimerFired(timer));
        }
    }
}
