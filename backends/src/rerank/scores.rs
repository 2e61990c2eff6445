//! From what a server says about a batch to one score a text.

use anabranch_engine::backend::{Error, Reranking, Usage};

use crate::encoder::in_order;
use crate::http::Failures;

/// What a server answered to one batch.
pub(super) struct Scores {
    /// Scores in the order of the texts.
    scores: Vec<f64>,
    n_tokens: u64,
}

impl Scores {
    /// The scores of `n_texts` texts, each given as the index of its text and the score.
    pub(super) fn new(
        found: Vec<(usize, f64)>,
        n_texts: usize,
        n_tokens: u64,
        failures: &Failures,
    ) -> Result<Self, Error> {
        let found = found.into_iter().map(|(index, score)| (Some(index), score)).collect();
        let scores = in_order(found, n_texts, failures)?;
        match scores.iter().find(|score| !score.is_finite()) {
            Some(score) => Err(failures.garbled(format!("a score that is {score}"))),
            None => Ok(Self { scores, n_tokens }),
        }
    }
}

/// All batches together.
pub(super) fn reranking(batches: Vec<Scores>) -> Reranking {
    let prompt_tokens = batches.iter().fold(0, |sum: u64, batch| sum.saturating_add(batch.n_tokens));
    let scores = batches.into_iter().flat_map(|batch| batch.scores).collect();
    Reranking { scores, usage: Usage { prompt_tokens, ..Usage::default() } }
}
