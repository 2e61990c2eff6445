//! Two results side by side, on the questions that both have.

use anabranch_evaluation::statistics::{Comparison, RESAMPLES, mean, paired_bootstrap};
use indexmap::IndexMap;
use serde::Serialize;

use super::figures::place_of;
use super::results::Line;

/// How one compares with another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The one.
    pub variant: String,
    /// The other.
    pub with: String,
    /// Questions that both were asked.
    pub questions: usize,
    /// Questions that only one of them was asked: they do not count.
    pub unpaired: usize,
    /// By figure.
    pub figures: IndexMap<String, Difference>,
}

/// The difference of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The one's mean.
    pub mean: f64,
    /// The other's.
    pub with: f64,
    /// The difference.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Compares `one` with `other` by the paired bootstrap; a figure that a question has in one only does not count.
pub fn compare<'a>(
    (name, one): (&str, &[&'a Line]),
    (with, other): (&str, &IndexMap<String, Line>),
    seed: u64,
) -> Compared {
    let mut pairs: IndexMap<&'a str, Vec<(f64, f64)>> = IndexMap::new();
    let mut questions = 0;
    for line in one {
        let Some(twin) = other.get(&line.id) else { continue };
        questions += 1;
        for (figure, value) in &line.figures {
            if let Some(theirs) = twin.figures.get(figure) {
                pairs.entry(figure).or_default().push((*value, *theirs));
            }
        }
    }
    pairs.sort_by(|a, _, b, _| place_of(a).cmp(&place_of(b)));
    let difference = |pairs: &[(f64, f64)]| {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let comparison = paired_bootstrap(pairs, RESAMPLES, seed)?;
        Some(Difference { mean: mean(&ours), with: mean(&theirs), comparison })
    };
    let figures =
        pairs.iter().filter_map(|(figure, pairs)| Some(((*figure).to_owned(), difference(pairs)?))).collect();
    Compared {
        variant: name.to_owned(),
        with: with.to_owned(),
        questions,
        unpaired: (one.len() - questions) + (other.len() - questions),
        figures,
    }
}

#[cfg(test)]
mod tests {
    use anabranch_engine::backend::Usage;

    use super::*;
    use crate::eval::looked::Found;

    fn lines(figures: &[(&str, &str, f64)]) -> IndexMap<String, Line> {
        let mut lines: IndexMap<String, Line> = IndexMap::new();
        for (id, name, value) in figures {
            let line = lines.entry((*id).to_owned()).or_insert_with(|| Line {
                id: (*id).to_owned(),
                failure: None,
                found: Found::default(),
                figures: super::super::figures::Figures::new(),
                usage: Usage::default(),
                elapsed_ms: 1.0,
            });
            line.figures.insert((*name).to_owned(), *value);
        }
        lines
    }

    #[test]
    fn only_what_both_have_is_compared() {
        let one = lines(&[("a", "f1", 1.0), ("b", "f1", 0.5), ("b", "map", 0.1), ("c", "f1", 0.0)]);
        let other = lines(&[("b", "f1", 0.25), ("a", "f1", 0.5), ("d", "f1", 1.0), ("e", "f1", 1.0)]);
        let one: Vec<&Line> = one.values().collect();
        let found = compare(("new", &one), ("old", &other), 5);
        assert_eq!((found.questions, found.unpaired), (2, 3));
        assert_eq!(found.figures.keys().collect::<Vec<_>>(), ["f1"]);
        let f1 = found.figures["f1"];
        assert_eq!((f1.mean, f1.with, f1.comparison.n, f1.comparison.difference), (0.75, 0.375, 2, 0.375));
        assert!(f1.comparison.interval.low >= 0.25 && f1.comparison.interval.high <= 0.5);
    }

    #[test]
    fn equal_results_do_not_differ_wherever_their_lines_stand() {
        let one = lines(&[("a", "f1", 1.0), ("b", "f1", 0.5)]);
        let other = lines(&[("b", "f1", 0.5), ("a", "f1", 1.0)]);
        let one: Vec<&Line> = one.values().collect();
        let found = compare(("new", &one), ("old", &other), 5);
        assert_eq!((found.figures["f1"].comparison.difference, found.figures["f1"].comparison.p), (0.0, 1.0));
    }
}
