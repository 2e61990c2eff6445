//! Chooses chunks that match the query and are not alike.

use std::sync::Arc;

use anabranch_engine::backend::{Passage, Vector};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check_top_k;
use crate::passage::{self, cosine};

/// Chooses chunks that match the query and are not alike.
///
/// Maximal marginal relevance takes one chunk after the other: each time the one with the highest
/// `lambda * (cosine to the query) - (1 - lambda) * (highest cosine to a chunk taken before)`, which becomes its score.
/// Use it where a search brings the same passage in many versions and an answer needs several sides of a matter; to
/// drop near copies and nothing else, `filter.redundancy` is enough. Asks no chat model; calls the embedder twice.
///
/// Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
/// Summaries" (1998).
///
/// ```yaml
/// rerank:
///   op: rerank.mmr
///   with: { lambda: 0.6, top_k: 6 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mmr {
    /// What counts: 1 only how well a chunk matches, 0 only how little it is like those taken before.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Most chunks to choose among, all of which are embedded; those behind them are left out.
    #[schemars(range(min = 1, max = 1000))]
    pub max_candidates: usize,
    /// The embedder that says what is alike.
    pub embedder: EmbedderName,
}

impl Default for Mmr {
    fn default() -> Self {
        Self { lambda: 0.5, top_k: 10, max_candidates: 100, embedder: EmbedderName::default() }
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
        /// The chunks in the order in which they were taken, each with its marginal relevance as its score.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for Mmr {
    const NAME: &'static str = "rerank.mmr";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, mut input: In) -> Result<Out, OpError> {
        input.chunks.truncate(self.max_candidates);
        if input.chunks.is_empty() {
            return Ok(Out { chunks: Vec::new(), scores: Vec::new() });
        }
        let texts: Vec<Text> = input.chunks.iter().map(|chunk| passage::whole(chunk)).collect();
        let query: [Text; 1] = [input.query.into()];
        let (query, vectors) = futures::future::try_join(
            cx.embed(&self.embedder, &query, Passage::Query),
            cx.embed(&self.embedder, &texts, Passage::Document),
        )
        .await?;
        let relevance: Vec<f64> =
            query.iter().flat_map(|query| vectors.iter().map(|vector| cosine(query, vector))).collect();
        let taken = choose(&relevance, &vectors, self.lambda, self.top_k);
        let chunk = |(place, score): &(usize, f64)| {
            let chunk = input.chunks.get(*place)?;
            Some(Arc::new(Chunk { score: Score::new(*score), ..Chunk::clone(chunk) }))
        };
        let chunks: Vec<Arc<Chunk>> = taken.iter().filter_map(chunk).collect();
        let scores = chunks.iter().map(|chunk| chunk.score.unwrap_or_default()).collect();
        Ok(Out { chunks, scores })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        check_top_k(self.top_k, self.max_candidates)
    }
}

/// A candidate that has not been taken.
struct Candidate<'a> {
    place: usize,
    relevance: f64,
    vector: &'a Vector,
    /// The highest cosine to what has been taken; 0 while nothing has.
    alike: f64,
}

/// The places of the `top_k` candidates that are taken, in that order, each with its marginal relevance. Of equal ones
/// the more relevant goes first, then the one that came first.
fn choose(relevance: &[f64], vectors: &[Vector], lambda: f64, top_k: usize) -> Vec<(usize, f64)> {
    let mut left: Vec<Candidate<'_>> = relevance
        .iter()
        .zip(vectors)
        .enumerate()
        .map(|(place, (relevance, vector))| Candidate { place, relevance: *relevance, vector, alike: 0.0 })
        .collect();
    let mut taken: Vec<(usize, f64)> = Vec::with_capacity(top_k.min(left.len()));
    while taken.len() < top_k {
        let marginal = |one: &Candidate<'_>| lambda * one.relevance - (1.0 - lambda) * one.alike;
        let best = left.iter().enumerate().max_by(|(_, a), (_, b)| {
            let order = marginal(a).total_cmp(&marginal(b));
            order.then(a.relevance.total_cmp(&b.relevance)).then(b.place.cmp(&a.place))
        });
        let Some((at, _)) = best else { break };
        let best = left.remove(at);
        for one in &mut left {
            let cosine = cosine(one.vector, best.vector);
            one.alike = if taken.is_empty() { cosine } else { one.alike.max(cosine) };
        }
        taken.push((best.place, marginal(&best)));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, letters, problems, validator};
    use anabranch_engine::testing::cx;
    use proptest::prelude::*;
    use serde_json::json;

    /// For the query `aab`: `aab` and `aabb` are near and alike, `b` is further off, `c` has nothing to do with it.
    async fn rerank(settings: serde_json::Value) -> Out {
        let settings: Mmr = serde_json::from_value(settings).unwrap();
        let chunks = ["c", "aabb", "aab", "b"].map(|text| chunk(text, text)).to_vec();
        settings.run(&Shelf::small().cx(), In { query: "aab".to_owned(), chunks }).await.unwrap()
    }

    #[tokio::test]
    async fn with_lambda_1_only_relevance_counts() {
        assert_eq!(docs_of(&rerank(json!({"lambda": 1})).await.chunks), ["aab", "aabb", "b", "c"]);
    }

    #[tokio::test]
    async fn a_copy_of_what_was_taken_waits() {
        let out = rerank(json!({"lambda": 0.4})).await;
        assert_eq!(docs_of(&out.chunks), ["aab", "c", "b", "aabb"]);
        assert!((out.scores[0].get() - 0.4).abs() < 1e-6 && out.scores[1].get() == 0.0, "{:?}", out.scores);
        assert_eq!(docs_of(&rerank(json!({"lambda": 0, "top_k": 2})).await.chunks), ["aab", "c"]);
    }

    #[tokio::test]
    async fn no_chunks_need_no_embedder() {
        let out = Mmr::default().run(&cx(), In { query: "a".to_owned(), chunks: Vec::new() }).await.unwrap();
        assert!(out.chunks.is_empty());
    }

    #[tokio::test]
    async fn what_is_behind_the_candidates_is_left_out() {
        let out = rerank(json!({"max_candidates": 2, "top_k": 2})).await;
        assert_eq!(docs_of(&out.chunks), ["aabb", "c"]);
    }

    #[test]
    fn a_lambda_above_1_is_refused() {
        assert!(!validator("rerank.mmr").is_valid(&json!({"lambda": 1.1})));
        let inputs = "{ query: inputs.query, chunks: inputs.chunks }";
        let found = problems("rerank.mmr", inputs, "{ max_candidates: 5 }");
        assert!(found.contains("`top_k` is 10, but only 5 chunks are looked at"), "{found}");
        assert!(problems("rerank.mmr", inputs, "{ embedder: emb }").contains("no embedder `emb`"));
    }

    /// The formula as it is written, worked out anew for every chunk that is taken.
    fn by_definition(relevance: &[f64], vectors: &[Vector], lambda: f64, top_k: usize) -> Vec<usize> {
        let mut taken: Vec<usize> = Vec::new();
        while taken.len() < top_k.min(relevance.len()) {
            let value = |place: usize| {
                let alike =
                    taken.iter().map(|other| cosine(&vectors[place], &vectors[*other])).reduce(f64::max);
                lambda * relevance[place] - (1.0 - lambda) * alike.unwrap_or(0.0)
            };
            let mut left: Vec<usize> = (0..relevance.len()).filter(|place| !taken.contains(place)).collect();
            left.sort_by(|a, b| {
                value(*b).total_cmp(&value(*a)).then(relevance[*b].total_cmp(&relevance[*a]))
            });
            taken.push(left[0]);
        }
        taken
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_formula(
            texts in proptest::collection::vec("[abc]{1,4}", 0..9), query in "[abc]{1,4}",
            lambda in 0.0..=1.0_f64, top_k in 1..12_usize,
        ) {
            let vector = |text: &String| futures::executor::block_on(letters(text));
            let vectors: Vec<Vector> = texts.iter().map(vector).collect();
            let query = vector(&query);
            let relevance: Vec<f64> = vectors.iter().map(|vector| cosine(&query, vector)).collect();
            let found = choose(&relevance, &vectors, lambda, top_k);
            let places: Vec<usize> = found.iter().map(|(place, _)| *place).collect();
            prop_assert_eq!(places, by_definition(&relevance, &vectors, lambda, top_k));
        }
    }
}
