//! How long a delivery that failed waits for its next attempt.

use std::time::Duration;

/// Waits after each failed attempt; when they are used up, a delivery is given up. About three days in all.
pub const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// The longest wait there is, whatever a receiver asks for: it cannot park a delivery for good.
const LONGEST: Duration = Duration::from_hours(24);

/// Attempts of a delivery, the first included.
pub const ATTEMPTS_MAX: usize = WAITS.len() + 1;

/// Of a wait, the part that is left to chance, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

/// The wait after the `attempt`-th attempt (from 1) failed; `None` if it was the last. `chance` is in `0.0..1.0`.
/// A receiver that says when it wants to be asked again (`retry_after`) is not asked sooner.
pub fn wait_after(attempt: usize, chance: f64, retry_after: Option<Duration>) -> Option<Duration> {
    let wait = *WAITS.get(attempt.checked_sub(1)?)?;
    let spread = wait.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0));
    Some(retry_after.map_or(spread, |asked| asked.min(LONGEST).max(spread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_over_three_days_and_then_end() {
        let waits: Vec<Duration> = (1..).map_while(|attempt| wait_after(attempt, 0.5, None)).collect();
        assert_eq!(waits, WAITS);
        assert_eq!(waits.len() + 1, ATTEMPTS_MAX);
        let days = waits.iter().sum::<Duration>().as_secs_f64() / 86_400.0;
        assert!((3.0..4.0).contains(&days), "{days}");
    }

    #[test]
    fn chance_spreads_a_wait_by_a_fifth() {
        let after = |chance| wait_after(2, chance, None).unwrap().as_secs_f64();
        assert!((after(0.0) - 240.0).abs() < 0.001 && (after(1.0) - 360.0).abs() < 0.001);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_but_not_for_an_endless_one() {
        let asked = |secs| wait_after(1, 0.5, Some(Duration::from_secs(secs))).unwrap();
        assert_eq!(asked(1), Duration::from_secs(5));
        assert_eq!(asked(60), Duration::from_mins(1));
        assert_eq!(asked(u64::MAX), Duration::from_hours(24));
    }
}
