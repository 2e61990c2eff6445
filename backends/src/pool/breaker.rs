//! When a server counts as broken: not asked for a while, then tried with a few calls.
//!
//! ```text
//!             too many failures              cooldown over
//!   closed ──────────────────────▶ open ──────────────────────▶ half-open
//!     ▲                             ▲                              │  │
//!     │                             └──── a trial failed (×2) ─────┘  │
//!     └────────────────────────── the trials succeeded ───────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::settings::BreakerSettings;
use super::stats::BreakerState;

/// Which stretch between two changes of state a call was sent in: what came of it counts in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch(u64);

/// Whether calls may be sent to one server.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    stretch: u64,
    /// What came of the latest calls, the latest in the lowest bit: set if it failed.
    history: u64,
    n_history: u32,
    in_row: u32,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant, cooldown: Duration },
    HalfOpen { cooldown: Duration, in_flight: u32, n_answered: u32 },
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed, stretch: 0, history: 0, n_history: 0, in_row: 0 }
    }

    /// Its state; an open one whose cooldown is over is half-open.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until, .. } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When it stops being open.
    pub(crate) fn opened_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether a call may be sent: always while closed, never while open, up to the trials in between.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen { in_flight, n_answered, .. } => {
                in_flight + n_answered < self.settings.trials.get()
            }
        }
    }

    /// A call is sent.
    pub(crate) fn sent(&mut self, now: Instant) -> Stretch {
        if let State::Open { until, cooldown } = self.state
            && now >= until
        {
            self.enter(State::HalfOpen { cooldown, in_flight: 0, n_answered: 0 });
        }
        if let State::HalfOpen { in_flight, .. } = &mut self.state {
            *in_flight += 1;
        }
        Stretch(self.stretch)
    }

    /// A call that was sent in `stretch` was answered, be it with a refusal.
    pub(crate) fn answered(&mut self, stretch: Stretch) {
        if stretch.0 != self.stretch {
            return;
        }
        match &mut self.state {
            State::Closed => self.note(false),
            State::HalfOpen { in_flight, n_answered, .. } => {
                *in_flight = in_flight.saturating_sub(1);
                *n_answered += 1;
                if *n_answered >= self.settings.trials.get() {
                    self.enter(State::Closed);
                }
            }
            State::Open { .. } => {}
        }
    }

    /// A call that was sent in `stretch` failed. Whether this has opened the breaker.
    pub(crate) fn failed(&mut self, stretch: Stretch, now: Instant) -> bool {
        if stretch.0 != self.stretch {
            return false;
        }
        match self.state {
            State::Closed => {
                self.note(true);
                if self.is_worn_out() {
                    self.open(self.settings.cooldown, now);
                    return true;
                }
                false
            }
            State::HalfOpen { cooldown, .. } => {
                self.open(cooldown.saturating_mul(2), now);
                true
            }
            State::Open { .. } => false,
        }
    }

    /// A call that was sent in `stretch` was given up: nobody knows how it would have ended.
    pub(crate) fn given_up(&mut self, stretch: Stretch) {
        if stretch.0 == self.stretch
            && let State::HalfOpen { in_flight, .. } = &mut self.state
        {
            *in_flight = in_flight.saturating_sub(1);
        }
    }

    /// A look at the server between calls found it well or not. Whether this has opened the breaker.
    pub(crate) fn probed(&mut self, is_well: bool, now: Instant) -> bool {
        match (&self.state, is_well) {
            (State::Closed, true) | (State::HalfOpen { .. }, _) => false,
            (State::Closed, false) => {
                self.open(self.settings.cooldown, now);
                true
            }
            // What looks well is tried at once.
            (State::Open { cooldown, .. }, true) => {
                self.state = State::Open { until: now, cooldown: *cooldown };
                false
            }
            (State::Open { cooldown, until }, false) => {
                let until = (*until).max(now + self.settings.cooldown);
                self.state = State::Open { until, cooldown: *cooldown };
                false
            }
        }
    }

    fn open(&mut self, cooldown: Duration, now: Instant) {
        let cooldown = cooldown.min(self.settings.max_cooldown);
        self.enter(State::Open { until: now + cooldown, cooldown });
    }

    fn enter(&mut self, state: State) {
        (self.history, self.n_history, self.in_row) = (0, 0, 0);
        self.stretch += 1;
        self.state = state;
    }

    fn note(&mut self, is_failure: bool) {
        self.history = self.history << 1 | u64::from(is_failure);
        self.n_history = (self.n_history + 1).min(u64::BITS);
        self.in_row = if is_failure { self.in_row + 1 } else { 0 };
    }

    fn is_worn_out(&self) -> bool {
        let window = self.settings.window.get().min(u64::BITS);
        let recent = self.history & (u64::MAX >> (u64::BITS - window));
        let half_failed = self.n_history >= window && recent.count_ones() * 2 >= window;
        self.in_row >= self.settings.failures.get() || half_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Instant::now());
        for _ in 0..5 {
            let stretch = breaker.sent(now);
            breaker.failed(stretch, now);
        }
        (breaker, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_not_before() {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Instant::now());
        let stretch = breaker.sent(now);
        for n_failures in 1..5 {
            assert!(!breaker.failed(stretch, now), "after {n_failures}");
        }
        breaker.answered(stretch);
        for _ in 1..5 {
            assert!(!breaker.failed(stretch, now), "a success in between starts the count anew");
        }
        assert!(breaker.failed(stretch, now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert!(!breaker.may_send(now + SECOND / 2));
    }

    #[test]
    fn opens_when_half_of_the_latest_calls_failed() {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Instant::now());
        let stretch = breaker.sent(now);
        let mut n_calls = 0;
        while breaker.state(now) == BreakerState::Closed {
            breaker.answered(stretch);
            breaker.failed(stretch, now);
            n_calls += 2;
        }
        assert_eq!(n_calls, 20);
    }

    #[test]
    fn a_trial_decides_after_the_cooldown() {
        let (mut breaker, now) = open();
        let later = now + SECOND;
        assert!(breaker.may_send(later));
        let trial = breaker.sent(later);
        assert!(!breaker.may_send(later), "one trial at a time");
        assert!(breaker.failed(trial, later));
        assert_eq!(breaker.opened_until(), Some(later + 2 * SECOND), "twice as long");
        let later = later + 2 * SECOND;
        let trial = breaker.sent(later);
        breaker.answered(trial);
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_room_for_another() {
        let (mut breaker, now) = open();
        let later = now + SECOND;
        let trial = breaker.sent(later);
        breaker.given_up(trial);
        assert!(breaker.may_send(later));
    }

    #[test]
    fn what_was_sent_before_it_opened_says_nothing_about_the_trial() {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Instant::now());
        let old = breaker.sent(now);
        for _ in 0..5 {
            breaker.failed(old, now);
        }
        let later = now + SECOND;
        let _trial = breaker.sent(later);
        assert!(!breaker.failed(old, later));
        breaker.answered(old);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    }

    #[test]
    fn the_cooldown_grows_up_to_its_bound() {
        let (mut breaker, mut now) = open();
        for _ in 0..10 {
            now = breaker.opened_until().unwrap();
            let trial = breaker.sent(now);
            breaker.failed(trial, now);
        }
        assert_eq!(breaker.opened_until(), Some(now + 30 * SECOND));
    }

    #[test]
    fn a_look_opens_it_and_lets_it_be_tried_at_once() {
        let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Instant::now());
        assert!(breaker.probed(false, now));
        assert!(!breaker.may_send(now));
        breaker.probed(true, now);
        assert!(breaker.may_send(now));
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
    }
}
