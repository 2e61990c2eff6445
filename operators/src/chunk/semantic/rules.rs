//! Where to cut, given a number for every gap or unit: pure functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the distances between neighbours become cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Above this percentile of the distances.
    #[default]
    Percentile,
    /// More than so many standard deviations above their mean.
    StandardDeviation,
    /// More than so many times the distance between the quartiles above their mean.
    Interquartile,
    /// Where the distances rise more steeply than this percentile of the rises.
    Gradient,
    /// So that about so many chunks come of it.
    Count,
    /// So that chunks have about so many tokens.
    TargetSize,
    /// Below this cosine.
    Absolute,
}

impl Rule {
    /// What it counts with where nothing is said.
    pub(super) fn default_amount(self) -> f64 {
        match self {
            Self::Percentile | Self::Gradient => 95.0,
            Self::StandardDeviation => 3.0,
            Self::Interquartile => 1.5,
            Self::Count => 10.0,
            Self::TargetSize => 400.0,
            Self::Absolute => 0.8,
        }
    }

    /// The lowest and highest amount that makes sense.
    pub(super) fn amounts(self) -> (f64, f64) {
        match self {
            Self::Percentile | Self::Gradient | Self::StandardDeviation | Self::Interquartile => (0.0, 100.0),
            Self::Count | Self::TargetSize => (1.0, 1_000_000.0),
            Self::Absolute => (-1.0, 1.0),
        }
    }

    /// The gaps to cut at: `distances` are one less the cosine of the units on both sides, `tokens` those of the text.
    pub(super) fn cuts(self, distances: &[f64], amount: f64, tokens: usize) -> Vec<usize> {
        if distances.is_empty() {
            return Vec::new();
        }
        match self {
            Self::Percentile => above(distances, percentile(distances, amount)),
            Self::StandardDeviation => {
                let (mean, deviation) = moments(distances);
                above(distances, mean + amount * deviation)
            }
            Self::Interquartile => {
                let spread = percentile(distances, 75.0) - percentile(distances, 25.0);
                above(distances, moments(distances).0 + amount * spread)
            }
            // Of a single gap nobody can say how it rises.
            Self::Gradient if distances.len() < 2 => Vec::new(),
            Self::Gradient => {
                let rises = gradient(distances);
                above(&rises, percentile(&rises, amount))
            }
            Self::Count => above(distances, percentile(distances, percentile_for(distances.len(), amount))),
            Self::TargetSize => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of cuts"
                )]
                let cuts = (tokens as f64 / amount.max(1.0)).floor() as usize;
                above(distances, threshold_for(distances, cuts))
            }
            Self::Absolute => above(distances, 1.0 - amount),
        }
    }
}

/// The places whose value is above `threshold`.
fn above(values: &[f64], threshold: f64) -> Vec<usize> {
    values.iter().enumerate().filter(|(_, value)| **value > threshold).map(|(at, _)| at).collect()
}

/// The percentile, 0 to 100, with what lies between two values taken in proportion.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (percent.clamp(0.0, 100.0) / 100.0) * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let below = place.floor() as usize;
    let at = |place: usize| sorted.get(place).or(sorted.last()).copied().unwrap_or_default();
    at(below) + (at(below + 1) - at(below)) * (place - place.floor())
}

/// Mean and standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// How steeply the values rise at each place: half the way between the neighbours, all of it at the ends.
fn gradient(values: &[f64]) -> Vec<f64> {
    let last = values.len().saturating_sub(1);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    (0..values.len())
        .map(|place| {
            let (from, to) = (place.saturating_sub(1), (place + 1).min(last));
            (at(to) - at(from)) / (to - from).max(1) as f64
        })
        .collect()
}

/// The percentile that leaves about `chunks` chunks: all gaps are cut at 0, none at 100.
fn percentile_for(gaps: usize, chunks: f64) -> f64 {
    let gaps = gaps as f64;
    if gaps <= 1.0 {
        return 100.0;
    }
    let chunks = chunks.clamp(1.0, gaps);
    (100.0 / (1.0 - gaps) * (chunks - gaps)).clamp(0.0, 100.0)
}

/// The distance that about `cuts` are above, found by halving.
fn threshold_for(distances: &[f64], cuts: usize) -> f64 {
    let (mut lower, mut upper) = (0.0, 1.0);
    let mut threshold = 0.5;
    while upper - lower > 1e-6 {
        threshold = f64::midpoint(upper, lower);
        if above(distances, threshold).len() > cuts {
            lower = threshold;
        } else {
            upper = threshold;
        }
    }
    threshold
}

/// Drops that the lowest one is the threshold of, once so many are known.
const DROPS_KNOWN: usize = 100;

/// The units after which the values turn up again by at least `threshold`. With `adapts`, the smallest turn seen is the
/// threshold once a hundred are known.
pub(super) fn minima(values: &[f64], mut threshold: f64, adapts: bool) -> Vec<usize> {
    let mut found = Vec::new();
    let mut seen: Vec<f64> = Vec::new();
    for (before, window) in values.windows(3).enumerate() {
        let &[left, here, right] = window else { continue };
        let (fall, rise) = (left - here, right - here);
        let is_low = fall > 0.0 && rise > 0.0 && (fall >= threshold || rise >= threshold);
        let is_flat = fall > 0.0 && rise.abs() < f64::EPSILON && fall >= threshold;
        if is_low || is_flat {
            found.push(before + 1);
            seen.push(if is_low { fall.min(rise) } else { fall });
        }
        if adapts && seen.len() >= DROPS_KNOWN {
            threshold = seen.iter().copied().fold(f64::INFINITY, f64::min);
        }
    }
    found
}

/// Whether a unit goes with the ones before, by how sure the model is of it: above the mean of what it was the last times.
#[derive(Debug, Default)]
pub(super) struct Margin {
    last: std::collections::VecDeque<f64>,
    threshold: f64,
}

/// So many margins make the threshold.
const MARGINS_KNOWN: usize = 5;

impl Margin {
    /// Takes the probability of keeping less that of splitting.
    pub(super) fn keeps(&mut self, margin: f64) -> bool {
        let keeps = margin > self.threshold;
        self.last.push_back(margin);
        if self.last.len() > MARGINS_KNOWN {
            self.last.pop_front();
        }
        if self.last.len() == MARGINS_KNOWN {
            self.threshold = self.last.iter().sum::<f64>() / MARGINS_KNOWN as f64;
        }
        keeps
    }
}

/// The division into groups of at most `longest` neighbours that are most alike: a cut after each place given.
///
/// What two units of a group are worth is their cosine less the mean of all pairs, so that unlike ones are parted.
pub(super) fn clusters(vectors: &[&[f32]], longest: usize) -> Vec<usize> {
    let n = vectors.len();
    let mean = mean_cosine(vectors);
    let cosine = |a: usize, b: usize| match (vectors.get(a), vectors.get(b)) {
        (Some(a), Some(b)) => dot(a, b),
        _ => 0.0,
    };
    // Best worth of the first `end` units, and how many of them the last group has. Every end can be reached, since a
    // group of one is always allowed.
    let mut best: Vec<(f64, usize)> = vec![(0.0, 0)];
    for end in 1..=n {
        let mut choice = (f64::NEG_INFINITY, 1);
        // Worth of the group of the last `size` units; it grows by the pairs of the one that is added in front.
        let mut worth = 0.0;
        for size in 1..=longest.max(1).min(end) {
            let first = end - size;
            worth += 2.0 * (first + 1..end).map(|other| cosine(first, other) - mean).sum::<f64>();
            let before = best.get(first).map_or(0.0, |(worth, _)| *worth);
            if before + worth > choice.0 {
                choice = (before + worth, size);
            }
        }
        best.push(choice);
    }
    let mut cuts = Vec::new();
    let mut end = n;
    while end > 0 {
        let size = best.get(end).map_or(1, |(_, size)| (*size).max(1));
        end -= size.min(end);
        if end > 0 {
            cuts.push(end - 1);
        }
    }
    cuts.reverse();
    cuts
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The mean cosine of all pairs, from the sum of all vectors: no pair is looked at.
fn mean_cosine(vectors: &[&[f32]]) -> f64 {
    let n = vectors.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mut sum = vec![0.0_f64; vectors.first().map_or(0, |vector| vector.len())];
    let mut own = 0.0;
    for vector in vectors {
        own += dot(vector, vector);
        sum.iter_mut().zip(*vector).for_each(|(sum, part)| *sum += f64::from(*part));
    }
    (sum.iter().map(|part| part * part).sum::<f64>() - own) / (n * (n - 1.0))
}

/// One less the cosine of each vector and the next.
pub(super) fn distances(vectors: &[&[f32]]) -> Vec<f64> {
    vectors
        .windows(2)
        .map(|pair| 1.0 - pair.first().zip(pair.last()).map_or(0.0, |(a, b)| dot(a, b)))
        .collect()
}

#[cfg(test)]
mod tests;
