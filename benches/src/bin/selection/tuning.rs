//! Finds the weights of the reward with which most questions of a set are hit.

use std::sync::Arc;

use anabranch_benches::Outcome;
use anabranch_operators::select::candidates::Candidates;
use anabranch_operators::select::reward::coverage_link::CoverageLink;
use anabranch_operators::select::search::tree::{self, Backup, Options};
use anabranch_operators::select::search::{Bounds, Problem, Set};
use anabranch_operators::tokens::Counter;

use super::arms::Weights;
use super::questions::Question;

/// A question, ready to be searched with any weights.
pub(crate) struct Prepared {
    pub(crate) problem: Problem,
    pub(crate) reward: CoverageLink,
    candidates: Arc<Candidates>,
    /// The places of its evidence.
    evidence: Vec<usize>,
}

impl Prepared {
    pub(crate) fn of(question: &Question, max_tokens: usize) -> Self {
        let candidates = Candidates::of(&question.text, &question.chunks, 20, &Counter::default());
        let reward = CoverageLink::new(&question.text, &candidates, max_tokens, &Weights::default());
        let is_evidence = |doc: &str| question.evidence.contains(doc);
        let chunks = candidates.chunks().iter().enumerate();
        let evidence =
            chunks.filter(|(_, chunk)| is_evidence(&chunk.doc.0)).map(|(place, _)| place).collect();
        let costs = candidates.costs().to_vec();
        let problem = Problem { costs, max_tokens, max_chunks: 8, is_ordered: false };
        Self { problem, reward, candidates: Arc::new(candidates), evidence }
    }

    /// The same under another number of tokens.
    fn within(&self, max_tokens: usize) -> Self {
        Self {
            problem: Problem { max_tokens, ..self.problem.clone() },
            reward: self.reward.within(&self.candidates, max_tokens),
            candidates: self.candidates.clone(),
            evidence: self.evidence.clone(),
        }
    }

    /// 1 if all evidence is in the set, and half of the share that is.
    fn score(&self, set: &Set) -> f64 {
        let found = self.evidence.iter().filter(|place| set.has(**place)).count();
        let share = found as f64 / self.evidence.len().max(1) as f64;
        f64::from(u8::from(found == self.evidence.len())) + 0.5 * share
    }
}

/// The settings of `select.mcts`, with a fixed seed.
pub(crate) fn options(iterations: usize) -> Options {
    Options {
        iterations,
        exploration: 0.5,
        cost_weight: 0.1,
        backup: Backup::MaxPath,
        is_warm: true,
        exchanges: 4,
        patience: None,
        seed: 0,
        n_runners_up: 0,
    }
}

/// Weights that can be printed.
pub(crate) struct Tuned(pub(crate) Weights);

impl Tuned {
    pub(crate) fn words(&self) -> String {
        let Weights { coverage, relevance, link, redundancy, cost, .. } = self.0;
        format!(
            "coverage {coverage}, relevance {relevance}, link {link}, redundancy {redundancy}, cost {cost}"
        )
    }
}

/// The best of 288 weights over all budgets; of equal ones the first.
pub(crate) async fn tune(questions: &[Question], budgets: &[usize]) -> Outcome<Tuned> {
    let mut prepared = Vec::new();
    for question in questions {
        let first = Prepared::of(question, budgets.first().copied().unwrap_or_default());
        prepared.extend(budgets.iter().map(|budget| first.within(*budget)));
    }
    let mut best = (f64::NEG_INFINITY, Weights::default());
    for weights in grid() {
        let mut sum = 0.0;
        for one in &prepared {
            let reward = one.reward.weighing(&weights);
            let bounds = Bounds { max_evals: 1000, batch: 32 };
            sum += one.score(&tree::search(&one.problem, &reward, bounds, &options(30)).await?.set);
        }
        if sum > best.0 {
            best = (sum, weights);
        }
    }
    Ok(Tuned(best.1))
}

fn grid() -> Vec<Weights> {
    let mut grid = Vec::new();
    for coverage in [0.5, 1.0, 2.0, 3.0] {
        for relevance in [0.1, 0.25, 0.5, 1.0] {
            for link in [0.25, 0.5, 1.0] {
                for redundancy in [0.0, 0.1] {
                    for cost in [0.0, 0.1, 0.3] {
                        let rest = Weights::default();
                        grid.push(Weights { coverage, relevance, link, redundancy, cost, ..rest });
                    }
                }
            }
        }
    }
    grid
}
