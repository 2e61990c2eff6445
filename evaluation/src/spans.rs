//! Figures of retrieved chunks against the passages that hold the answer: interval arithmetic.
//!
//! Offsets count whatever the caller counts, as long as it is the same everywhere: characters, bytes, tokens.
//!
//! Source: "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A part of a document: half-open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<'a> {
    /// The document.
    pub doc: &'a str,
    /// Which part.
    pub range: Range<usize>,
}

/// When a chunk touches a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touching {
    /// When they have something in common.
    Strict,
    /// Also when one ends where the other begins: so the program of the source counts.
    Border,
}

/// The figures of one question, or their means. The names are those of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanFigures {
    /// Share of the wanted characters that the chunks have.
    pub recall: f64,
    /// Share of the chunks' characters that are wanted; a character that two chunks have counts twice below the line.
    pub precision: f64,
    /// As precision, with the wanted characters that are missing below the line too.
    pub iou: f64,
    /// Precision if every chunk that touches a wanted passage were retrieved: the best that the chunking allows.
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

/// The figures of one question.
///
/// `wanted` are the passages that hold the answer, `retrieved` the chunks that were found, `all` all chunks of the
/// documents with wanted passages. A wanted character counts once, however many passages and chunks have it.
pub fn span_figures(
    wanted: &[Span<'_>],
    retrieved: &[Span<'_>],
    all: &[Span<'_>],
    touching: Touching,
) -> SpanFigures {
    let wanted = union(wanted);
    let n_wanted = length(&wanted);
    let n_found = overlap(&wanted, &union(retrieved));
    let n_retrieved: usize = retrieved.iter().map(|span| span.range.len()).sum();
    let touches = |chunk: &&Span<'_>| {
        wanted
            .get(chunk.doc)
            .is_some_and(|ranges| ranges.iter().any(|want| touch(want, &chunk.range, touching)))
    };
    let reachable: Vec<Span<'_>> = all.iter().filter(touches).cloned().collect();
    let reachable = union(&reachable);
    let n_touching = length(&reachable);
    let n_reachable = overlap(&wanted, &reachable);
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    SpanFigures {
        recall: share(n_found, n_wanted),
        precision: share(n_found, n_retrieved),
        iou: share(n_found, n_retrieved + n_wanted - n_found),
        precision_omega: share(n_reachable, n_touching + n_wanted - n_reachable),
    }
}

fn touch(a: &Range<usize>, b: &Range<usize>, touching: Touching) -> bool {
    match touching {
        Touching::Strict => a.start < b.end && b.start < a.end,
        Touching::Border => a.start <= b.end && b.start <= a.end,
    }
}

/// Ranges by document, in order, that do not overlap.
type Ranges<'a> = BTreeMap<&'a str, Vec<Range<usize>>>;

/// The same characters, each once.
fn union<'a>(spans: &[Span<'a>]) -> Ranges<'a> {
    let mut by_doc: Ranges<'a> = BTreeMap::new();
    for span in spans.iter().filter(|span| !span.range.is_empty()) {
        by_doc.entry(span.doc).or_default().push(span.range.clone());
    }
    for ranges in by_doc.values_mut() {
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for range in ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        *ranges = merged;
    }
    by_doc
}

fn length(ranges: &Ranges<'_>) -> usize {
    ranges.values().flatten().map(Range::len).sum()
}

/// How many characters are in both.
fn overlap(a: &Ranges<'_>, b: &Ranges<'_>) -> usize {
    let shared = |x: &Range<usize>, y: &Range<usize>| x.end.min(y.end).saturating_sub(x.start.max(y.start));
    let in_doc =
        |doc: &str, x: &Range<usize>| b.get(doc).into_iter().flatten().map(|y| shared(x, y)).sum::<usize>();
    a.iter().flat_map(|(doc, ranges)| ranges.iter().map(|x| in_doc(doc, x))).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(doc: &str, range: Range<usize>) -> Span<'_> {
        Span { doc, range }
    }

    #[test]
    fn figures_are_shares_of_characters() {
        let retrieved = [at("d", 0..10), at("d", 5..15), at("other", 0..20)];
        let all = [at("d", 0..10), at("d", 5..15), at("d", 15..30), at("d", 30..40)];
        let wanted = [at("d", 8..12), at("d", 30..34)];
        let found = span_figures(&wanted, &retrieved, &all, Touching::Border);
        // 4 of 8 wanted; 4 of 10 + 10 + 20 retrieved; 4 of 40 + 4 missing.
        assert_eq!((found.recall, found.precision, found.iou), (0.5, 0.1, 4.0 / 44.0));
        // All four touch: the third ends where the second passage begins. What two have counts once.
        assert!((found.precision_omega - 8.0 / 40.0).abs() < 1e-12);
        // Strictly, the third does not: 8 wanted of 15 + 10.
        let strict = span_figures(&wanted, &retrieved, &all, Touching::Strict);
        assert!((strict.precision_omega - 8.0 / 25.0).abs() < 1e-12);
        assert_eq!((strict.recall, strict.precision, strict.iou), (found.recall, found.precision, found.iou));
    }

    #[test]
    fn passages_of_several_documents_are_told_apart() {
        let wanted = [at("a", 0..4), at("b", 0..4)];
        let found =
            span_figures(&wanted, &[at("b", 2..10)], &[at("a", 0..8), at("b", 2..10)], Touching::Strict);
        // 2 of 8 wanted, 2 of 8 retrieved, 2 of 8 + 6; with both chunks 4 + 2 of 16, and 2 that no chunk has.
        assert_eq!((found.recall, found.precision, found.iou), (0.25, 0.25, 2.0 / 14.0));
        assert!((found.precision_omega - 6.0 / 18.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_retrieved_is_nothing_found() {
        let found = span_figures(&[at("a", 0..4)], &[], &[], Touching::Strict);
        assert_eq!(found, SpanFigures::default());
    }

    fn some_spans() -> impl Strategy<Value = Vec<Range<usize>>> {
        prop::collection::vec((0..40_usize, 1..12_usize).prop_map(|(start, n)| start..start + n), 1..6)
    }

    proptest! {
        #[test]
        fn figures_agree_with_counting_characters_one_by_one(wanted in some_spans(), retrieved in some_spans()) {
            let spans = |ranges: &[Range<usize>]| ranges.iter().map(|range| at("d", range.clone())).collect::<Vec<_>>();
            let found = span_figures(&spans(&wanted), &spans(&retrieved), &spans(&retrieved), Touching::Strict);
            let chars: BTreeSet<usize> = wanted.iter().cloned().flatten().collect();
            let has: BTreeSet<usize> = retrieved.iter().cloned().flatten().collect();
            let n_found = chars.intersection(&has).count() as f64;
            let n_retrieved = retrieved.iter().map(Range::len).sum::<usize>() as f64;
            prop_assert!((found.recall - n_found / chars.len() as f64).abs() < 1e-12);
            prop_assert!((found.precision - n_found / n_retrieved).abs() < 1e-12);
            prop_assert!((found.iou - n_found / (n_retrieved + chars.len() as f64 - n_found)).abs() < 1e-12);
            prop_assert!(found.iou <= found.precision + 1e-12 && found.iou <= found.recall + 1e-12);
            prop_assert!((0.0..=1.0).contains(&found.precision_omega));
        }

        #[test]
        fn the_order_of_chunks_does_not_matter(wanted in some_spans(), retrieved in some_spans()) {
            let spans = |ranges: &[Range<usize>]| ranges.iter().map(|range| at("d", range.clone())).collect::<Vec<_>>();
            let mut turned = retrieved.clone();
            turned.reverse();
            let figures = |chunks: &[Range<usize>]| {
                span_figures(&spans(&wanted), &spans(chunks), &spans(chunks), Touching::Strict)
            };
            prop_assert_eq!(figures(&retrieved), figures(&turned));
        }
    }
}
