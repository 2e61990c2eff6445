//! Thresholds that come from the scores themselves.

/// The threshold of `ChunkRAG` (arXiv 2410.19572, algorithm 1): the mean of `scores`, or the mean and one standard
/// deviation where their variance is below `eps`, which means that the mean alone would hardly tell them apart.
///
/// It is never above the best score, so the best always pass: of `[0.9, 0.9, 0.8]` the mean and one deviation would
/// pass none. Of no scores it is 0. The variance is that of the whole (divided by n, not n - 1).
pub(crate) fn mean_sd(scores: &[f64], eps: f64) -> f64 {
    let n = scores.len() as f64;
    let Some(best) = scores.iter().copied().reduce(f64::max) else { return 0.0 };
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n;
    let threshold = if variance < eps { mean + variance.sqrt() } else { mean };
    threshold.min(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(scores: &[f64], eps: f64, threshold: f64) {
        let found = mean_sd(scores, eps);
        assert!((found - threshold).abs() < 1e-12, "{scores:?}: {found}, not {threshold}");
    }

    #[test]
    fn scores_far_apart_are_cut_at_their_mean() {
        assert_near(&[0.9, 0.1, 0.2, 0.8], 0.01, 0.5);
    }

    #[test]
    fn scores_close_together_are_cut_one_deviation_above_their_mean() {
        assert_near(&[0.5, 0.6], 0.01, 0.6);
        assert_near(&[0.5, 0.5, 0.6, 0.8], 0.1, 0.6 + 0.015_f64.sqrt());
    }

    #[test]
    fn the_best_always_pass() {
        for scores in [[0.1; 3].as_slice(), &[0.9, 0.9, 0.9, 0.8], &[0.3], &[0.0, 1.0]] {
            let best = scores.iter().copied().fold(0.0, f64::max);
            assert!(mean_sd(scores, 0.01) <= best, "{scores:?}");
        }
        assert_near(&[0.1; 3], 0.01, 0.1);
        assert_near(&[], 0.01, 0.0);
    }
}
