//! Finds the chunks that lie nearest to a query in meaning.

use std::sync::Arc;

use anabranch_engine::backend::{Filter, Namespace};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{IndexName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Score};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::search::{EmbedAs, Within};
use crate::fuse::ranking;

/// Finds the chunks that lie nearest to a query in meaning.
///
/// The query becomes a vector by the embedder that made those of the index; a chunk's score is the cosine between the
/// two, -1 to 1. Use it where questions say things in other words than the documents do; for names, codes and error
/// messages `retrieve.bm25` is better, and `retrieve.hybrid` does both. How well it works is up to the embedder:
/// `hashed`, which needs no model, knows spelling but not meaning. Asks no chat model; calls the embedder once.
///
/// Source: Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (2020).
///
/// ```yaml
/// search:
///   op: retrieve.dense
///   with: { index: docs, top_k: 8 }
///   in: { query: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dense {
    /// The index to search; it must have vectors.
    pub index: IndexName,
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Least cosine of a chunk that is given; all of the `top_k` if left out. What is near differs between embedders.
    #[schemars(range(min = -1.0, max = 1.0))]
    pub min_score: Option<f64>,
    /// What the query is embedded as, for embedders that tell the two apart: `query`, or `document` where the query is
    /// a passage that a model made up, as `query.hyde` does.
    pub embed_as: EmbedAs,
    /// Conditions on the chunks' metadata, by key: a value (`en`), a list of which one fits (`[en, de]`), or bounds
    /// (`{ gte: 2020, lt: 2024 }`, also `gt`, `lte`, `not`, `exists`).
    pub filter: Filter,
    /// Whose chunks are searched, in an index with namespaces.
    pub namespace: Namespace,
}

impl Default for Dense {
    fn default() -> Self {
        Self {
            index: IndexName("docs".into()),
            top_k: 10,
            min_score: None,
            embed_as: EmbedAs::Query,
            filter: Filter::default(),
            namespace: Namespace::default(),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What to look for, usually the question; nothing is found for an empty one.
        pub query: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks, nearest first, each with its score.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for Dense {
    const NAME: &'static str = "retrieve.dense";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let within = Within {
            index: &self.index,
            top_k: self.top_k,
            filter: &self.filter,
            namespace: &self.namespace,
        };
        let mut found = within.meaning(cx, &input.query, self.embed_as).await?;
        if let Some(least) = self.min_score {
            found.retain(|chunk| chunk.score.is_some_and(|score| score.get() >= least));
        }
        let (chunks, scores) = ranking::top(found, self.top_k);
        Ok(Out { chunks, scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, encoders, letters, validator};
    use anabranch_engine::backend::By;
    use anabranch_engine::cx::IndexEntry;
    use anabranch_engine::testing::cx_with;
    use serde_json::json;

    fn shelf() -> Arc<Shelf> {
        Shelf::of(vec![chunk("a", "aab"), chunk("b", "bb"), chunk("c", "zz")])
    }

    async fn search(settings: serde_json::Value, query: &str) -> Out {
        let settings: Dense = serde_json::from_value(settings).unwrap();
        settings.run(&shelf().cx(), In { query: query.to_owned() }).await.unwrap()
    }

    #[tokio::test]
    async fn the_nearest_chunk_comes_first() {
        let out = search(json!({}), "a").await;
        assert_eq!(docs_of(&out.chunks), ["a"]);
        assert!((out.scores[0].get() - 2.0 / 5.0_f64.sqrt()).abs() < 1e-6, "{:?}", out.scores);
        assert_eq!(docs_of(&search(json!({}), "abb").await.chunks), ["b", "a"]);
    }

    #[tokio::test]
    async fn what_lies_too_far_away_is_left_out() {
        assert_eq!(docs_of(&search(json!({"min_score": 0.85}), "abb").await.chunks), ["b"]);
        assert_eq!(docs_of(&search(json!({"min_score": 1}), "abb").await.chunks), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_index_is_asked_once_with_the_settings() {
        let shelf = shelf();
        let settings =
            json!({"top_k": 3, "filter": {"lang": "en"}, "namespace": "acme", "embed_as": "document"});
        let settings: Dense = serde_json::from_value(settings).unwrap();
        settings.run(&shelf.cx(), In { query: "ab".to_owned() }).await.unwrap();
        let asked = shelf.asked();
        assert_eq!((asked.len(), asked[0].top_k, asked[0].namespace.as_str()), (1, 3, "acme"));
        assert_eq!(asked[0].filter, Filter::is([("lang".to_owned(), "en".into())]));
        assert_eq!(asked[0].by, By::Vector(letters("ab").await));
    }

    #[tokio::test]
    async fn an_empty_query_finds_nothing_and_calls_nobody() {
        let shelf = shelf();
        let out = Dense::default().run(&shelf.cx(), In { query: " \n".to_owned() }).await.unwrap();
        assert_eq!((out.chunks, shelf.asked()), (Vec::new(), Vec::new()));
    }

    #[tokio::test]
    async fn an_index_without_vectors_is_an_error_that_says_what_to_do() {
        let mut resources = encoders();
        resources.indexes.insert("docs".to_owned(), IndexEntry::of_words(shelf()));
        let error =
            Dense::default().run(&cx_with(resources), In { query: "a".to_owned() }).await.unwrap_err();
        assert!(error.to_string().contains("`docs` has no vectors; set `indexes.docs.embedder`"), "{error}");
    }

    #[test]
    fn a_cosine_above_one_is_refused() {
        let validator = validator("retrieve.dense");
        assert!(!validator.is_valid(&json!({"min_score": 1.1})));
        assert!(validator.is_valid(&json!({"min_score": 0.3})));
    }
}
