//! Leaves out chunks that a model judges of little help.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::judge::Judged;
use super::threshold::mean_sd;

mod judge;
#[cfg(test)]
mod tests;

/// Leaves out chunks that a model judges of little help for the question.
///
/// Each chunk gets a score from 0 to 1 in up to three looks: `base` scores it, `reflect` sees that score and confirms
/// or corrects it, `critic` sees both and judges strictly. The chunk's score is their weighted mean. The threshold then
/// depends on all scores (`mean_sd`): their mean, or, where their variance is below `eps` and the mean would hardly
/// tell them apart, their mean and one standard deviation, but never more than the best score. Chunks at or above it
/// are kept in the order in which they came. Retrieved text is fenced off from the instructions by a line that nobody
/// can guess, scores outside 0 to 1 are brought in, and an answer without a number costs no second call: see
/// `on_parse_error`, and `unread` for how many there were.
///
/// Use it after a retriever that finds much beside the point, where a wrong passage costs more than a lost one.
/// Asks the model three times a chunk with all stages (once a stage altogether with `mode: listwise`), for at most
/// `max_chunks` chunks. All looks at a chunk begin with the same text, so servers with a prefix cache read it once.
///
/// Source: `ChunkRAG` (arXiv 2410.19572). It does not say how the three scores are combined; equal weights are ours.
///
/// ```yaml
/// keep:
///   op: filter.llm
///   with: { stages: [base, reflect], max_chunks: 20 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// The model to ask.
    pub model: ModelName,
    /// The looks at a chunk: `[base]`, `[base, reflect]` or `[base, reflect, critic]`.
    #[schemars(length(min = 1, max = 3))]
    pub stages: Vec<Stage>,
    /// How much each look counts, one number a stage; none makes them count alike.
    #[schemars(length(max = 3), inner(range(min = 0.0, max = 1000.0)))]
    pub weights: Vec<f64>,
    /// The lowest score that is kept: `mean_sd`, which depends on all scores, or `{ fixed: 0.5 }`.
    pub threshold: Threshold,
    /// The variance below which scores count as close together, for `mean_sd`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// How many chunks are kept at least, the best first, whatever their scores.
    #[schemars(range(max = 1000))]
    pub min_keep: usize,
    /// Most chunks to judge. What comes after them is dropped unjudged and counted in `unjudged`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_chunks: usize,
    /// Whether each chunk is judged by itself, or all in one call: cheaper, less exact, and one long prompt.
    pub mode: Mode,
    /// The order of the chunks kept. With `score` they also carry the filter's score; else they keep that of whoever
    /// gave them one.
    pub sort: Sort,
    /// What an answer counts for in which no score can be found.
    pub on_parse_error: OnParseError,
    /// Most calls at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
    /// Most tokens of one answer. Models that think before they answer need hundreds.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// What the model is told about its task. Besides the ports it can use what `prompt` can.
    #[schemars(extend("x-variables" = ["fence", "stage", "mode", "scores"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports, where `chunks` are those of this call, it can use `fence`, a line that
    /// no chunk contains, `stage`, `mode`, and `scores`: what the looks before gave each chunk, `base` and `reflect`.
    #[schemars(extend("x-variables" = ["fence", "stage", "mode", "scores"]))]
    pub prompt: Prompt,
}

/// A look at a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The first score.
    Base,
    /// Sees the first score and confirms or corrects it.
    Reflect,
    /// Sees both and judges strictly.
    Critic,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Base, Self::Reflect, Self::Critic];

    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Reflect => "reflect",
            Self::Critic => "critic",
        }
    }
}

/// The lowest score that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// The mean of the scores, and one standard deviation more where they are close together.
    MeanSd,
    /// This score.
    Fixed(#[schemars(range(min = 0.0, max = 1.0))] f64),
}

/// How chunks are shown to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each by itself.
    Pointwise,
    /// All in one call.
    Listwise,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Pointwise => "pointwise",
            Self::Listwise => "listwise",
        }
    }
}

/// The order of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// As they came.
    Input,
    /// Best first; those of equal score as they came.
    Score,
}

/// What an answer counts for in which no score can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnParseError {
    /// As 0.5.
    Neutral,
    /// The chunk is dropped, with the score 0, and has no part in the threshold.
    Drop,
    /// As the score of the stage `base`, or as 0.5 where it is that one.
    KeepBase,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            model: ModelName::default(),
            stages: Stage::ALL.to_vec(),
            weights: Vec::new(),
            threshold: Threshold::MeanSd,
            eps: 0.01,
            min_keep: 1,
            max_chunks: 50,
            mode: Mode::Pointwise,
            sort: Sort::Input,
            on_parse_error: OnParseError::Neutral,
            concurrency: 8,
            max_tokens: 1024,
            system: Prompt(include_str!("../../prompts/filter.llm.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/filter.llm.md").into()),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What the chunks should help with.
        pub query: String,
        /// The chunks to judge, best first.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks kept.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks left out, in the order in which they came.
        pub dropped: Vec<Arc<Chunk>>,
        /// The scores of the chunks judged, kept or not, in the order in which they came.
        pub scores: Vec<f64>,
        /// The lowest score that was kept, but for `min_keep`.
        pub threshold: f64,
        /// How many chunks were dropped without a look, since there were more than `max_chunks`.
        pub unjudged: usize,
        /// How many scores could not be read: see `on_parse_error`.
        pub unread: usize,
    }
}

/// Sums of decimal fractions that should be equal differ by less.
const ROUNDING: f64 = 1e-9;

impl Llm {
    /// The weighted mean of a chunk's scores; none for a chunk that is out.
    fn combined(&self, judged: &Judged) -> Option<f64> {
        let weight = |stage: usize| self.weights.get(stage).copied().unwrap_or(1.0);
        let total: f64 = (0..judged.scores.len()).map(weight).sum();
        let sum: f64 = judged.scores.iter().enumerate().map(|(stage, score)| weight(stage) * score).sum();
        (!judged.is_out).then(|| sum / total)
    }

    /// What is kept and what is dropped of `chunks`, of which the first were judged.
    fn split(&self, chunks: Vec<Arc<Chunk>>, judged: &[Judged]) -> Out {
        let combined: Vec<Option<f64>> = judged.iter().map(|judged| self.combined(judged)).collect();
        let threshold = match self.threshold {
            Threshold::Fixed(threshold) => threshold,
            Threshold::MeanSd => mean_sd(&combined.iter().copied().flatten().collect::<Vec<_>>(), self.eps),
        };
        let mut best_first: Vec<(usize, Option<f64>)> = combined.iter().copied().enumerate().collect();
        // Stable: chunks of equal score stay in the order in which they came.
        best_first.sort_by(|(_, a), (_, b)| {
            a.is_none().cmp(&b.is_none()).then(b.unwrap_or_default().total_cmp(&a.unwrap_or_default()))
        });
        let passes = |score: Option<f64>| score.is_some_and(|score| score >= threshold - ROUNDING);
        let n_kept = best_first.iter().take_while(|(_, score)| passes(*score)).count().max(self.min_keep);
        best_first.truncate(n_kept);
        let kept: BTreeSet<usize> = best_first.iter().map(|(index, _)| *index).collect();

        let with_score = |(index, score): &(usize, Option<f64>)| {
            let score = score.and_then(Score::new);
            chunks.get(*index).map(|chunk| Arc::new(Chunk { score, ..Chunk::clone(chunk) }))
        };
        let sorted: Vec<Arc<Chunk>> = best_first.iter().filter_map(with_score).collect();
        let unjudged = chunks.len().saturating_sub(judged.len());
        let (in_order, dropped): (Vec<_>, Vec<_>) =
            chunks.into_iter().enumerate().partition(|(index, _)| kept.contains(index));
        let without_index =
            |chunks: Vec<(usize, Arc<Chunk>)>| chunks.into_iter().map(|(_, chunk)| chunk).collect();
        Out {
            chunks: if self.sort == Sort::Score { sorted } else { without_index(in_order) },
            dropped: without_index(dropped),
            scores: combined.into_iter().map(Option::unwrap_or_default).collect(),
            threshold,
            unjudged,
            unread: judged.iter().map(|judged| judged.unread).sum(),
        }
    }
}

#[async_trait]
impl Operator for Llm {
    const NAME: &'static str = "filter.llm";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let judged_max = input.chunks.len().min(self.max_chunks);
        let chunks = input.chunks.get(..judged_max).unwrap_or_default();
        let at_once = if self.mode == Mode::Pointwise { 1 } else { chunks.len().max(1) };
        let looks: Vec<_> =
            chunks.chunks(at_once).map(|chunks| self.judge(cx, &input.query, chunks)).collect();
        let judged: Vec<Vec<Judged>> = stream::iter(looks).buffered(self.concurrency).try_collect().await?;
        Ok(self.split(input.chunks, &judged.concat()))
    }

    fn model_calls_max(&self) -> u64 {
        let chunks = if self.mode == Mode::Pointwise { self.max_chunks } else { 1 };
        (self.stages.len() * chunks) as u64
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let mut problem = |pointer: &str, message: &str, hint: &str| {
            problems.push(SettingProblem {
                pointer: pointer.to_owned(),
                message: message.to_owned(),
                hint: Some(hint.to_owned()),
            });
        };
        if !Stage::ALL.starts_with(&self.stages) {
            let hint = "write `[base]`, `[base, reflect]` or `[base, reflect, critic]`";
            problem("/stages", "each stage needs the scores of those before it", hint);
        }
        if !self.weights.is_empty() && self.weights.len() != self.stages.len() {
            problem(
                "/weights",
                "there is not one weight a stage",
                "give as many weights as `stages` has entries",
            );
        } else if !self.weights.is_empty() && self.weights.iter().sum::<f64>() <= 0.0 {
            problem("/weights", "no stage counts", "give at least one a weight above 0");
        }
        problems
    }
}
