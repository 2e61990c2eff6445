//! Makes one ranking of several by the places that chunks have in them.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ranking;

/// Makes one ranking of several by the places that chunks have in them.
///
/// A chunk gets `weight / (k + rank)` from every ranking that has it, with ranks from 1; the sum is its new score, and
/// the scores that it came with do not matter. Use it to join searches whose scores cannot be compared: by words and
/// by vectors, in several indexes, for several phrasings of a question. Chunks are the same if their ids are; equal
/// scores stand in the order of document and place. Where rankings may be absent, write `all_present([...])`; empty
/// ones change nothing. Asks no model.
///
/// Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
/// Methods" (2009).
///
/// ```yaml
/// fuse:
///   op: fuse.rrf
///   with: { top_k: 8 }
///   in: { rankings: "[search.chunks, select.chunks]" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rrf {
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 10_000))]
    pub top_k: usize,
    /// How little the first places stand out: with 0 a first place is worth two second ones, with high values all
    /// places are worth nearly the same.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub k: f64,
    /// How much each ranking counts, by its position in `rankings`; 1 each if left out.
    #[schemars(inner(range(min = 0.0, max = 1_000_000.0)))]
    pub weights: Vec<f64>,
}

impl Default for Rrf {
    fn default() -> Self {
        Self { top_k: 10, k: 60.0, weights: Vec::new() }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The rankings, each best first.
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
impl Operator for Rrf {
    const NAME: &'static str = "fuse.rrf";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let fused = ranking::rrf(&input.rankings, self.k, &self.weights)?;
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
    use crate::testing::{Shelf, chunk, chunk_at, docs_of, run_flow, validator};
    use anabranch_engine::testing::cx;
    use serde_json::json;

    async fn fuse(settings: serde_json::Value, rankings: Vec<Vec<Arc<Chunk>>>) -> Result<Out, OpError> {
        let settings: Rrf = serde_json::from_value(settings).unwrap();
        settings.run(&cx(), In { rankings }).await
    }

    #[tokio::test]
    async fn a_chunk_that_two_rankings_have_goes_before_the_first_of_one() {
        let (a, b, c) = (chunk("a", "one"), chunk("b", "two"), chunk("c", "three"));
        let out = fuse(json!({}), vec![vec![a, b.clone()], vec![c, b]]).await.unwrap();
        assert_eq!(docs_of(&out.chunks), ["b", "a", "c"]);
        assert_eq!(
            out.scores.iter().map(|score| score.get()).collect::<Vec<_>>(),
            [1.0 / 62.0 + 1.0 / 62.0, 1.0 / 61.0, 1.0 / 61.0]
        );
        assert_eq!(out.chunks[0].score, Some(out.scores[0]), "the chunk carries its new score");
    }

    #[tokio::test]
    async fn weights_count_by_position_and_top_k_cuts() {
        let rankings = vec![vec![chunk("a", "one")], vec![chunk("b", "two")]];
        let out = fuse(json!({"weights": [0.2, 0.8], "k": 0, "top_k": 1}), rankings).await.unwrap();
        assert_eq!((docs_of(&out.chunks), out.scores[0].get()), (vec!["b".to_owned()], 0.8));
    }

    #[tokio::test]
    async fn equal_scores_stand_in_the_order_of_document_and_place() {
        let rankings =
            vec![vec![chunk_at("b", 9, 1, "x")], vec![chunk("c", "x")], vec![chunk_at("b", 2, 1, "x")]];
        let out = fuse(json!({}), rankings).await.unwrap();
        let ids: Vec<_> = out.chunks.iter().map(|chunk| chunk.id.to_string()).collect();
        assert_eq!(ids, ["b#2-3", "b#9-10", "c#0-1"]);
    }

    #[tokio::test]
    async fn rankings_may_be_empty_and_there_may_be_none() {
        assert_eq!(fuse(json!({}), Vec::new()).await.unwrap().chunks, []);
        let out = fuse(json!({}), vec![Vec::new(), vec![chunk("a", "one")]]).await.unwrap();
        assert_eq!(docs_of(&out.chunks), ["a"]);
    }

    #[tokio::test]
    async fn a_chunk_that_a_ranking_has_twice_counts_once() {
        let (a, b) = (chunk("a", "one"), chunk("b", "two"));
        let out = fuse(json!({"k": 0}), vec![vec![a.clone(), a, b]]).await.unwrap();
        assert_eq!(out.scores.iter().map(|score| score.get()).collect::<Vec<_>>(), [1.0, 0.5]);
    }

    #[tokio::test]
    async fn weights_for_another_number_of_rankings_are_an_error_that_says_so() {
        let error = fuse(json!({"weights": [1, 2]}), vec![vec![chunk("a", "x")]]).await.unwrap_err();
        assert!(error.to_string().contains("2 `weights` for 1 rankings"), "{error}");
    }

    #[test]
    fn settings_out_of_range_and_weights_of_nothing_are_refused() {
        let validator = validator("fuse.rrf");
        for settings in
            [json!({"k": -1}), json!({"top_k": 0}), json!({"weights": [-1]}), json!({"weight": [1]})]
        {
            assert!(!validator.is_valid(&settings), "{settings}");
        }
        let problems = Rrf { weights: vec![0.0, 0.0], ..Rrf::default() }.check(&[]);
        assert!(problems[0].message.contains("all weights are 0"), "{problems:?}");
    }

    #[tokio::test]
    async fn in_a_flow_it_takes_the_rankings_that_are_present() {
        let flow = r#"
flow: fused
inputs: { question: text, both: bool }
nodes:
  a: { op: retrieve.bm25, in: { query: inputs.question } }
  b: { op: retrieve.bm25, in: { query: inputs.question }, when: inputs.both }
  fuse: { op: fuse.rrf, in: { rankings: "all_present([a.chunks, b.chunks])" } }
outputs: { scores: fuse.scores }
"#;
        for (both, times) in [(false, 1.0), (true, 2.0)] {
            let found =
                run_flow(flow, json!({"question": "one", "both": both}), Shelf::small().resources()).await;
            assert_eq!(found, json!({"scores": [times / 61.0]}));
        }
    }

    #[tokio::test]
    async fn in_a_flow_it_takes_what_an_each_found() {
        let flow = r#"
flow: fused
inputs: { queries: list<text> }
nodes:
  search: { each: inputs.queries, as: query, op: retrieve.bm25, in: { query: query } }
  fuse: { op: fuse.rrf, in: { rankings: search.chunks } }
outputs: { chunks: "fuse.chunks.map(chunk, chunk.doc)" }
"#;
        let queries = json!({"queries": ["one", "nothing", "two three", "three"]});
        let found = run_flow(flow, queries, Shelf::small().resources()).await;
        assert_eq!(found, json!({"chunks": ["three.md", "one.md", "two.md"]}));
    }
}
