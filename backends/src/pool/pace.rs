//! How long calls of a size take: one that cannot be answered in what is left of its time is not worth a place.
//!
//! Where more calls come than can be answered, each is sent when its time is almost up: without this, all of them would
//! be given up half answered, and nothing would be achieved at all.

use std::time::Duration;

use tokio::time::Instant;

/// Of calls of a size so many in a hundred take no longer than what is said of them.
const QUANTILE: f64 = 0.9;
/// How far one call moves it, as a share of it.
const STEP: f64 = 0.1;
/// A call has at most this much of its time in front of it when it is given up as hopeless: what is said of others may
/// not hold for it.
const PATIENCE: f64 = 0.8;
/// Sizes are told apart by their power of two.
const SIZES: usize = u64::BITS as usize + 1;

/// How long calls take, by their size.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Seconds; nothing before the first answer.
    secs: [Option<f64>; SIZES],
}

impl Default for Pace {
    fn default() -> Self {
        Self { secs: [None; SIZES] }
    }
}

impl Pace {
    /// A call of `tokens` was answered after `took`.
    pub(crate) fn answered(&mut self, tokens: u64, took: Duration) {
        let took = took.as_secs_f64();
        let Some(secs) = self.secs.get_mut(size(tokens)) else { return };
        *secs = Some(match *secs {
            None => took,
            Some(secs) if took > secs => (secs * (1.0 + STEP * QUANTILE)).min(took),
            Some(secs) => secs * (1.0 - STEP * (1.0 - QUANTILE)),
        });
    }

    /// A call of `tokens` was given up after `took` since its time was up.
    pub(crate) fn given_up(&mut self, tokens: u64, took: Duration) {
        let took = took.as_secs_f64();
        let Some(Some(secs)) = self.secs.get_mut(size(tokens)) else { return };
        // What was given up sooner might have been answered in time.
        if took >= *secs * (1.0 - STEP) {
            *secs *= 1.0 + STEP * QUANTILE;
        }
    }

    /// Whether a call of `tokens` that came at `since` will hardly be answered by `deadline` if it is sent now.
    pub(crate) fn is_hopeless(&self, tokens: u64, since: Instant, deadline: Instant, now: Instant) -> bool {
        let Some(Some(secs)) = self.secs.get(size(tokens)) else { return false };
        let left = deadline.saturating_duration_since(now).as_secs_f64();
        let allowed = deadline.saturating_duration_since(since).as_secs_f64();
        left < secs.min(PATIENCE * allowed)
    }
}

fn size(tokens: u64) -> usize {
    (u64::BITS - tokens.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    /// Whether a call that came `waited` seconds ago and may take ten in all is hopeless.
    fn is_hopeless(pace: &Pace, tokens: u64, waited: f64) -> bool {
        let since = Instant::now();
        pace.is_hopeless(tokens, since, since + secs(10.0), since + secs(waited))
    }

    #[test]
    fn a_call_is_hopeless_when_others_of_its_size_take_longer_than_it_has_left() {
        let mut pace = Pace::default();
        assert!(!is_hopeless(&pace, 1_000, 9.9), "nothing is known");
        for n in 0_u32..1_000 {
            pace.answered(1_000, secs(1.0 + f64::from(n % 10) / 10.0));
        }
        assert!(!is_hopeless(&pace, 1_000, 7.5));
        assert!(is_hopeless(&pace, 1_000, 8.5));
        assert!(!is_hopeless(&pace, 100, 9.9), "shorter ones may be quicker");
    }

    #[test]
    fn servers_that_have_become_slower_are_noticed_by_what_is_given_up() {
        let mut pace = Pace::default();
        pace.answered(1_000, secs(1.0));
        for _ in 0..100 {
            pace.given_up(1_000, secs(0.1));
        }
        assert!(!is_hopeless(&pace, 1_000, 8.5), "calls that had no time say nothing");
        let mut left = 1.0;
        while !is_hopeless(&pace, 1_000, 7.0) {
            pace.given_up(1_000, secs(left));
            left *= 1.1;
        }
        assert!(left > 2.0);
    }

    #[test]
    fn nobody_is_hopeless_who_has_just_come() {
        let mut pace = Pace::default();
        pace.answered(1_000, secs(1_000.0));
        assert!(!is_hopeless(&pace, 1_000, 1.9));
        assert!(is_hopeless(&pace, 1_000, 2.1));
    }
}
