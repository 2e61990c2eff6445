//! Puts chunks into the order in which a reranker finds them to match the query.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, RerankerName, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check_top_k;
use crate::fuse::ranking;
use crate::passage;

/// Puts chunks into the order in which a reranker finds them to match the query.
///
/// A reranker reads the query together with each chunk (title, headings above, text), so it judges better than a
/// search, which knows each only by itself, and costs more. Use it behind a search that brings many chunks, to keep
/// the few that matter. A chunk's new score is the reranker's; chunks of equal score stay in the order in which they
/// came. Without configuration the reranker is `lexical`, which compares words and needs no model. Asks no chat model;
/// calls the reranker once.
///
/// Source: Nogueira and Cho, "Passage Re-ranking with BERT" (2019).
///
/// ```yaml
/// rerank:
///   op: rerank.cross_encoder
///   with: { top_k: 5 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEncoder {
    /// The reranker to ask.
    pub reranker: RerankerName,
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Most chunks that the reranker is shown. Those behind them are left out: their scores could not be compared.
    #[schemars(range(min = 1, max = 1000))]
    pub max_candidates: usize,
}

impl Default for CrossEncoder {
    fn default() -> Self {
        Self { reranker: RerankerName::default(), top_k: 10, max_candidates: 100 }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What the chunks should match, usually the question.
        pub query: String,
        /// The chunks, best first.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks that match best, best first, each with the reranker's score.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for CrossEncoder {
    const NAME: &'static str = "rerank.cross_encoder";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, mut input: In) -> Result<Out, OpError> {
        input.chunks.truncate(self.max_candidates);
        let texts: Vec<Text> = input.chunks.iter().map(|chunk| passage::whole(chunk)).collect();
        let scores = cx.rerank(&self.reranker, &input.query, &texts).await?;
        let with_score = |(chunk, score): (&Arc<Chunk>, f64)| {
            Arc::new(Chunk { score: Score::new(score), ..Chunk::clone(chunk) })
        };
        let mut chunks: Vec<Arc<Chunk>> = input.chunks.iter().zip(scores).map(with_score).collect();
        // A stable sort: chunks of equal score stay in the order in which they came.
        chunks.sort_by(|a, b| Score::best_first(a.score.unwrap_or_default(), b.score.unwrap_or_default()));
        let (chunks, scores) = ranking::top(chunks, self.top_k);
        Ok(Out { chunks, scores })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        check_top_k(self.top_k, self.max_candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, problems, scored, validator};
    use anabranch_engine::testing::cx;
    use serde_json::json;

    async fn rerank(settings: serde_json::Value, chunks: Vec<Arc<Chunk>>) -> (Vec<String>, Vec<f64>) {
        let settings: CrossEncoder = serde_json::from_value(settings).unwrap();
        let input = In { query: "loops need bounds".to_owned(), chunks };
        let out = settings.run(&Shelf::small().cx(), input).await.unwrap();
        (docs_of(&out.chunks), out.scores.iter().map(|score| score.get()).collect())
    }

    fn three() -> Vec<Arc<Chunk>> {
        vec![
            scored(&chunk("none", "a page"), 9.0),
            scored(&chunk("some", "all loops"), 8.0),
            scored(&chunk("all", "loops need bounds"), 7.0),
        ]
    }

    #[tokio::test]
    async fn the_reranker_decides_and_not_the_search() {
        let (docs, scores) = rerank(json!({}), three()).await;
        assert_eq!((docs.join(" "), scores), ("all some none".to_owned(), vec![1.0, 1.0 / 3.0, 0.0]));
    }

    #[tokio::test]
    async fn title_and_headings_count() {
        let mut titled = Chunk::clone(&chunk("titled", "a page"));
        titled.title = Some("loops".into());
        titled.headings = vec!["need".into(), "bounds".into()];
        assert_eq!(
            rerank(json!({"top_k": 1}), vec![chunk("some", "all loops"), Arc::new(titled)]).await.0,
            ["titled"]
        );
    }

    #[tokio::test]
    async fn chunks_of_equal_score_stay_in_their_order() {
        let chunks = ["c", "a", "b"].map(|doc| chunk(doc, "all loops")).to_vec();
        assert_eq!(rerank(json!({}), chunks).await.0, ["c", "a", "b"]);
    }

    #[tokio::test]
    async fn what_is_behind_the_candidates_is_left_out() {
        let settings = json!({"max_candidates": 2, "top_k": 2});
        assert_eq!(rerank(settings, three()).await.0, ["some", "none"]);
    }

    #[tokio::test]
    async fn nobody_is_asked_about_no_chunks() {
        let input = In { query: "loops".to_owned(), chunks: Vec::new() };
        let out = CrossEncoder::default().run(&cx(), input).await.unwrap();
        assert_eq!((out.chunks, out.scores), (Vec::new(), Vec::new()));
    }

    #[test]
    fn more_chunks_than_are_looked_at_are_refused() {
        assert!(!validator("rerank.cross_encoder").is_valid(&json!({"top_k": 0})));
        let inputs = "{ query: inputs.query, chunks: inputs.chunks }";
        let found = problems("rerank.cross_encoder", inputs, "{ top_k: 200 }");
        assert!(found.contains("only 100 chunks are looked at"), "{found}");
        assert!(
            problems("rerank.cross_encoder", inputs, "{ reranker: rankr }").contains("no reranker `rankr`")
        );
    }
}
