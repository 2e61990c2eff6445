//! Places in documents, and figures of citations: do they point at the evidence?

use std::ops::Range;

/// A place in a document: a half-open range of its bytes, or all of it where no more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The document.
    pub doc: &'a str,
    /// Its bytes, where they are known.
    pub bytes: Option<Range<u64>>,
}

impl Place<'_> {
    /// Whether two places have a byte in common; with a whole document, whether they are in the same one.
    pub fn overlaps(&self, other: &Place<'_>) -> bool {
        let share = match (&self.bytes, &other.bytes) {
            (Some(a), Some(b)) => a.start < b.end && b.start < a.end,
            _ => true,
        };
        self.doc == other.doc && share
    }
}

/// The share of the citations that point at evidence; 0 if nothing is cited.
pub fn citation_precision(cited: &[Place<'_>], evidence: &[Place<'_>]) -> f64 {
    share(cited, evidence)
}

/// The share of the places of the evidence that a citation points at; 0 if there is no evidence.
pub fn citation_recall(cited: &[Place<'_>], evidence: &[Place<'_>]) -> f64 {
    share(evidence, cited)
}

/// The share of `places` that overlap one of `others`.
fn share(places: &[Place<'_>], others: &[Place<'_>]) -> f64 {
    let met = places.iter().filter(|place| others.iter().any(|other| place.overlaps(other))).count();
    met as f64 / places.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(doc: &str, bytes: impl Into<Option<Range<u64>>>) -> Place<'_> {
        Place { doc, bytes: bytes.into() }
    }

    #[test]
    fn citations_by_hand() {
        let evidence = [at("a", 10..20), at("a", 50..60), at("b", None)];
        // The first touches nothing (half-open), the second the first place, the third the document `b`.
        let cited = [at("a", 0..10), at("a", 19..25), at("b", 5..6), at("c", 0..9)];
        assert!((citation_precision(&cited, &evidence) - 0.5).abs() < 1e-12, "two of four");
        assert!((citation_recall(&cited, &evidence) - 2.0 / 3.0).abs() < 1e-12, "two of three");
        assert!(citation_precision(&[], &evidence).abs() < 1e-12);
        assert!(citation_recall(&[], &evidence).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn overlapping_is_mutual(a in 0..20_u64, b in 0..20_u64, n in 1..9_u64, m in 1..9_u64) {
            let (x, y) = (at("d", a..a + n), at("d", b..b + m));
            prop_assert_eq!(x.overlaps(&y), y.overlaps(&x));
            prop_assert_eq!(x.overlaps(&y), (a..a + n).any(|byte| (b..b + m).contains(&byte)));
        }
    }
}
