//! Reads a text in one growing prompt, notes in the margin what each segment says, and answers from both.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Answer as AnswerRecord, Chunk, Citation, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::desk::Desk;
use self::margin::{Margin, Stats};
use super::source;

mod desk;
mod margin;
#[cfg(test)]
mod tests;

/// Reads a text in one growing prompt, notes in the margin what each segment says, and answers from both.
///
/// The text is cut into segments, nothing of it left out. Each prompt holds all segments so far and asks for a margin:
/// what the last one says to the question. It begins, byte for byte, as the prompt before, so that a server with a prefix
/// cache reads every segment once; without one, the work grows with the square of the number of segments. A second,
/// short question says whether a margin is of use. The last prompt holds all segments, the margins that are, and the
/// question. All of it must fit the window: what does not is refused before anything is asked.
///
/// Use it for texts that fit the window but are long enough for a model to lose track, on a server that caches prefixes;
/// longer ones are for `read.map_reduce`. Each margin is shown as progress while the run goes on. Asks the model twice a
/// segment, once with `keep: all`, and once more, one after the other.
///
/// Source: Writing in the Margins (arXiv 2408.14906).
///
/// ```yaml
/// read:
///   op: read.margins
///   with: { segment_tokens: 2000 }
///   in: { question: inputs.question, document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Margins {
    /// Most tokens of a segment.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub segment_tokens: usize,
    /// Most tokens of a margin.
    #[schemars(range(min = 16, max = 100_000))]
    pub margin_tokens: u32,
    /// Which margins the answer is made with: `classifier`, those that the model says are of use, or `all`.
    pub keep: Keep,
    /// After how many margins of use no further segment is read; all are read if unset.
    #[schemars(range(min = 1, max = 10_000))]
    pub early_exit_after: Option<usize>,
    /// What the last prompt holds besides the margins: `full`, all segments, or `margins_only`, none.
    pub include_context: Context,
    /// Most segments. A text that makes more is refused before anything is asked.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_segments: usize,
    /// The model to ask.
    pub model: ModelName,
    /// The model's window: most tokens of a prompt and its answer together.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub context_tokens: usize,
    /// Tokens of the window that are kept free for the answer, and most tokens of it.
    #[schemars(range(min = 16, max = 100_000))]
    pub reserve_output: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// What the model is told, in all prompts that hold segments. Besides the ports it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub system: Prompt,
    /// What these prompts begin with. Besides the ports, where `chunks` are the segments so far, it can use `fence`, a line
    /// that no text contains. With a segment more it must begin as it did before.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub context_prompt: Prompt,
    /// What comes behind that for a margin. Besides the ports it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub margin_prompt: Prompt,
    /// What comes behind that for the answer. Besides the ports it can use `fence` and `margins`.
    #[schemars(extend("x-variables" = ["fence", "margins"]))]
    pub answer_prompt: Prompt,
    /// What the model is asked about a margin, alone. Besides the ports it can use `fence` and `margin`.
    #[schemars(extend("x-variables" = ["fence", "margin"]))]
    pub classify_prompt: Prompt,
}

/// Which margins the answer is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those that the model says are of use.
    Classifier,
    /// All.
    All,
}

/// What the last prompt holds besides the margins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// All segments that were read.
    Full,
    /// Nothing.
    MarginsOnly,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            segment_tokens: 4096,
            margin_tokens: 128,
            keep: Keep::Classifier,
            early_exit_after: None,
            include_context: Context::Full,
            max_segments: 100,
            model: ModelName::default(),
            context_tokens: 32_768,
            reserve_output: 512,
            temperature: 0.0,
            system: Prompt(include_str!("../../prompts/read.margins.system.md").into()),
            context_prompt: Prompt(include_str!("../../prompts/read.margins.context.md").into()),
            margin_prompt: Prompt(include_str!("../../prompts/read.margins.margin.md").into()),
            answer_prompt: Prompt(include_str!("../../prompts/read.margins.answer.md").into()),
            classify_prompt: Prompt(include_str!("../../prompts/read.margins.classify.md").into()),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What was asked.
        pub question: String,
        /// The document to read.
        pub document: Option<Arc<Document>>,
        /// The text to read, in the place of a document.
        pub text: Option<String>,
        /// The chunks to read, in the place of a document, in the order of their text.
        pub chunks: Option<Vec<Arc<Chunk>>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer, with the segments whose margins it was made with and who gave it.
        pub answer: Arc<AnswerRecord>,
        /// The answer in words.
        pub text: String,
        /// The margins, in the order of the segments: `segment`, `chunk_ids`, `text` and `relevant`.
        pub margins: Vec<Margin>,
        /// How it went: `segments`, `read`, `relevant`, `prompt_tokens` and `new_tokens`, those of them that no prompt before
        /// began with.
        pub stats: Stats,
    }
}

/// What is said where there is nothing to read.
pub const NOTHING_TO_READ: &str = "There is no text to answer from.";

#[async_trait]
impl Operator for Margins {
    const NAME: &'static str = "read.margins";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let chunks = source::chunks_of(input.document.as_deref(), input.text.as_deref(), input.chunks)?;
        let mut desk = Desk::new(self, cx, &input.question, &chunks)?;
        if chunks.is_empty() {
            return Ok(out(NOTHING_TO_READ, "", Vec::new(), desk));
        }
        desk.check_room()?;
        let mut n_relevant = 0;
        for segment in 0..desk.n_segments() {
            let margin = desk.margin(segment).await?;
            n_relevant += usize::from(margin.relevant);
            desk.margins.push(margin);
            if self.early_exit_after.is_some_and(|enough| n_relevant >= enough) {
                break;
            }
        }
        let (text, by) = desk.answer().await?;
        let citations = desk.citations();
        Ok(out(&text, &by, citations, desk))
    }

    fn model_calls_max(&self) -> u64 {
        let a_segment = if self.keep == Keep::Classifier { 2 } else { 1 };
        self.max_segments as u64 * a_segment + 1
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = source::check(given);
        problems.extend(source::check_window(self.context_tokens, self.reserve_output));
        problems
    }
}

fn out(text: &str, by: &str, citations: Vec<Citation>, desk: Desk<'_>) -> Out {
    let grounded = !citations.is_empty();
    let answer = AnswerRecord { text: text.into(), citations, grounded, by: by.into() };
    Out { answer: Arc::new(answer), text: text.to_owned(), stats: desk.stats, margins: desk.margins }
}
