//! Takes one chunk after the other, each time the one that makes the set best.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::reward::Kind;
use super::search::Bounds;
use super::task::{Task, Way};
use super::{In, Out};

/// Takes one chunk after the other, each time the one that makes the set best.
///
/// What a set is worth is said by `reward`: by default how much of the query's words it has, how relevant its chunks
/// are, whether they speak of one another, less what they repeat and cost. It stops when no chunk more makes the set
/// better, or none fits, so it may leave tokens unused. Use it in the place of `select.budget` for questions that need
/// several passages together; `select.mcts` begins with the same and looks further. Asks no model, unless the reward
/// does; never takes more tokens than `max_tokens`, and nothing where nothing fits.
///
/// Source: the greedy baseline of `CORAG` (arXiv 2411.00744), with a reward over sets in the place of one over single
/// chunks.
///
/// ```yaml
/// select:
///   op: select.greedy
///   with: { max_tokens: 1500 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Greedy {
    /// Most tokens that the chunks taken may have together, as `model` counts them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Most chunks to take.
    #[schemars(range(min = 1, max = 64))]
    pub max_chunks: usize,
    /// How many chunks are looked at, those of the best scores.
    #[schemars(range(min = 1, max = 64))]
    pub candidates: usize,
    /// What a set is worth: `{ coverage_link: { coverage: 2, relevance: 0.25, link: 0.5, redundancy: 0.1, cost: 0.3,
    /// names: true } }`, which is worked out from words, scores, titles and names, or `{ cross_encoder: { reranker:
    /// default } }`, the score of the joined text.
    pub reward: Kind,
    /// Most sets whose reward is worked out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_evals: usize,
    /// Most sets that a reranker is sent at a time.
    #[schemars(range(min = 1, max = 1000))]
    pub batch: usize,
    /// The model that will read the chunks: tokens are counted as it counts them, or as `cl100k_base` where it does not
    /// say. It is not asked.
    pub model: ModelName,
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            max_tokens: 2000,
            max_chunks: 8,
            candidates: 20,
            reward: Kind::default(),
            max_evals: 1000,
            batch: 32,
            model: ModelName::default(),
        }
    }
}

#[async_trait]
impl Operator for Greedy {
    const NAME: &'static str = "select.greedy";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let task = Task {
            max_tokens: self.max_tokens,
            max_chunks: self.max_chunks,
            candidates: self.candidates,
            reward: &self.reward,
            is_ordered: false,
            bounds: Bounds { max_evals: self.max_evals, batch: self.batch },
            model: &self.model,
        };
        task.run(cx, input, Way::Greedy).await
    }

    fn model_calls_max(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::search::Stop;
    use crate::testing::{Shelf, docs_of, linked, validator};
    use anabranch_engine::testing::cx_with;
    use serde_json::json;

    async fn select(settings: serde_json::Value) -> Out {
        let settings: Greedy = serde_json::from_value(settings).unwrap();
        let (query, chunks) = linked();
        settings.run(&Shelf::small().cx(), In { query, chunks }).await.unwrap()
    }

    #[tokio::test]
    async fn chunks_that_belong_together_are_taken_before_one_that_matches_better() {
        let out = select(json!({"max_tokens": 14})).await;
        assert_eq!(docs_of(&out.chunks), ["novel", "author"]);
        assert_eq!(docs_of(&out.dropped), ["other", "copy"]);
        assert_eq!((out.tokens, out.stats.cost, out.stats.candidates), (13, 13, 3));
    }

    #[tokio::test]
    async fn nothing_is_taken_where_nothing_fits() {
        let out = select(json!({"max_tokens": 2})).await;
        assert!(out.chunks.is_empty() && out.dropped.len() == 4);
        assert_eq!((out.tokens, out.stats.stop, out.stats.evals), (0, Stop::NothingFits, 0));
    }

    #[tokio::test]
    async fn no_chunks_need_no_reranker() {
        let mut resources = crate::testing::encoders();
        resources.rerankers.clear();
        let greedy: Greedy = serde_json::from_value(json!({"reward": {"cross_encoder": {}}})).unwrap();
        let input = In { query: "q".to_owned(), chunks: Vec::new() };
        let out = greedy.run(&cx_with(resources), input).await.unwrap();
        assert_eq!(out.stats.stop, Stop::NothingFits);
    }

    #[test]
    fn an_unknown_reward_and_too_many_candidates_are_refused() {
        let validator = validator("select.greedy");
        assert!(!validator.is_valid(&json!({"reward": {"sum": {}}})));
        assert!(!validator.is_valid(&json!({"reward": {"coverage_link": {"cost": -1}}})));
        assert!(!validator.is_valid(&json!({"candidates": 65})));
        assert!(validator.is_valid(&json!({"reward": {"coverage_link": {"cost": 1}}})));
    }
}
