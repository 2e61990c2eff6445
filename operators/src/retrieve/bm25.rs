//! Finds the chunks whose words match a query best.

use std::sync::Arc;

use anabranch_engine::backend::{Filter, Namespace};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{IndexName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Score};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::search::Within;

/// Finds the chunks whose words match a query best.
///
/// Ranks by BM25: a chunk scores higher for rare words of the query, for words that it repeats, and for being short.
/// Use it as the first step of a flow, where questions use the words of the documents (names, codes, error messages);
/// it needs no model and no GPU. Scores are only comparable within one answer. Asks no model.
///
/// Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
///
/// ```yaml
/// search:
///   op: retrieve.bm25
///   with: { index: docs, top_k: 8 }
///   in: { query: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bm25 {
    /// The index to search.
    pub index: IndexName,
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// How soon repeating a word stops to count: 0 counts it once, high values count every time.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub k1: f64,
    /// How much long chunks are held back: 0 not at all, 1 in proportion to their length.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub b: f64,
    /// Conditions on the chunks' metadata, by key: a value (`en`), a list of which one fits (`[en, de]`), or bounds
    /// (`{ gte: 2020, lt: 2024 }`, also `gt`, `lte`, `not`, `exists`).
    pub filter: Filter,
    /// Whose chunks are searched, in an index with namespaces.
    pub namespace: Namespace,
}

impl Default for Bm25 {
    fn default() -> Self {
        Self {
            index: IndexName("docs".into()),
            top_k: 10,
            k1: 1.2,
            b: 0.75,
            filter: Filter::default(),
            namespace: Namespace::default(),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The words to look for, usually the question.
        pub query: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks, best first, each with its score.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for Bm25 {
    const NAME: &'static str = "retrieve.bm25";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let within = Within {
            index: &self.index,
            top_k: self.top_k,
            filter: &self.filter,
            namespace: &self.namespace,
        };
        let chunks = within.words(cx, &input.query, self.k1, self.b).await?;
        let scores = chunks.iter().map(|chunk| chunk.score.unwrap_or_default()).collect();
        Ok(Out { chunks, scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, docs_of};
    use anabranch_engine::backend::By;
    use anabranch_engine::testing::cx;

    #[tokio::test]
    async fn the_index_is_asked_with_the_settings() {
        let shelf = Shelf::small();
        let settings: Bm25 =
            serde_json::from_str(r#"{"top_k": 3, "filter": {"lang": {"not": "en"}}}"#).unwrap();
        let out = settings.run(&shelf.cx(), In { query: "two".to_owned() }).await.unwrap();
        assert_eq!(
            (docs_of(&out.chunks), out.scores),
            (vec!["two.md".to_owned()], vec![Score::new(1.0).unwrap()])
        );
        let asked = shelf.asked();
        assert_eq!((asked[0].top_k, asked[0].filter.clone()), (3, settings.filter));
        assert_eq!(asked[0].by, By::Words { text: "two".to_owned(), k1: 1.2, b: 0.75 });
    }

    #[tokio::test]
    async fn an_index_that_is_not_there_is_named() {
        let error = Bm25::default().run(&cx(), In { query: String::new() }).await.unwrap_err();
        assert!(error.to_string().contains("no index `docs`"), "{error}");
    }

    #[test]
    fn an_unknown_setting_and_a_top_k_of_nothing_are_refused() {
        assert!(serde_json::from_str::<Bm25>(r#"{"k": 3}"#).is_err());
        let spec = crate::registry();
        let validator = &spec.get("retrieve.bm25").unwrap().validator;
        assert!(!validator.is_valid(&serde_json::json!({"top_k": 0})));
        assert!(validator.is_valid(&serde_json::json!({"top_k": 1000, "b": 1})));
    }
}
