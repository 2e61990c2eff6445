//! How many calls a server is trusted with: slowly more while it answers, at once less when it has had too many.
//!
//! Additive increase and multiplicative decrease, with the slow start of TCP (RFC 5681): what a server took before it
//! refused everything for a while is soon reached again.

use tokio::time::Instant;

use super::settings::AdmissionSettings;

/// The most calls in flight at one server, by additive increase and multiplicative decrease.
#[derive(Debug)]
pub(crate) struct Limit {
    decrease: f64,
    increase: f64,
    min: f64,
    max: f64,
    now: f64,
    /// Below it the limit grows by every answer.
    threshold: f64,
    lowered: Option<Instant>,
    /// Whether something was answered since it was lowered.
    has_answered: bool,
}

impl Limit {
    /// A limit that begins at `max`, and never leads above it.
    pub(crate) fn new(settings: &AdmissionSettings, max: u32) -> Self {
        Self {
            decrease: settings.decrease.clamp(0.0, 1.0),
            increase: settings.increase.max(0.0),
            min: f64::from(settings.min_in_flight.get().min(max)),
            max: f64::from(max),
            now: f64::from(max),
            threshold: 0.0,
            lowered: None,
            has_answered: true,
        }
    }

    /// Most calls in flight.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
    pub(crate) fn get(&self) -> u32 {
        self.now as u32
    }

    /// A call was answered.
    pub(crate) fn answered(&mut self) {
        self.has_answered = true;
        let step = if self.now < self.threshold { 1.0 } else { self.now.max(1.0).recip() };
        self.now = (self.now + self.increase * step).min(self.max);
    }

    /// A call that was sent at `sent` showed that `in_flight` are too many.
    pub(crate) fn overloaded(&mut self, sent: Instant, in_flight: u32, now: Instant) {
        // Calls that were in flight together are one sign of overload.
        if self.lowered.is_some_and(|lowered| sent < lowered) {
            return;
        }
        self.now = (self.now.min(f64::from(in_flight)) * self.decrease).clamp(self.min, self.max);
        // Signs without an answer in between say that it is away, and nothing of how much it can take.
        if self.has_answered {
            self.threshold = self.now;
        }
        (self.lowered, self.has_answered) = (Some(now), false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn halving(max: u32) -> Limit {
        Limit::new(&AdmissionSettings { decrease: 0.5, ..AdmissionSettings::default() }, max)
    }

    #[test]
    fn falls_at_once_and_rises_by_one_for_as_many_answers_as_it_allows() {
        let start = Instant::now();
        let mut limit = halving(100);
        limit.overloaded(start, 64, start);
        assert_eq!(limit.get(), 32, "half of what was in flight");
        for _ in 0..33 {
            limit.answered();
        }
        assert_eq!(limit.get(), 33);
        for _ in 0..100_000 {
            limit.answered();
        }
        assert_eq!(limit.get(), 100);
    }

    #[test]
    fn calls_that_fail_together_lower_it_once() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut limit = halving(64);
        for in_flight in (1..=64).rev() {
            limit.overloaded(start, in_flight, later);
        }
        assert_eq!(limit.get(), 32);
        limit.overloaded(later, 32, later);
        assert_eq!(limit.get(), 16);
    }

    #[test]
    fn never_falls_below_its_least() {
        let start = Instant::now();
        let mut limit = halving(4);
        for second in 0..10 {
            limit.overloaded(start + Duration::from_secs(second), 1, start + Duration::from_secs(second));
        }
        assert_eq!(limit.get(), 1);
    }
    #[test]
    fn a_server_that_was_away_is_soon_trusted_as_before() {
        let start = Instant::now();
        let mut limit = halving(64);
        for second in 1..10 {
            let sent = start + Duration::from_secs(second);
            limit.overloaded(sent, limit.get(), sent);
        }
        assert_eq!(limit.get(), 1);
        for _ in 0..31 {
            limit.answered();
        }
        assert_eq!(limit.get(), 32, "what was left after the first sign");
        limit.answered();
        assert_eq!(limit.get(), 32, "from there on slowly");
    }
}
