//! Takes the best set of all.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::reward::Kind;
use super::search::Bounds;
use super::task::{Task, Way};
use super::{In, Out};

/// Takes the best set of chunks, by looking at every set that fits.
///
/// With 20 candidates there are 21,699 sets of up to 5 chunks; those that do not fit are not looked at. If there are
/// more than `max_evals`, it looks at that many, those of the best candidates first, and says `max_evals` in
/// `stats.stop`. Use it to see how far another `select` operator is from the best, or where there are few candidates;
/// `select.mcts` comes close at a fraction of the work. Asks no model, unless the reward does, which is then slow; never
/// takes more tokens than `max_tokens`.
///
/// Source: the best set that `CORAG` (arXiv 2411.00744) looks for, which it shows to be NP-hard to find.
///
/// ```yaml
/// select:
///   op: select.exact
///   with: { max_tokens: 1500, max_chunks: 4 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exact {
    /// Most tokens that the chunks taken may have together, as `model` counts them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Most chunks to take.
    #[schemars(range(min = 1, max = 16))]
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

impl Default for Exact {
    fn default() -> Self {
        Self {
            max_tokens: 2000,
            max_chunks: 5,
            candidates: 20,
            reward: Kind::default(),
            max_evals: 100_000,
            batch: 32,
            model: ModelName::default(),
        }
    }
}

#[async_trait]
impl Operator for Exact {
    const NAME: &'static str = "select.exact";
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
        task.run(cx, input, Way::Exact).await
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
    use serde_json::json;

    async fn select(settings: serde_json::Value) -> Out {
        let settings: Exact = serde_json::from_value(settings).unwrap();
        let (query, chunks) = linked();
        settings.run(&Shelf::small().cx(), In { query, chunks }).await.unwrap()
    }

    #[tokio::test]
    async fn every_set_that_fits_is_looked_at() {
        let out = select(json!({"max_tokens": 14})).await;
        assert_eq!(docs_of(&out.chunks), ["novel", "author"]);
        // Three chunks, of which any two fit together.
        assert_eq!((out.stats.evals, out.stats.stop), (6, Stop::Exhausted));
        assert_eq!(select(json!({"max_tokens": 100})).await.stats.evals, 7);
        assert_eq!(select(json!({"max_tokens": 100, "max_chunks": 1})).await.stats.evals, 3);
    }

    #[tokio::test]
    async fn it_says_when_there_were_too_many_sets() {
        let out = select(json!({"max_tokens": 100, "max_evals": 2})).await;
        assert_eq!((out.stats.evals, out.stats.stop), (2, Stop::MaxEvals));
        assert!(!out.chunks.is_empty());
    }

    #[test]
    fn more_chunks_than_can_be_enumerated_are_refused() {
        assert!(!validator("select.exact").is_valid(&json!({"max_chunks": 17})));
        assert!(!validator("select.exact").is_valid(&json!({"iterations": 3})));
    }
}
