//! Cuts a document where its content changes.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::backend::{Passage, Vector};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::rules::Rule;
use self::units::Sizes;
pub use self::units::Unit;
use super::place::Places;
use crate::tokens;

mod asked;
mod likelihood;
mod rules;
#[cfg(test)]
mod tests;
mod units;

/// Most units of a document: the embedder or the model is asked about each.
const UNITS_MAX: usize = 20_000;
/// Tokens of a piece, by which the longest group of `cluster` is counted.
const PIECE_TOKENS: usize = 50;

/// Cuts a document where its content changes, as an embedder or a model sees it.
///
/// The text is taken apart into `unit`s, which stay whole; `scorer` says between which of them to cut; then what is short
/// is joined and what is too long is cut as `chunk.recursive` does. The model only points at places: every chunk is an
/// exact range of the document, and nothing is left out, whatever is answered.
///
/// * `embedding` cuts where neighbours are unlike, by `rule`; `cluster` finds the groups that are most alike within.
///   Both ask the embedder for a vector a unit.
/// * `perplexity` cuts after sentences that are less of a surprise than those around them: one call a window, of a server
///   that tells how likely a prompt is (vLLM). `margin` asks at each sentence whether to split, and needs `logprobs`.
/// * `llm_shift` asks for the first unit of a window that is about something else, `llm_split` after which units to split,
///   `llm_anchor` for how the parts of a window begin. An answer that cannot be used is asked for once more; then the
///   window is not cut.
///
/// Use it where chunks of equal length cut what belongs together, and measure: studies find the gain small and
/// inconsistent ("Is Semantic Chunking Worth the Computational Cost?", Qu et al. 2024), and with `absolute` neighbours
/// are rarely as like as 0.8, so that nearly every sentence is a chunk. Asks no chat model for `embedding` and `cluster`.
///
/// Source: Kamradt's levels and `SemanticChunker` of `LangChain`, the cluster and LLM chunkers of Chroma (2024),
/// Meta-Chunking (arXiv 2410.12788), `LumberChunker` (arXiv 2406.17526), `ChunkRAG` (arXiv 2410.19572); anchors in the
/// form of `MoC` (arXiv 2503.09600), without its trained router.
///
/// ```yaml
/// cut:
///   op: chunk.semantic
///   with: { scorer: embedding, rule: percentile, amount: 90, max_size: 300 }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Semantic {
    /// What says where to cut.
    pub scorer: Scorer,
    /// What stays whole: `sentence`, `paragraph`, `line`, or `piece`, about fifty tokens. If unset, what the method was
    /// made for: paragraphs for `llm_shift`, pieces for `cluster` and `llm_split`, sentences for the others.
    pub unit: Option<Unit>,
    /// How many units on each side the vector of a unit speaks of too; for `embedding`.
    #[schemars(range(min = 0, max = 100))]
    pub buffer: usize,
    /// How distances become cuts; for `embedding`.
    pub rule: Rule,
    /// What the rule counts with: a percentile (95), standard deviations (3), distances of quartiles (1.5), a number of
    /// chunks (10), tokens of a chunk (400), or the least cosine (0.8). The number in brackets if unset.
    #[schemars(range(min = -1.0, max = 1_000_000.0))]
    pub amount: Option<f64>,
    /// How much less surprising a unit must be than its neighbours, in nats a token; for `perplexity`.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub threshold: f64,
    /// Whether the smallest turn seen becomes the `threshold` once a hundred are known; for `perplexity`.
    pub adapts: bool,
    /// Shortest chunk, in tokens (cl100k), but for the last: a shorter one goes on across a cut.
    #[schemars(range(min = 0, max = 100_000))]
    pub min_size: usize,
    /// Longest chunk, in tokens (cl100k).
    #[schemars(range(min = 1, max = 100_000))]
    pub max_size: usize,
    /// Neighbours are joined as long as they have no more tokens than this together; 0 joins nothing.
    #[schemars(range(min = 0, max = 100_000))]
    pub merge_size: usize,
    /// Most tokens (cl100k) of the text that the model sees in one call.
    #[schemars(range(min = 50, max = 1_000_000))]
    pub window_tokens: usize,
    /// The embedder of `embedding` and `cluster`.
    pub embedder: EmbedderName,
    /// The model of all others.
    pub model: ModelName,
    /// Most tokens of an answer that names places.
    #[schemars(range(min = 16, max = 100_000))]
    pub max_tokens: u32,
    /// What the model is told for `margin`. Besides the ports it can use what `margin_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "before", "after"]))]
    pub margin_system: Prompt,
    /// What it is asked then, to be answered by 1 for splitting or 2 for keeping. Besides the ports it can use `before`, the
    /// chunk so far, `after`, the next unit, and `fence`, a line that no text contains.
    #[schemars(extend("x-variables" = ["fence", "before", "after"]))]
    pub margin_prompt: Prompt,
    /// What the model is told for `llm_shift`. Besides the ports it can use what `shift_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "units"]))]
    pub shift_system: Prompt,
    /// What it is asked then. Besides the ports it can use `units`, each with `id` and `text`, and `fence`.
    #[schemars(extend("x-variables" = ["fence", "units"]))]
    pub shift_prompt: Prompt,
    /// What the model is told for `llm_split`. Besides the ports it can use what `split_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "units"]))]
    pub split_system: Prompt,
    /// What it is asked then. Besides the ports it can use `units`, each with `id` and `text`, and `fence`.
    #[schemars(extend("x-variables" = ["fence", "units"]))]
    pub split_prompt: Prompt,
    /// What the model is told for `llm_anchor`. Besides the ports it can use what `anchor_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "text"]))]
    pub anchor_system: Prompt,
    /// What it is asked then. Besides the ports it can use `text` and `fence`.
    #[schemars(extend("x-variables" = ["fence", "text"]))]
    pub anchor_prompt: Prompt,
}

/// What says where to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// How unlike neighbours are.
    #[default]
    Embedding,
    /// Which groups are most alike within.
    Cluster,
    /// How much of a surprise each unit is.
    Perplexity,
    /// Whether a model would rather split or keep.
    Margin,
    /// Where a model sees a shift.
    LlmShift,
    /// After which units a model splits.
    LlmSplit,
    /// How the parts begin that a model sees.
    LlmAnchor,
}

macro_rules! default_prompt {
    ($name:literal) => {
        Prompt(include_str!(concat!("../../prompts/chunk.semantic.", $name, ".md")).into())
    };
}

impl Default for Semantic {
    fn default() -> Self {
        Self {
            scorer: Scorer::Embedding,
            unit: None,
            buffer: 1,
            rule: Rule::Percentile,
            amount: None,
            threshold: 0.0,
            adapts: false,
            min_size: 0,
            max_size: 400,
            merge_size: 0,
            window_tokens: 800,
            embedder: EmbedderName::default(),
            model: ModelName::default(),
            max_tokens: 512,
            margin_system: default_prompt!("margin.system"),
            margin_prompt: default_prompt!("margin"),
            shift_system: default_prompt!("shift.system"),
            shift_prompt: default_prompt!("shift"),
            split_system: default_prompt!("split.system"),
            split_prompt: default_prompt!("split"),
            anchor_system: default_prompt!("anchor.system"),
            anchor_prompt: default_prompt!("anchor"),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The document to cut.
        pub document: Arc<Document>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks in the order of the document.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

impl Semantic {
    fn unit(&self) -> Unit {
        self.unit.unwrap_or(match self.scorer {
            Scorer::LlmShift => Unit::Paragraph,
            Scorer::Cluster | Scorer::LlmSplit => Unit::Piece,
            Scorer::Embedding | Scorer::Perplexity | Scorer::Margin | Scorer::LlmAnchor => Unit::Sentence,
        })
    }

    /// After which units to cut, in ascending order.
    async fn cuts(&self, cx: &Cx, text: &str, units: &[Range<usize>]) -> Result<Vec<usize>, OpError> {
        if units.len() < 2 {
            return Ok(Vec::new());
        }
        match self.scorer {
            Scorer::Embedding => {
                let vectors = self.vectors(cx, text, units, self.buffer).await?;
                let distances = rules::distances(&slices(&vectors));
                let amount = self.amount.unwrap_or(self.rule.default_amount());
                Ok(self.rule.cuts(&distances, amount, tokens::count(text)))
            }
            Scorer::Cluster => {
                let vectors = self.vectors(cx, text, units, 0).await?;
                Ok(rules::clusters(&slices(&vectors), self.max_size.div_ceil(PIECE_TOKENS)))
            }
            Scorer::Perplexity => self.by_perplexity(cx, text, units).await,
            Scorer::Margin => self.by_margin(cx, text, units).await,
            Scorer::LlmShift => self.by_shift(cx, text, units).await,
            Scorer::LlmSplit => self.by_split(cx, text, units).await,
            Scorer::LlmAnchor => self.by_anchor(cx, text, units).await,
        }
    }

    /// The vector of each unit with `buffer` of its neighbours on each side.
    async fn vectors(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
        buffer: usize,
    ) -> Result<Vec<Vector>, OpError> {
        let with_neighbours = |at: usize| {
            let first = units.get(at.saturating_sub(buffer))?;
            let last = units.get((at + buffer).min(units.len() - 1))?;
            text.get(first.start..last.end).map(Text::from)
        };
        let texts: Vec<Text> = (0..units.len()).filter_map(with_neighbours).collect();
        cx.embed(&self.embedder, &texts, Passage::Document).await
    }
}

fn slices(vectors: &[Vector]) -> Vec<&[f32]> {
    vectors.iter().map(|vector| &**vector).collect()
}

#[async_trait]
impl Operator for Semantic {
    const NAME: &'static str = "chunk.semantic";
    type In = In;
    type Out = Out;

    fn model_calls_max(&self) -> u64 {
        match self.scorer {
            Scorer::Embedding | Scorer::Cluster => 0,
            Scorer::Perplexity | Scorer::Margin => UNITS_MAX as u64,
            // Asked once more where an answer cannot be used.
            Scorer::LlmShift | Scorer::LlmSplit | Scorer::LlmAnchor => 2 * UNITS_MAX as u64,
        }
    }

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let text = &*input.document.text;
        let units = self.unit().of(text);
        if units.len() > UNITS_MAX {
            return Err(OpError::InvalidInput(format!(
                "`document` has {} units, more than {UNITS_MAX}; cut it with `chunk.recursive`, or set a larger `unit`",
                units.len()
            )));
        }
        let cuts = self.cuts(cx, text, &units).await?;
        let sizes = Sizes { min: self.min_size, max: self.max_size, merge: self.merge_size };
        let places = Places::new(&input.document);
        let ranges = units::chunks(text, &units, &cuts, sizes);
        Ok(Out { chunks: ranges.iter().map(|range| Arc::new(places.chunk(range, &[]))).collect() })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let (least, most) = self.rule.amounts();
        if let Some(amount) = self.amount.filter(|amount| !(least..=most).contains(amount)) {
            problems.push(SettingProblem {
                pointer: "/amount".to_owned(),
                message: format!("`amount` is {amount}, which this `rule` does not count with"),
                hint: Some(format!("it is from {least} to {most}; {} is usual", self.rule.default_amount())),
            });
        }
        for (pointer, name, size) in
            [("/min_size", "min_size", self.min_size), ("/merge_size", "merge_size", self.merge_size)]
        {
            if size > self.max_size {
                problems.push(SettingProblem {
                    pointer: pointer.to_owned(),
                    message: format!("`{name}` is {size}, more than `max_size` ({})", self.max_size),
                    hint: Some("chunks longer than `max_size` are cut again".to_owned()),
                });
            }
        }
        problems
    }
}
