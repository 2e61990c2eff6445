//! How many chunks are kept: counts over scores that fall.

use std::cmp::Ordering;

use super::score::At;

/// How many of `scores`, best first, are `least` or more.
pub(crate) fn at_least(scores: &[f64], least: f64) -> usize {
    scores.partition_point(|score| *score >= least)
}

/// How many of `n` are this share of them, rounded down.
pub(crate) fn share(n: usize, share: f64) -> usize {
    let most = n as f64 * share;
    (1..=n).take_while(|count| *count as f64 <= most).count()
}

/// How many of `needs`, in their order, fit into `budget` before the first that does not.
pub(crate) fn fitting(needs: impl IntoIterator<Item = usize>, budget: usize) -> usize {
    let fits = |total: &mut usize, need: usize| {
        *total = total.saturating_add(need);
        Some(*total <= budget)
    };
    needs.into_iter().scan(0, fits).take_while(|fits| *fits).count()
}

/// How many of `scores`, best first, come before the first sharp fall: at least `min` and at most `max` of them.
pub(crate) fn before_fall(scores: &[f64], at: At, min: usize, max: usize) -> usize {
    let max = scores.len().min(max);
    // Each place where one could stop, with the fall there.
    let falls = scores.windows(2).zip(1_usize..).filter_map(|(pair, place)| match pair {
        [before, after] => Some((place, *before, before - after)),
        _ => None,
    });
    let mut falls = falls.filter(|(place, ..)| (min.max(1)..max).contains(place));
    let found = match at {
        At::Relative(most) => {
            // A score of 0 or less has no share that could be left of it: any fall from it is sharp.
            falls.find(|(_, before, fall)| fall / before.max(f64::MIN_POSITIVE) > most)
        }
        At::Absolute(most) => falls.find(|(.., fall)| *fall > most),
        At::MaxGap => falls
            // Of equal gaps the first.
            .max_by(|(a, _, one), (b, _, other)| one.total_cmp(other).then(b.cmp(a)))
            .filter(|(.., fall)| *fall > 0.0),
    };
    found.map_or(max, |(place, ..)| place)
}

/// Between 0 and 1, whatever the score.
pub(crate) fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// The places of `keys` in the order of `compare`; equal ones as they stand.
pub(crate) fn order<K>(keys: &[K], compare: impl Fn(&K, &K) -> Ordering) -> Vec<usize> {
    let mut places: Vec<(usize, &K)> = keys.iter().enumerate().collect();
    places.sort_by(|(_, a), (_, b)| compare(a, b));
    places.into_iter().map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_is_rounded_down_as_autorag_does() {
        // `int(n * share)` of Python, worked out there.
        for (n, of, expected) in
            [(10, 0.3, 3), (100, 0.29, 28), (7, 0.5, 3), (3, 0.1, 0), (4, 1.0, 4), (0, 0.5, 0)]
        {
            assert_eq!(share(n, of), expected, "{n} * {of}");
        }
    }

    #[test]
    fn a_relative_fall_is_a_share_of_the_score_before_it() {
        let scores = [0.9, 0.8, 0.5, 0.45, 0.1];
        assert_eq!(before_fall(&scores, At::Relative(0.3), 1, 100), 2);
        assert_eq!(before_fall(&scores, At::Relative(0.3), 3, 100), 4, "the first three are taken anyway");
        assert_eq!(before_fall(&scores, At::Relative(0.9), 1, 100), 5);
        assert_eq!(before_fall(&scores, At::Relative(0.9), 1, 3), 3);
        assert_eq!(before_fall(&[1.0, 0.0, -1.0], At::Relative(1.0), 1, 100), 2, "no share is left of 0");
    }

    #[test]
    fn an_absolute_fall_is_a_difference_and_the_largest_gap_may_be_anywhere() {
        let scores = [-1.0, -1.5, -4.0, -9.0, -9.1];
        assert_eq!(before_fall(&scores, At::Absolute(2.0), 1, 100), 2);
        assert_eq!(before_fall(&scores, At::MaxGap, 1, 100), 3);
        assert_eq!(before_fall(&scores, At::MaxGap, 1, 3), 2);
        assert_eq!(before_fall(&[0.5; 4], At::MaxGap, 1, 100), 4, "where nothing falls all are kept");
        assert_eq!(before_fall(&[3.0, 2.0, 1.0], At::MaxGap, 1, 100), 1, "of equal gaps the first");
        assert_eq!(before_fall(&[], At::MaxGap, 1, 100), 0);
    }

    #[test]
    fn the_first_that_does_not_fit_ends_the_budget() {
        assert_eq!(fitting([2, 3, 9, 1], 5), 2);
        assert_eq!(fitting([9, 1], 5), 0);
        assert_eq!(fitting([usize::MAX, 1], usize::MAX), 2, "at the end of the numbers nothing wraps around");
    }

    fn falling() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(-4.0..4.0_f64, 0..12).prop_map(|mut scores| {
            scores.sort_by(|a, b| b.total_cmp(a));
            scores
        })
    }

    /// As SAGE is told: take the first, then one after the other while there is no sharp fall.
    fn one_by_one(scores: &[f64], most: f64, min: usize, max: usize) -> usize {
        let mut taken = 0;
        while taken < scores.len().min(max) {
            let sharp = taken > 0
                && (scores[taken - 1] - scores[taken]) / scores[taken - 1].max(f64::MIN_POSITIVE) > most;
            if taken >= min && sharp {
                break;
            }
            taken += 1;
        }
        taken
    }

    proptest! {
        #[test]
        fn falls_are_found_as_one_would_by_hand(
            scores in falling(), most in 0.0..1.0_f64, min in 1..5_usize, more in 0..9_usize,
        ) {
            let found = before_fall(&scores, At::Relative(most), min, min + more);
            prop_assert_eq!(found, one_by_one(&scores, most, min, min + more));
        }

        #[test]
        fn what_allows_more_keeps_no_less(scores in falling(), a in 0.0..2.0_f64, b in 0.0..2.0_f64, min in 1..5_usize) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(at_least(&scores, more) <= at_least(&scores, less));
            prop_assert!(share(scores.len(), less) <= share(scores.len(), more));
            for at in [At::Relative, At::Absolute] {
                prop_assert!(before_fall(&scores, at(less), min, 12) <= before_fall(&scores, at(more), min, 12));
            }
            for at in [At::Relative(less), At::MaxGap] {
                let n = before_fall(&scores, at, min, 9);
                prop_assert!(n >= min.min(scores.len()) && n <= 9);
            }
        }
    }
}
