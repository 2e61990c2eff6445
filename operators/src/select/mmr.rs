//! Takes chunks that match the query and are not alike, as far as they fit.

use std::collections::{BTreeSet, HashMap};

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::Chunk;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

use super::In;
use super::candidates::{Candidates, frequencies, idf};
use super::task::dropped;
use crate::tokens::Counter;

/// Takes chunks that match the query and are not alike, as far as they fit into a number of tokens.
///
/// Maximal marginal relevance takes one chunk after the other: each time the one of those that still fit with the
/// highest `lambda * relevance - (1 - lambda) * (highest likeness to a chunk taken before)`. Relevance is that of the
/// chunks' scores, or of their words where they have none; likeness is the cosine of their words, rare ones counting
/// more. Use it where a search brings the same passage in many versions; where embeddings should say what is alike,
/// `rerank.mmr` before `select.budget` does that. Asks no model.
///
/// Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
/// Summaries" (1998).
///
/// ```yaml
/// select:
///   op: select.mmr
///   with: { max_tokens: 1500, lambda: 0.7 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mmr {
    /// Most tokens that the chunks taken may have together, as `model` counts them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Most chunks to take.
    #[schemars(range(min = 1, max = 64))]
    pub max_chunks: usize,
    /// How many chunks are looked at, those of the best scores.
    #[schemars(range(min = 1, max = 64))]
    pub candidates: usize,
    /// What counts: 1 only how well a chunk matches, 0 only how little it is like those taken before.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// The model that will read the chunks: tokens are counted as it counts them, or as `cl100k_base` where it does not
    /// say. It is not asked.
    pub model: ModelName,
}

impl Default for Mmr {
    fn default() -> Self {
        Self { max_tokens: 2000, max_chunks: 64, candidates: 20, lambda: 0.7, model: ModelName::default() }
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks in the order in which they were taken.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks left out, in the order in which they came.
        pub dropped: Vec<Arc<Chunk>>,
        /// Tokens of the chunks taken, together.
        pub tokens: usize,
    }
}

#[async_trait]
impl Operator for Mmr {
    const NAME: &'static str = "select.mmr";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let counter = Counter::of(cx, &self.model)?;
        let candidates = Candidates::of(&input.query, &input.chunks, self.candidates, &counter);
        let (places, tokens) = self.choose(&candidates);
        let chunks: Vec<Arc<Chunk>> =
            places.iter().filter_map(|place| candidates.chunks().get(*place).cloned()).collect();
        Ok(Out { dropped: dropped(&input.chunks, &chunks), chunks, tokens })
    }

    fn model_calls_max(&self) -> u64 {
        0
    }
}

impl Mmr {
    /// The places taken, in that order, and their tokens. Of equal ones the more relevant goes first.
    fn choose(&self, candidates: &Candidates) -> (Vec<usize>, usize) {
        let vectors = Vectors::of(candidates.terms());
        let mut left: Vec<(usize, f64, usize, f64)> = candidates
            .relevance()
            .iter()
            .zip(candidates.costs())
            .enumerate()
            .map(|(place, (relevance, cost))| (place, *relevance, *cost, 0.0))
            .collect();
        let (mut taken, mut tokens) = (Vec::new(), 0);
        while taken.len() < self.max_chunks {
            left.retain(|(_, _, cost, _)| tokens + cost <= self.max_tokens);
            let marginal = |one: &(usize, f64, usize, f64)| self.lambda * one.1 - (1.0 - self.lambda) * one.3;
            let best = left
                .iter()
                .enumerate()
                .max_by(|(_, a), (_, b)| marginal(a).total_cmp(&marginal(b)).then_with(|| b.0.cmp(&a.0)));
            let Some((at, _)) = best else { break };
            let (place, _, cost, _) = left.remove(at);
            for (other, _, _, alike) in &mut left {
                *alike = alike.max(vectors.cosine(place, *other));
            }
            taken.push(place);
            tokens += cost;
        }
        (taken, tokens)
    }
}

/// The words of each candidate, rare ones counting more.
struct Vectors<'a>(Vec<(HashMap<&'a str, f64>, f64)>);

impl<'a> Vectors<'a> {
    fn of(texts: &'a [Vec<String>]) -> Self {
        let frequencies = frequencies(texts);
        let vector = |text: &'a Vec<String>| {
            let distinct: BTreeSet<&str> = text.iter().map(String::as_str).collect();
            let weight = |term: &str| {
                let n_with = frequencies.get(term).copied().unwrap_or_default();
                let often = text.iter().filter(|other| *other == term).count() as f64;
                often * idf(texts.len(), n_with)
            };
            let vector: HashMap<&str, f64> = distinct.iter().map(|term| (*term, weight(term))).collect();
            // In the order of the terms: sums of decimal fractions depend on it.
            let norm = distinct.iter().map(|term| weight(term).powi(2)).sum::<f64>().sqrt();
            (vector, norm)
        };
        Self(texts.iter().map(vector).collect())
    }

    fn cosine(&self, one: usize, other: usize) -> f64 {
        let (Some((one, a)), Some((other, b))) = (self.0.get(one), self.0.get(other)) else { return 0.0 };
        let terms: BTreeSet<&str> = one.keys().filter(|term| other.contains_key(*term)).copied().collect();
        let weight = |vector: &HashMap<&str, f64>, term: &str| vector.get(term).copied().unwrap_or_default();
        let product: f64 = terms.iter().map(|term| weight(one, term) * weight(other, term)).sum();
        if *a > 0.0 && *b > 0.0 { product / (a * b) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, scored, validator};
    use serde_json::json;

    async fn select(settings: serde_json::Value) -> Out {
        let settings: Mmr = serde_json::from_value(settings).unwrap();
        let chunks = vec![
            scored(&chunk("far", "a page of another kind"), 1.0),
            scored(&chunk("near", "loops need bounds, all loops"), 9.0),
            scored(&chunk("like", "loops need bounds, most loops"), 10.0),
            scored(&chunk("long", &"word ".repeat(100)), 8.0),
        ];
        let input = In { query: "Do loops need bounds?".to_owned(), chunks };
        settings.run(&Shelf::small().cx(), input).await.unwrap()
    }

    #[tokio::test]
    async fn with_lambda_1_only_relevance_counts() {
        let out = select(json!({"lambda": 1, "max_tokens": 20})).await;
        assert_eq!(docs_of(&out.chunks), ["like", "near", "far"]);
        assert_eq!(docs_of(&out.dropped), ["long"]);
        assert!(out.tokens <= 20);
    }

    #[tokio::test]
    async fn what_is_like_something_taken_waits() {
        let out = select(json!({"lambda": 0.4, "max_tokens": 20, "max_chunks": 2})).await;
        assert_eq!(docs_of(&out.chunks), ["like", "far"]);
    }

    #[tokio::test]
    async fn the_tokens_are_never_more_than_allowed() {
        for max_tokens in 1..40 {
            let out = select(json!({"max_tokens": max_tokens})).await;
            assert!(out.tokens <= max_tokens, "{} of {max_tokens}", out.tokens);
            assert_eq!(out.chunks.len() + out.dropped.len(), 4);
        }
    }

    #[test]
    fn a_lambda_above_1_is_refused() {
        assert!(!validator("select.mmr").is_valid(&json!({"lambda": 1.1})));
        assert!(!validator("select.mmr").is_valid(&json!({"reward": {}})));
    }
}
