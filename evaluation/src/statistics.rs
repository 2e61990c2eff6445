//! Means, percentiles, and how sure one can be of a mean or of a difference: the bootstrap.

use serde::{Deserialize, Serialize};

/// How many times a comparison draws its questions anew.
pub const RESAMPLES: usize = 10_000;
/// The share of the draws that a confidence interval holds.
const CONFIDENCE: f64 = 0.95;

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value that `share` of all values do not exceed (nearest rank); `None` of nothing.
///
/// `share` is between 0 and 1: 0.5 gives the median, 0.99 the value that one in a hundred exceeds.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of values"
    )]
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A range that the true value is in, with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The confidence interval of a mean: the percentiles of the means of `resamples` draws with replacement.
///
/// The same values in the same order, with the same seed, give the same interval; `None` of nothing.
///
/// Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
pub fn mean_interval(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    interval(&mut means_of_draws(values, resamples, seed))
}

/// How two systems compare on the same questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Questions that both answered.
    pub n: usize,
    /// The mean of what the one has more than the other.
    pub difference: f64,
    /// What the difference is between, with 95 % confidence.
    pub interval: Interval,
    /// How likely so great a difference, either way, would be if there were none. 1 is no difference at all.
    pub p: f64,
}

/// The paired bootstrap: draws questions with replacement, and looks how often the difference changes its sign.
///
/// `pairs` holds what the one and the other got, a question each. `p` is twice the share of the draws on the other
/// side of zero, or on it, so that it is never 0 however many draws there are. `None` without questions.
///
/// Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation" (2004), two-sided.
pub fn paired_bootstrap(pairs: &[(f64, f64)], resamples: usize, seed: u64) -> Option<Comparison> {
    let differences: Vec<f64> = pairs.iter().map(|(one, other)| one - other).collect();
    let mut means = means_of_draws(&differences, resamples, seed);
    let interval = interval(&mut means)?;
    // Sums of decimal shares are not exact: what is nearly nothing is nothing.
    let (below, above) = (
        means.iter().filter(|mean| **mean <= f64::EPSILON).count(),
        means.iter().filter(|mean| **mean >= -f64::EPSILON).count(),
    );
    let share = (below.min(above) + 1) as f64 / (means.len() + 1) as f64;
    Some(Comparison { n: pairs.len(), difference: mean(&differences), interval, p: (2.0 * share).min(1.0) })
}

fn means_of_draws(values: &[f64], resamples: usize, seed: u64) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut draw = || values.get(rng.usize(..values.len())).copied().unwrap_or_default();
    (0..resamples).map(|_| (0..values.len()).map(|_| draw()).sum::<f64>() / values.len() as f64).collect()
}

fn interval(means: &mut [f64]) -> Option<Interval> {
    means.sort_by(f64::total_cmp);
    let outside = (1.0 - CONFIDENCE) / 2.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of their number")]
    let skipped = (means.len() as f64 * outside) as usize;
    let low = *means.get(skipped)?;
    let high = *means.get(means.len() - 1 - skipped)?;
    Some(Interval { low, high })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn percentiles_by_hand() {
        let values = [40.0, 10.0, 30.0, 20.0];
        assert_eq!(percentile(&values, 0.5), Some(20.0));
        assert_eq!(percentile(&values, 0.51), Some(30.0));
        assert_eq!(percentile(&values, 0.99), Some(40.0));
        assert_eq!(percentile(&values, 0.0), Some(10.0));
        assert_eq!(percentile(&[], 0.5), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
    }

    #[test]
    fn equal_systems_do_not_differ() {
        let pairs = [(0.3, 0.3), (1.0, 1.0)];
        let found = paired_bootstrap(&pairs, 100, 7).unwrap();
        assert_eq!((found.n, found.difference, found.p), (2, 0.0, 1.0));
        assert_eq!(found.interval, Interval { low: 0.0, high: 0.0 });
        assert_eq!(paired_bootstrap(&[], 100, 7), None);
    }

    #[test]
    fn a_system_that_is_always_better_by_the_same_is_better_by_that() {
        let pairs: Vec<(f64, f64)> = (0..20).map(|n| (f64::from(n) + 0.5, f64::from(n))).collect();
        let found = paired_bootstrap(&pairs, 999, 1).unwrap();
        assert!(
            near(found.difference, 0.5) && near(found.interval.low, 0.5) && near(found.interval.high, 0.5)
        );
        assert!(near(found.p, 2.0 / 1000.0), "no draw went the other way: {}", found.p);
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial() {
        // 50 of 100: the standard error is 0.05, so 95 % lie within 0.098 of the middle.
        let values: Vec<f64> = (0..100).map(|n| f64::from(n % 2)).collect();
        let found = mean_interval(&values, RESAMPLES, 3).unwrap();
        assert!((found.low - 0.402).abs() < 0.011 && (found.high - 0.598).abs() < 0.011, "{found:?}");
    }

    #[test]
    fn p_is_that_of_the_sign_test_where_all_differences_are_one() {
        // 8 better, 2 worse. Ten draws with 80 % up: a sum of at most zero means at most 5 ups, P = 0.0328.
        let pairs: Vec<(f64, f64)> = (0..10).map(|n| if n < 8 { (1.0, 0.0) } else { (0.0, 1.0) }).collect();
        let found = paired_bootstrap(&pairs, 40_000, 11).unwrap();
        assert!((found.p - 2.0 * 0.0328).abs() < 0.006, "{}", found.p);
    }

    proptest! {
        #[test]
        fn a_comparison_is_reproducible_and_turns_its_sign_with_the_sides(
            pairs in prop::collection::vec((0.0..1.0, 0.0..1.0), 1..20), seed: u64,
        ) {
            let found = paired_bootstrap(&pairs, 200, seed).unwrap();
            prop_assert_eq!(found, paired_bootstrap(&pairs, 200, seed).unwrap());
            let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
            let other = paired_bootstrap(&turned, 200, seed).unwrap();
            prop_assert!(near(found.difference, -other.difference) && near(found.p, other.p));
            prop_assert!(near(found.interval.low, -other.interval.high));
            prop_assert!(found.interval.low <= found.interval.high && (0.0..=1.0).contains(&found.p));
            prop_assert!(found.interval.low >= -1.0 && found.interval.high <= 1.0);
        }
    }
}
