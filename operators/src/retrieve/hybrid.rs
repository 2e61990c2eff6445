//! Finds chunks by their words and by their meaning, and makes one ranking of the two.

use std::sync::Arc;

use anabranch_engine::backend::{Filter, Namespace};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{IndexName, OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::{EmbedAs, Within};
use crate::fuse::ranking::{self, Normalise};

/// Finds chunks by their words and by their meaning, and makes one ranking of the two.
///
/// Both searches of the index run at once, by BM25 as `retrieve.bm25` and by vectors as `retrieve.dense`; their
/// `candidates` are fused as `fuse.rrf` or `fuse.weighted` would. Use it as the first step of a flow when questions
/// come both in the words of the documents and in others. With `dense_query` the search by meaning looks for another
/// text than the search by words. Asks no chat model; calls the embedder once.
///
/// Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
/// Methods" (2009); Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).
///
/// ```yaml
/// search:
///   op: retrieve.hybrid
///   with: { index: docs, top_k: 8, fusion: { weighted: { words: 0.3, dense: 0.7 } } }
///   in: { query: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hybrid {
    /// The index to search; it must have vectors.
    pub index: IndexName,
    /// Most chunks to give.
    #[schemars(range(min = 1, max = 1000))]
    pub top_k: usize,
    /// Most chunks that each of the two searches brings; at least `top_k` are looked for.
    #[schemars(range(min = 1, max = 1000))]
    pub candidates: usize,
    /// How one ranking is made of two: `{ rrf: { k: 60, words: 1, dense: 1 } }` by places, as `fuse.rrf`, or
    /// `{ weighted: { normalise: minmax, words: 0.5, dense: 0.5 } }` by scores, as `fuse.weighted`. `words` and `dense`
    /// say how much each search counts; what is left out has the value shown here.
    pub fusion: Fusion,
    /// How soon repeating a word stops to count: 0 counts it once, high values count every time.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub k1: f64,
    /// How much long chunks are held back: 0 not at all, 1 in proportion to their length.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub b: f64,
    /// What the text that is searched by meaning is embedded as, for embedders that tell the two apart: `query`, or
    /// `document` where it is a passage that a model made up, as `query.hyde` does.
    pub embed_as: EmbedAs,
    /// Conditions on the chunks' metadata, by key: a value (`en`), a list of which one fits (`[en, de]`), or bounds
    /// (`{ gte: 2020, lt: 2024 }`, also `gt`, `lte`, `not`, `exists`).
    pub filter: Filter,
    /// Whose chunks are searched, in an index with namespaces.
    pub namespace: Namespace,
}

/// How one ranking is made of the two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// By the places that chunks have in the two.
    Rrf(ByPlaces),
    /// By the scores that chunks have in the two.
    Weighted(ByScores),
}

/// Fusion by places.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ByPlaces {
    /// How little the first places stand out.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub k: f64,
    /// How much the search by words counts.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub words: f64,
    /// How much the search by meaning counts.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub dense: f64,
}

/// Fusion by scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ByScores {
    /// How the scores of the two are made comparable.
    pub normalise: Normalise,
    /// How much the search by words counts.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub words: f64,
    /// How much the search by meaning counts.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub dense: f64,
}

impl Default for Fusion {
    fn default() -> Self {
        Self::Rrf(ByPlaces::default())
    }
}

impl Default for ByPlaces {
    fn default() -> Self {
        Self { k: 60.0, words: 1.0, dense: 1.0 }
    }
}

impl Default for ByScores {
    fn default() -> Self {
        Self { normalise: Normalise::Minmax, words: 0.5, dense: 0.5 }
    }
}

impl Fusion {
    fn fuse(&self, rankings: &[Vec<Arc<Chunk>>; 2]) -> Result<Vec<Arc<Chunk>>, OpError> {
        match self {
            Self::Rrf(ByPlaces { k, words, dense }) => ranking::rrf(rankings, *k, &[*words, *dense]),
            Self::Weighted(ByScores { normalise, words, dense }) => {
                ranking::weighted(rankings, *normalise, &[*words, *dense])
            }
        }
    }
}

impl Default for Hybrid {
    fn default() -> Self {
        Self {
            index: IndexName("docs".into()),
            top_k: 10,
            candidates: 100,
            fusion: Fusion::default(),
            k1: 1.2,
            b: 0.75,
            embed_as: EmbedAs::Query,
            filter: Filter::default(),
            namespace: Namespace::default(),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What to look for, usually the question.
        pub query: String,
        /// What the search by meaning looks for instead, such as a passage that `query.hyde` made up.
        pub dense_query: Option<String>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks, best first, each with the score that the fusion gave it.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<Score>,
    }
}

#[async_trait]
impl Operator for Hybrid {
    const NAME: &'static str = "retrieve.hybrid";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let within = Within {
            index: &self.index,
            top_k: self.candidates.max(self.top_k),
            filter: &self.filter,
            namespace: &self.namespace,
        };
        let meant = input.dense_query.as_ref().unwrap_or(&input.query);
        let (words, meaning) = futures::future::try_join(
            within.words(cx, &input.query, self.k1, self.b),
            within.meaning(cx, meant, self.embed_as),
        )
        .await?;
        let (chunks, scores) = ranking::top(self.fusion.fuse(&[words, meaning])?, self.top_k);
        Ok(Out { chunks, scores })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let (pointer, weights) = match self.fusion {
            Fusion::Rrf(ByPlaces { words, dense, .. }) => ("/fusion/rrf", [words, dense]),
            Fusion::Weighted(ByScores { words, dense, .. }) => ("/fusion/weighted", [words, dense]),
        };
        ranking::check_weights(pointer, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk, docs_of, encoders, letters, problems, validator};
    use anabranch_engine::backend::By;
    use anabranch_engine::cx::IndexEntry;
    use anabranch_engine::testing::cx_with;
    use serde_json::json;

    /// By the words of `ab cd`: both, then `words`. By its letters: `both`, then `meaning`, then `words`.
    fn shelf() -> Arc<Shelf> {
        Shelf::of(vec![chunk("both", "ab cd"), chunk("meaning", "cbad a"), chunk("words", "ab zzzzzz")])
    }

    async fn search(settings: serde_json::Value, dense_query: Option<&str>) -> (Vec<String>, Vec<f64>) {
        let settings: Hybrid = serde_json::from_value(settings).unwrap();
        let input = In { query: "ab cd".to_owned(), dense_query: dense_query.map(str::to_owned) };
        let out = settings.run(&shelf().cx(), input).await.unwrap();
        (docs_of(&out.chunks), out.scores.iter().map(|score| score.get()).collect())
    }

    #[tokio::test]
    async fn places_are_fused_unless_told_otherwise() {
        let (docs, scores) = search(json!({}), None).await;
        assert_eq!(docs, ["both", "words", "meaning"]);
        assert_eq!(scores, [1.0 / 61.0 + 1.0 / 61.0, 1.0 / 63.0 + 1.0 / 62.0, 1.0 / 62.0]);
    }

    #[tokio::test]
    async fn weights_say_which_search_counts() {
        let only_meaning = json!({"fusion": {"weighted": {"words": 0, "dense": 1}}, "top_k": 2});
        assert_eq!(search(only_meaning, None).await.0, ["both", "meaning"]);
        let only_words = json!({"fusion": {"rrf": {"k": 0, "dense": 0}}, "top_k": 2});
        assert_eq!(search(only_words, None).await, (vec!["both".into(), "words".into()], vec![1.0, 0.5]));
    }

    #[tokio::test]
    async fn the_search_by_meaning_can_look_for_another_text() {
        let settings = json!({"fusion": {"weighted": {"words": 0, "dense": 1}}, "top_k": 1});
        assert_eq!(search(settings, Some("zz")).await.0, ["words"]);
    }

    #[tokio::test]
    async fn both_searches_are_asked_with_the_settings() {
        let shelf = shelf();
        let settings = json!({"top_k": 5, "candidates": 3, "k1": 2, "b": 0.5, "namespace": "acme", "filter": {"lang": "en"}});
        let settings: Hybrid = serde_json::from_value(settings).unwrap();
        let input = In { query: "ab".to_owned(), dense_query: Some("cd".to_owned()) };
        settings.run(&shelf.cx(), input).await.unwrap();
        let asked = shelf.asked();
        assert_eq!(asked.len(), 2);
        for query in &asked {
            assert_eq!((query.top_k, query.namespace.as_str(), query.filter.is_empty()), (5, "acme", false));
        }
        assert_eq!(asked[0].by, By::Words { text: "ab".to_owned(), k1: 2.0, b: 0.5 });
        assert_eq!(asked[1].by, By::Vector(letters("cd").await));
    }

    #[tokio::test]
    async fn an_index_without_vectors_is_an_error_that_says_what_to_do() {
        let mut resources = encoders();
        resources.indexes.insert("docs".to_owned(), IndexEntry::of_words(shelf()));
        let input = In { query: "a".to_owned(), dense_query: None };
        let error = Hybrid::default().run(&cx_with(resources), input).await.unwrap_err();
        assert!(error.to_string().contains("`docs` has no vectors"), "{error}");
    }

    #[test]
    fn a_fusion_of_nothing_is_refused() {
        let validator = validator("retrieve.hybrid");
        for fusion in [
            json!({"sum": {}}),
            json!("rrf"),
            json!({"rrf": {"k": -1}}),
            json!({"rrf": {"normalise": "none"}}),
        ] {
            assert!(!validator.is_valid(&json!({"fusion": fusion})), "{fusion}");
        }
        let found = problems(
            "retrieve.hybrid",
            "{ query: inputs.query }",
            "{ fusion: { rrf: { words: 0, dense: 0 } } }",
        );
        assert!(found.contains("all weights are 0"), "{found}");
    }
}
