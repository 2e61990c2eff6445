//! What came of an evaluation: means with their confidence, usage, latency, failures.

use std::collections::BTreeMap;

use anabranch_engine::backend::Usage;
use anabranch_evaluation::statistics::{Interval, mean, mean_interval, percentile};
use indexmap::IndexMap;
use serde::Serialize;

use super::compare::Compared;
use super::figures::place_of;
use super::looked::LeftOut;
use super::results::Line;

/// Draws for the confidence interval of a mean.
const MEAN_RESAMPLES: usize = 1_000;

/// An evaluation, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The flow.
    pub flow: String,
    /// The set's folder.
    pub data: String,
    /// Questions that were to be asked.
    pub questions: usize,
    /// Seed of all randomness, that of the comparisons among it.
    pub seed: u64,
    /// One for each combination of a sweep's values; one without a sweep.
    pub variants: Vec<Variant>,
    /// Variants against the first of them, and against other results.
    pub comparisons: Vec<Compared>,
    /// Figures that cannot be worked out.
    pub left_out: Vec<LeftOut>,
    /// The report, a page that needs nothing else.
    pub report: String,
}

/// One variant of the flow.
#[derive(Debug, Serialize)]
pub struct Variant {
    /// Its name: `search.with.top_k=5`, or the flow's where nothing is swept.
    pub name: String,
    /// The settings that it has instead of the flow's.
    pub settings: Vec<String>,
    /// The file of its results.
    pub results: String,
    /// Questions that were asked.
    pub asked: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// Means by figure.
    pub figures: IndexMap<String, Mean>,
    /// What all questions used together.
    pub usage: Usage,
    /// How long a question took, of those that did not fail.
    pub latency_ms: Latency,
    /// Failures by kind.
    pub failures: BTreeMap<String, usize>,
    /// The questions that failed.
    pub failed_questions: Vec<FailedQuestion>,
}

/// A mean over questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Questions that have the figure.
    pub n: usize,
    /// What it is between, with 95 % confidence (bootstrap).
    pub interval: Interval,
}

/// How long questions took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// A question that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedQuestion {
    /// Which.
    pub id: String,
    /// What kind of failure.
    pub kind: String,
    /// What happened.
    pub message: String,
}

impl Variant {
    /// What came of the questions in `lines`, in their order.
    pub fn new(name: String, settings: Vec<String>, results: String, lines: &[&Line], seed: u64) -> Self {
        let mut values: IndexMap<String, Vec<f64>> = IndexMap::new();
        for line in lines {
            for (figure, value) in &line.figures {
                values.entry(figure.clone()).or_default().push(*value);
            }
        }
        values.sort_by(|a, _, b, _| place_of(a).cmp(&place_of(b)));
        let figures = values.into_iter().filter_map(|(figure, values)| {
            let interval = mean_interval(&values, MEAN_RESAMPLES, seed)?;
            Some((figure, Mean { mean: mean(&values), n: values.len(), interval }))
        });
        let mut usage = Usage::default();
        for line in lines {
            usage += line.usage;
        }
        let mut failures = BTreeMap::new();
        let mut failed_questions = Vec::new();
        for line in lines {
            if let Some(failure) = &line.failure {
                *failures.entry(failure.kind.clone()).or_default() += 1;
                let (kind, message) = (failure.kind.clone(), failure.message.clone());
                failed_questions.push(FailedQuestion { id: line.id.clone(), kind, message });
            }
        }
        let took = took(lines);
        let at = |share| percentile(&took, share).unwrap_or_default();
        Self {
            name,
            settings,
            results,
            asked: lines.len(),
            failed: failed_questions.len(),
            figures: figures.collect(),
            usage,
            latency_ms: Latency { mean: mean(&took), p50: at(0.5), p99: at(0.99) },
            failures,
            failed_questions,
        }
    }
}

/// How long each question took that did not fail, in milliseconds.
pub fn took(lines: &[&Line]) -> Vec<f64> {
    lines.iter().filter(|line| line.failure.is_none()).map(|line| line.elapsed_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::looked::Found;
    use crate::eval::results::Failed;

    fn line(id: &str, figures: &[(&str, f64)], elapsed_ms: f64) -> Line {
        Line {
            id: id.to_owned(),
            failure: None,
            found: Found::default(),
            figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            usage: Usage {
                model_calls: 2,
                prompt_tokens: 10,
                completion_tokens: 5,
                cost: 0.25,
                ..Usage::default()
            },
            elapsed_ms,
        }
    }

    #[test]
    fn means_are_over_the_questions_that_have_the_figure() {
        let failure = Some(Failed { kind: "timed_out".to_owned(), message: "late".to_owned() });
        let lines = [
            line("a", &[("f1", 1.0), ("recall@10", 0.5)], 10.0),
            line("b", &[("f1", 0.5)], 30.0),
            Line { failure, ..line("c", &[("f1", 0.0)], 9_000.0) },
            line("d", &[("f1", 0.5), ("recall@5", 1.0)], 20.0),
        ];
        let lines: Vec<&Line> = lines.iter().collect();
        let variant = Variant::new("f".to_owned(), vec![], "results.jsonl".to_owned(), &lines, 1);
        let names: Vec<&str> = variant.figures.keys().map(String::as_str).collect();
        assert_eq!(names, ["recall@5", "recall@10", "f1"], "in the order of the groups, and of k");
        assert_eq!((variant.figures["f1"].mean, variant.figures["f1"].n), (0.5, 4));
        assert_eq!((variant.figures["recall@10"].mean, variant.figures["recall@10"].n), (0.5, 1));
        assert_eq!((variant.asked, variant.failed, variant.failures["timed_out"]), (4, 1, 1));
        assert_eq!(variant.failed_questions[0].id, "c");
        assert_eq!((variant.usage.model_calls, variant.usage.cost), (8, 1.0));
        assert_eq!(
            variant.latency_ms,
            Latency { mean: 20.0, p50: 20.0, p99: 30.0 },
            "the one that failed is left out"
        );
    }

    #[test]
    fn nothing_asked_is_no_figure() {
        let variant = Variant::new("f".to_owned(), vec![], String::new(), &[], 1);
        assert!(variant.figures.is_empty());
        assert_eq!(variant.latency_ms, Latency { mean: 0.0, p50: 0.0, p99: 0.0 });
    }
}
