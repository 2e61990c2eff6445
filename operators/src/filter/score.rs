//! Keeps the chunks whose scores are good enough, by a rule of your choice.

use std::cmp::Reverse;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{cut, date, threshold};
use crate::tokens;

/// Keeps the chunks whose scores are good enough, by a rule of your choice.
///
/// The rule, `strategy`, is applied to the chunks from the best score to the worst; those that are kept stand in the
/// order in which they came. Use it behind a search or reranker, so that questions with little to be found bring few
/// chunks instead of `top_k` bad ones. Best behind a reranker: scores of `retrieve.bm25` mean nothing from one question
/// to the next, so only rules that compare them with each other (`mean_sd`, `score_drop`, `percentile`) fit there.
/// At least `min_keep` chunks are kept whatever the rule says. Asks no model.
///
/// The rules: `top_k: 5` keeps so many. `threshold: 0.4` keeps scores of so much or more. `percentile: 0.3` keeps the
/// best share of them. `mean_sd: { eps: 0.01 }` keeps scores above their own mean, or above the mean and one standard
/// deviation where their variance is below `eps`. `score_drop: { at: { relative: 0.3 } }` stops before the first chunk
/// that scores so much worse than the one before it, in proportion; `{ absolute: 0.2 }` looks at the difference, and
/// `max_gap` stops at the largest difference of all; the first `min_k` are kept and at most `max_k`, and
/// `sigmoid: true` puts scores without bounds (logits) between 0 and 1 before. `token_budget: 2000` keeps the best
/// chunks while they fit into so many tokens. `recency: { key: date, since: 2024-01-01 }` looks at a date in the
/// metadata and not at scores: what is older or has none goes, unless all would, then the newest stay.
///
/// Source: `mean_sd` is the threshold of `ChunkRAG` (arXiv 2410.19572); `score_drop` has its idea from SAGE
/// (arXiv 2503.01713), whose formula is not public: this one is ours. `threshold`, `percentile` and `recency` do what
/// the filters of `AutoRAG` (arXiv 2410.20878) do.
///
/// ```yaml
/// good:
///   op: filter.score
///   with: { strategy: { score_drop: { at: { relative: 0.3 }, max_k: 8 } } }
///   in: { chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByScore {
    /// The rule, one of `top_k`, `threshold`, `percentile`, `mean_sd`, `score_drop`, `token_budget` and `recency`, with
    /// its parameters.
    pub strategy: Strategy,
    /// Least number of chunks that are kept, if there are as many; with 0 none may be left.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_keep: usize,
}

/// Which chunks are good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// So many of the best.
    TopK(#[schemars(range(min = 1, max = 1000))] usize),
    /// Those with a score of so much or more.
    Threshold(f64),
    /// The best share of them, 0 to 1, rounded down.
    Percentile(#[schemars(range(min = 0.0, max = 1.0))] f64),
    /// Those that are better than their mean.
    MeanSd(MeanSd),
    /// Those before a sharp fall.
    ScoreDrop(ScoreDrop),
    /// The best that fit into so many tokens (cl100k).
    TokenBudget(#[schemars(range(min = 1, max = 10_000_000))] usize),
    /// Those that are recent.
    Recency(Recency),
}

/// Parameters of `mean_sd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeanSd {
    /// Variance below which scores lie close together, so that one standard deviation is asked for on top.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub eps: f64,
}

/// Parameters of `score_drop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreDrop {
    /// What a sharp fall is.
    pub at: At,
    /// Chunks that are kept before a fall is looked for.
    #[schemars(range(min = 1, max = 1000))]
    pub min_k: usize,
    /// Most chunks that are kept; all of them if left out.
    #[schemars(range(min = 1, max = 1000))]
    pub max_k: Option<usize>,
    /// Whether scores are first put between 0 and 1 by the logistic function.
    pub sigmoid: bool,
}

/// What a sharp fall of scores is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// One of more than this share of the score before it.
    Relative(#[schemars(range(min = 0.0, max = 1.0))] f64),
    /// One of more than this.
    Absolute(#[schemars(range(min = 0.0))] f64),
    /// The largest of all.
    MaxGap,
}

/// Parameters of `recency`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recency {
    /// Metadata key of an ISO 8601 date or time, or of a year.
    #[schemars(length(min = 1))]
    pub key: String,
    /// The oldest date that is recent: `2024-05-31`, `2024-05`, `2024-05-31T09:30:00Z`.
    pub since: String,
}

fn one() -> usize {
    1
}

impl Default for MeanSd {
    fn default() -> Self {
        Self { eps: 0.01 }
    }
}

impl Default for ScoreDrop {
    fn default() -> Self {
        Self { at: At::Relative(0.3), min_k: 1, max_k: None, sigmoid: false }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The chunks, each with a score; `recency` needs none.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks that are kept, in the order in which they came.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks that are left out, in the order in which they came.
        pub dropped: Vec<Arc<Chunk>>,
        /// The least score that is good enough, for `threshold` and `mean_sd`.
        pub threshold: Option<f64>,
    }
}

/// The chunks from the best to the worst, how many of them the rule keeps, and the least score if it has one.
struct Cut {
    order: Vec<usize>,
    n_kept: usize,
    threshold: Option<f64>,
}

impl Strategy {
    fn cut(&self, chunks: &[Arc<Chunk>]) -> Result<Cut, OpError> {
        if let Self::Recency(recency) = self {
            return recency.cut(chunks);
        }
        let scores = chunks.iter().map(|chunk| score_of(chunk)).collect::<Result<Vec<f64>, _>>()?;
        let order = cut::order(&scores, |a, b| b.total_cmp(a));
        let falling: Vec<f64> = order.iter().filter_map(|place| scores.get(*place).copied()).collect();
        let threshold = match self {
            Self::Threshold(least) => Some(*least),
            Self::MeanSd(MeanSd { eps }) => Some(threshold::mean_sd(&falling, *eps)),
            _ => None,
        };
        let n_kept = match self {
            Self::TopK(k) => *k,
            Self::Percentile(share) => cut::share(falling.len(), *share),
            Self::ScoreDrop(ScoreDrop { at, min_k, max_k, sigmoid }) => {
                let falling =
                    falling.iter().map(|score| if *sigmoid { cut::sigmoid(*score) } else { *score });
                cut::before_fall(&falling.collect::<Vec<_>>(), *at, *min_k, max_k.unwrap_or(usize::MAX))
            }
            Self::TokenBudget(budget) => {
                let chunks = order.iter().filter_map(|place| chunks.get(*place));
                cut::fitting(chunks.map(|chunk| tokens::of_chunk(chunk)), *budget)
            }
            Self::Threshold(_) | Self::MeanSd(_) | Self::Recency(_) => {
                cut::at_least(&falling, threshold.unwrap_or(f64::NEG_INFINITY))
            }
        };
        Ok(Cut { order, n_kept, threshold })
    }
}

impl Recency {
    fn cut(&self, chunks: &[Arc<Chunk>]) -> Result<Cut, OpError> {
        let since = date::seconds(&self.since)
            .ok_or_else(|| OpError::InvalidSetting(format!("`since`: {}", no_date(&self.since))))?;
        let dates: Vec<Option<i64>> = chunks.iter().map(|chunk| self.date_of(chunk)).collect();
        // The newest first, those without a date last.
        let order = cut::order(&dates, |a, b| Reverse(*a).cmp(&Reverse(*b)));
        let n_kept = dates.iter().filter(|date| date.is_some_and(|date| date >= since)).count();
        Ok(Cut { order, n_kept, threshold: None })
    }

    fn date_of(&self, chunk: &Chunk) -> Option<i64> {
        match chunk.meta.get(&self.key)? {
            serde_json::Value::String(text) => date::seconds(text),
            serde_json::Value::Number(year) => date::seconds(&year.to_string()),
            _ => None,
        }
    }
}

fn no_date(text: &str) -> String {
    format!("`{text}` is no date")
}

fn score_of(chunk: &Chunk) -> Result<f64, OpError> {
    chunk.score.map(Score::get).ok_or_else(|| {
        OpError::InvalidInput(format!(
            "chunk `{}` has no score; `filter.score` stands behind a node that gives chunks one (`retrieve.*`, `fuse.*`, `rerank.*`)",
            chunk.id
        ))
    })
}

#[async_trait]
impl Operator for ByScore {
    const NAME: &'static str = "filter.score";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        let Cut { order, n_kept, threshold } = self.strategy.cut(&input.chunks)?;
        let mut is_kept = vec![false; input.chunks.len()];
        for place in order.into_iter().take(n_kept.max(self.min_keep)) {
            if let Some(is_kept) = is_kept.get_mut(place) {
                *is_kept = true;
            }
        }
        let mut out = Out { chunks: Vec::new(), dropped: Vec::new(), threshold };
        for (chunk, is_kept) in input.chunks.into_iter().zip(is_kept) {
            if is_kept { out.chunks.push(chunk) } else { out.dropped.push(chunk) }
        }
        Ok(out)
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let problem = |pointer: &str, message: String, hint: &str| {
            let (pointer, hint) = (format!("/strategy/{pointer}"), Some(hint.to_owned()));
            vec![SettingProblem { pointer, message, hint }]
        };
        match &self.strategy {
            Strategy::Recency(recency) if date::seconds(&recency.since).is_none() => {
                problem("recency/since", no_date(&recency.since), "write it as `2024-05-31`")
            }
            Strategy::ScoreDrop(ScoreDrop { min_k, max_k: Some(max_k), .. }) if max_k < min_k => problem(
                "score_drop/max_k",
                format!("`max_k` is {max_k}, below `min_k`, which is {min_k}"),
                "raise `max_k` or lower `min_k`",
            ),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
