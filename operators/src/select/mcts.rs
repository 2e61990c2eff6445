//! Looks for the best set of chunks by tree search.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, SettingProblem};
use anabranch_engine::types::Type;
use anabranch_engine::value::Text;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reward::{Kind, judge};
use super::search::Bounds;
use super::search::tree::{Backup, Options};
use super::task::{Task, Way, check_order};
use super::{In, Out};

#[cfg(test)]
mod tests;

/// Chooses the chunks that are worth most together, by Monte Carlo tree search under a number of tokens.
///
/// A set of chunks is worth more or less than its parts: two passages that speak of one another answer what neither
/// does alone, and two that say the same are worth one. The search goes down a tree in which each set is extended by one
/// chunk, to where the best was found and where little was looked at, and looks at all ways to go on from there at once.
/// It begins where `select.greedy` ends, so it is never worse, asks about no set twice, and never goes over `max_tokens`:
/// sets that do not fit are not made. The chunks taken may have fewer tokens than that, and where nothing fits none are
/// taken. The same chunks in any order give the same set.
///
/// What a set is worth is said by `reward`: by default worked out from words, scores, titles and names in well under a
/// millisecond; with a reranker, the score of the joined text, which costs `stats.evals` texts. With `judge` a model is
/// shown the last sets and takes the first that holds an answer. Use it between a search and a reader for questions that
/// need several passages. Asks no model, unless the reward does or there is a `judge`.
///
/// Source: `CORAG` (arXiv 2411.00744), with a normalised reward, a set for a state, and a hard limit.
///
/// ```yaml
/// select:
///   op: select.mcts
///   with: { max_tokens: 1500 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mcts {
    /// Most tokens that the chunks taken may have together, as `model` counts them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: usize,
    /// Most chunks to take.
    #[schemars(range(min = 1, max = 64))]
    pub max_chunks: usize,
    /// How many chunks are looked at, those of the best scores.
    #[schemars(range(min = 1, max = 64))]
    pub candidates: usize,
    /// Most steps of the search.
    #[schemars(range(min = 1, max = 100_000))]
    pub iterations: usize,
    /// How much sets count that were seldom gone through: 0 only follows the best. Rewards lie between 0 and 1 for this,
    /// whatever the reward.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub exploration: f64,
    /// How much the tokens of a set count against going there, as a share of `max_tokens`. It steers the search; what a
    /// set is worth is for `reward` to say.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub cost_weight: f64,
    /// What a set learns of those below it: `max_path`, the best of them, or `mean`, the mean of the best of each step.
    pub backup: Backup,
    /// Whether two orders of the same chunks are two sets: only for a reranker, and at many times the cost.
    pub ordered: bool,
    /// Rounds, after the last step, in which each chunk of a set is exchanged for each other, or left out, and the best
    /// that comes of it is gone on from: so with the best set and three of the next best. If unset, 4 with `coverage_link` and none with a reranker, which would be
    /// sent every one of these sets. None where the order matters, and none once `max_evals` or `patience` ended the search.
    #[schemars(range(min = 0, max = 100))]
    pub exchanges: Option<usize>,
    /// Decides between ways that look equal; the run's own if unset.
    pub seed: Option<u64>,
    /// Where the search begins: `greedy`, with what `select.greedy` finds, or `none`.
    pub warm_start: WarmStart,
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
    /// Steps without anything better after which the search ends; none if unset.
    #[schemars(range(min = 1, max = 100_000))]
    pub patience: Option<usize>,
    /// A model that is shown the last sets, the best first, and takes the first that holds an answer:
    /// `{ sets: 2, model: default, max_tokens: 512 }`, with `system` and `prompt`. Where none does, the best stays.
    pub judge: Option<judge::Settings>,
    /// The model that will read the chunks: tokens are counted as it counts them, or as `cl100k_base` where it does not
    /// say. It is not asked.
    pub model: ModelName,
}

/// Rounds of exchanges where they ask nobody.
const EXCHANGES: usize = 4;

/// Where the search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarmStart {
    /// With what the greedy search finds.
    Greedy,
    /// With nothing.
    None,
}

impl Default for Mcts {
    fn default() -> Self {
        Self {
            max_tokens: 2000,
            max_chunks: 8,
            candidates: 20,
            iterations: 30,
            exploration: 0.5,
            cost_weight: 0.1,
            backup: Backup::MaxPath,
            ordered: false,
            exchanges: None,
            seed: None,
            warm_start: WarmStart::Greedy,
            reward: Kind::default(),
            max_evals: 1000,
            batch: 32,
            patience: None,
            judge: None,
            model: ModelName::default(),
        }
    }
}

#[async_trait]
impl Operator for Mcts {
    const NAME: &'static str = "select.mcts";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let task = Task {
            max_tokens: self.max_tokens,
            max_chunks: self.max_chunks,
            candidates: self.candidates,
            reward: &self.reward,
            is_ordered: self.ordered,
            bounds: Bounds { max_evals: self.max_evals, batch: self.batch },
            model: &self.model,
        };
        let options = Options {
            iterations: self.iterations,
            exploration: self.exploration,
            cost_weight: self.cost_weight,
            backup: self.backup,
            is_warm: self.warm_start == WarmStart::Greedy,
            exchanges: self.exchanges.unwrap_or(if self.reward.minds_order() { 0 } else { EXCHANGES }),
            patience: self.patience,
            seed: self.seed.unwrap_or_else(|| cx.rng().u64(..)),
            n_runners_up: self.judge.as_ref().map_or(0, |judge| judge.sets.saturating_sub(1)),
        };
        task.run(cx, input, Way::Tree { options, judge: self.judge.as_ref() }).await
    }

    fn model_calls_max(&self) -> u64 {
        self.judge.as_ref().map_or(0, judge::Settings::calls_max)
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        check_order(self.ordered, &self.reward)
    }
}
