//! Figures of retrieved chunks against the passages that hold the answer: interval arithmetic over characters.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The figures of one question, or their means. The names are those of the reference file.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct SpanFigures {
    /// Share of the wanted characters that the chunks have.
    pub recall: f64,
    /// Share of the chunks' characters that are wanted; a character that two chunks have counts twice below the line.
    pub precision: f64,
    /// As precision, with the wanted characters that are missing below the line too.
    pub iou: f64,
    /// Precision if every chunk that touches a wanted passage were retrieved.
    pub precision_omega: f64,
}

impl SpanFigures {
    /// Adds `weight` times `other`.
    pub fn add(&mut self, other: &Self, weight: f64) {
        self.recall += other.recall * weight;
        self.precision += other.precision * weight;
        self.iou += other.iou * weight;
        self.precision_omega += other.precision_omega * weight;
    }

    /// The greatest difference to `other`.
    pub fn distance(&self, other: &Self) -> f64 {
        let pairs = [
            (self.recall, other.recall),
            (self.precision, other.precision),
            (self.iou, other.iou),
            (self.precision_omega, other.precision_omega),
        ];
        pairs.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }
}

/// The figures of one question about one document.
///
/// `retrieved` are the chunks that were found: their range in the document asked about, `None` for a chunk of another
/// one, and their length. `all` are all chunks of the document. A chunk that ends where a passage begins touches it:
/// so the reference counts.
///
/// Source: "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024).
pub fn span_figures(
    wanted: &[Range<usize>],
    retrieved: &[(Option<Range<usize>>, usize)],
    all: &[Range<usize>],
) -> SpanFigures {
    let wanted = union(wanted.to_vec());
    let n_wanted = length(&wanted);
    let found = union(retrieved.iter().filter_map(|(range, _)| range.clone()).collect());
    let n_found = overlap(&wanted, &found);
    let n_retrieved: usize = retrieved.iter().map(|(_, length)| length).sum();
    let touches =
        |chunk: &&Range<usize>| wanted.iter().any(|want| chunk.start <= want.end && want.start <= chunk.end);
    let touching = union(all.iter().filter(touches).cloned().collect());
    let n_touching = length(&touching);
    let n_reachable = overlap(&wanted, &touching);
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    SpanFigures {
        recall: share(n_found, n_wanted),
        precision: share(n_found, n_retrieved),
        iou: share(n_found, n_retrieved + n_wanted - n_found),
        precision_omega: share(n_reachable, n_touching + n_wanted - n_reachable),
    }
}

/// The same characters, each once, in order.
fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn length(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

/// How many characters are in both; each list holds every character once.
fn overlap(a: &[Range<usize>], b: &[Range<usize>]) -> usize {
    let shared = |x: &Range<usize>, y: &Range<usize>| x.end.min(y.end).saturating_sub(x.start.max(y.start));
    a.iter().map(|x| b.iter().map(|y| shared(x, y)).sum::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shares_of_characters() {
        let retrieved = [(Some(0..10), 10), (Some(5..15), 10), (None, 20)];
        let found = span_figures(&[8..12, 30..34], &retrieved, &[0..10, 5..15, 15..30, 30..40]);
        assert_eq!((found.recall, found.precision, found.iou), (0.5, 0.1, 4.0 / 44.0));
        // All four touch: the third ends where the second passage begins. What two have counts once.
        assert!((found.precision_omega - 8.0 / 40.0).abs() < 1e-12);
    }
}
