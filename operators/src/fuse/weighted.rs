//! Makes one ranking of several by the scores that chunks have in them.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ranking::{self, Normalise};

/// Makes one ranking of several by the scores that chunks have in them.
///
/// The scores of each ranking are put on one scale, then a chunk's new score is the weighted sum over all rankings; in
/// a ranking that does not have it, it counts as that ranking's worst. Use it where scores tell more than places: how
/// far the first is ahead is kept, which `fuse.rrf` forgets. Every chunk must come with a score. Chunks are the same
/// if their ids are; equal scores stand in the order of document and place. Asks no model.
///
/// Source: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).
///
/// ```yaml
/// fuse:
///   op: fuse.weighted
///   with: { weights: [0.3, 0.7] }
///   in: { rankings: "[search.chunks, select.chunks]" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Weighted {
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 10_000))]
    pub top_k: usize,
    /// How scores of different rankings are made comparable: `minmax` puts each ranking's on 0 to 1, `zscore` measures
    /// them in standard deviations from their mean, `none` takes them as they are.
    pub normalise: Normalise,
    /// How much each ranking counts, by its position in `rankings`; 1 each if left out.
    #[schemars(inner(range(min = 0.0, max = 1_000_000.0)))]
    pub weights: Vec<f64>,
}

impl Default for Weighted {
    fn default() -> Self {
        Self { top_k: 10, normalise: Normalise::Minmax, weights: Vec::new() }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The rankings; each chunk has a score.
        pub rankings: Vec<Vec<Arc<Chunk>>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks of all rankings, each once, best first, with their new scores.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for Weighted {
    const NAME: &'static str = "fuse.weighted";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let fused = ranking::weighted(&input.rankings, self.normalise, &self.weights)?;
        let (chunks, scores) = ranking::top(fused, self.top_k);
        Ok(Out { chunks, scores })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        ranking::check_weights("/weights", &self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, run_flow, scored, validator};
    use anabranch_engine::testing::cx;
    use serde_json::json;

    async fn fuse(settings: serde_json::Value, rankings: &[&[(&str, f64)]]) -> Vec<(String, f64)> {
        let settings: Weighted = serde_json::from_value(settings).unwrap();
        let ranking = |pairs: &&[(&str, f64)]| {
            pairs.iter().map(|(doc, score)| scored(&chunk(doc, "x"), *score)).collect::<Vec<_>>()
        };
        let out = settings.run(&cx(), In { rankings: rankings.iter().map(ranking).collect() }).await.unwrap();
        out.chunks.iter().zip(out.scores).map(|(chunk, score)| (chunk.doc.to_string(), score.get())).collect()
    }

    fn pairs(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
        pairs.iter().map(|(doc, score)| ((*doc).to_owned(), *score)).collect()
    }

    #[tokio::test]
    async fn what_a_ranking_does_not_have_counts_as_its_worst() {
        let rankings: [&[(&str, f64)]; 2] =
            [&[("a", 12.0), ("b", 8.0), ("c", 4.0)], &[("b", 0.9), ("d", 0.4)]];
        let found = fuse(json!({}), &rankings).await;
        assert_eq!(found, pairs(&[("b", 1.5), ("a", 1.0), ("c", 0.0), ("d", 0.0)]));
        let found = fuse(json!({"normalise": "none", "top_k": 2}), &rankings).await;
        assert_eq!(found, pairs(&[("a", 12.4), ("b", 8.9)]));
    }

    #[tokio::test]
    async fn weights_decide_between_rankings() {
        let rankings: [&[(&str, f64)]; 2] = [&[("a", 2.0), ("b", 1.0)], &[("b", 0.6), ("a", 0.2)]];
        assert_eq!(
            fuse(json!({"weights": [0.25, 0.75]}), &rankings).await,
            pairs(&[("b", 0.75), ("a", 0.25)])
        );
        assert_eq!(
            fuse(json!({"weights": [0.75, 0.25]}), &rankings).await,
            pairs(&[("a", 0.75), ("b", 0.25)])
        );
    }

    #[tokio::test]
    async fn zscores_are_the_same_on_any_scale() {
        let small: [&[(&str, f64)]; 1] = [&[("a", 3.0), ("b", 2.0), ("c", 1.0)]];
        let large: [&[(&str, f64)]; 1] = [&[("a", 1300.0), ("b", 1200.0), ("c", 1100.0)]];
        let settings = json!({"normalise": "zscore"});
        let (small, large) = (fuse(settings.clone(), &small).await, fuse(settings, &large).await);
        for ((_, a), (_, b)) in small.iter().zip(&large) {
            assert!((a - b).abs() < 1e-12, "{small:?} {large:?}");
        }
        assert!((small[0].1 - 1.5_f64.sqrt()).abs() < 1e-12, "{small:?}");
    }

    #[tokio::test]
    async fn a_single_chunk_is_the_best_of_its_ranking_and_an_empty_ranking_says_nothing() {
        assert_eq!(fuse(json!({}), &[&[("a", -3.0)], &[]]).await, pairs(&[("a", 1.0)]));
        assert_eq!(fuse(json!({}), &[]).await, []);
    }

    #[tokio::test]
    async fn a_chunk_without_a_score_is_an_error_that_says_where() {
        let rankings = vec![Vec::new(), vec![chunk("a", "x")]];
        let error = Weighted::default().run(&cx(), In { rankings }).await.unwrap_err();
        assert!(error.to_string().contains("chunk `a#0-1` of `rankings[1]` has no score"), "{error}");
    }

    #[test]
    fn an_unknown_scale_is_refused() {
        let validator = validator("fuse.weighted");
        assert!(!validator.is_valid(&json!({"normalise": "softmax"})));
        assert!(validator.is_valid(&json!({"normalise": "zscore"})));
    }

    #[tokio::test]
    async fn in_a_flow_it_takes_the_rankings_that_are_present() {
        let flow = r#"
flow: fused
inputs: { question: text, both: bool }
nodes:
  words: { op: retrieve.bm25, in: { query: inputs.question } }
  meaning: { op: retrieve.dense, in: { query: inputs.question }, when: inputs.both }
  fuse: { op: fuse.weighted, in: { rankings: "all_present([words.chunks, meaning.chunks])" } }
outputs: { scores: fuse.scores }
"#;
        let resources = || Shelf::small().resources();
        let found = run_flow(flow, json!({"question": "one", "both": false}), resources()).await;
        assert_eq!(found, json!({"scores": [1.0]}));
        let found = run_flow(flow, json!({"question": "one", "both": true}), resources()).await;
        assert_eq!(found["scores"][0], json!(2.0));
    }
}
