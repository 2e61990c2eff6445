//! Reads a text longer than a model's window: part by part, then the notes on the parts together.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Answer as AnswerRecord, Chunk, Citation, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::notes::{Branch, Evidence, Stats};
use self::stages::Reader;
use super::source;

mod notes;
mod stages;
#[cfg(test)]
mod tests;
mod way;

/// Reads a text longer than a model's window: part by part, then the notes on the parts together.
///
/// The text is cut into portions that fit the window, nothing of it left out. The model reads each (the map) and notes
/// what it says to the question, its own answer, and its confidence from 0 to 5; portions that say nothing are dropped.
/// If the notes do not fit one prompt, groups of them are made into one note each, again and again (the collapse). The
/// last call answers from the notes, by their confidence (the reduce). Every prompt of every stage fits
/// `context_tokens` less `reserve_output`, counted as the model counts. A collapse that makes nothing shorter ends with
/// `collapse_stalled` in `stats.stop`, and the notes of least confidence are left out. Where no portion says anything,
/// `found` is false and nothing more is asked.
///
/// Use it to answer a question about a whole document, or about more chunks than fit a prompt; where few passages hold
/// the answer, a search and `read.answer` ask much less. Asks the model once a portion, once a group and once more.
/// `flows/map_reduce.yaml` does the same with `each` and `loop`, to be changed.
///
/// Source: `LLMxMapReduce` (arXiv 2410.09342), with schemas for answers, a collapse that ends, and a window that holds.
///
/// ```yaml
/// read:
///   op: read.map_reduce
///   with: { context_tokens: 8000, reserve_output: 500 }
///   in: { question: inputs.question, document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MapReduce {
    /// The model to ask.
    pub model: ModelName,
    /// The model's window: most tokens of a prompt and its answer together.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub context_tokens: usize,
    /// Tokens of the window that are kept free for an answer, and most tokens of one.
    #[schemars(range(min = 16, max = 100_000))]
    pub reserve_output: u32,
    /// Most tokens of text in a portion; as many as fit if unset.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub portion_tokens: Option<usize>,
    /// Most portions. A text that makes more is refused before anything is asked.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_portions: usize,
    /// What is asked for: `qa`, an answer; `extractive`, an answer in the words of the text; `summary`, what the text
    /// says to the question.
    pub task: Task,
    /// How confidence is given: `scale`, from 0 to 5 by examples; `capped`, where 5 is for what stands there word for
    /// word, and such notes make all others count for nothing.
    pub confidence: Confidence,
    /// What a portion's prompt begins with: `document_first` or `question_first`. A server's prefix cache reads a text
    /// that stands first once for many questions. `auto` is `document_first` where `n_questions` is above 1.
    pub layout: Layout,
    /// Most portions that are read at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
    /// Most rounds of the collapse; after them the notes of least confidence are left out.
    #[schemars(range(min = 0, max = 16))]
    pub max_collapse_rounds: usize,
    /// Most notes that are gone on with, those of the highest confidence; all if unset.
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_at_most: Option<usize>,
    /// What happens when a portion cannot be read: `skip` it, or `fail`. With `skip`, notes that cannot be made into one
    /// stay as they are.
    pub on_map_error: OnMapError,
    /// The share of the portions that must be read for `skip` to go on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_success: f64,
    /// Ends the map at an answer of this confidence, `{ confidence: 5, unanimous: true }`: with `unanimous` only while no
    /// portion before it gave another answer. It goes by the order of the text, whichever portion was read first.
    pub early_exit: Option<EarlyExit>,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// What the model is told before it reads a portion. Besides the ports it can use what `map_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "layout", "task", "confidence"]))]
    pub map_system: Prompt,
    /// What it is asked about a portion. Besides the ports, where `chunks` are those of the portion, it can use `fence`, a
    /// line that no text contains, `layout`, `task` and `confidence`.
    #[schemars(extend("x-variables" = ["fence", "layout", "task", "confidence"]))]
    pub map_prompt: Prompt,
    /// What the model is told before it makes one note of several. Besides the ports it can use what `collapse_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "notes", "task", "confidence"]))]
    pub collapse_system: Prompt,
    /// What it is asked then. Besides the ports it can use `fence`, `task`, `confidence`, and `notes`, each with
    /// `extracted`, `rationale`, `answer` and `confidence`.
    #[schemars(extend("x-variables" = ["fence", "notes", "task", "confidence"]))]
    pub collapse_prompt: Prompt,
    /// What the model is told before it answers. Besides the ports it can use what `collapse_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "notes", "task", "confidence"]))]
    pub reduce_system: Prompt,
    /// What it is asked then. Besides the ports it can use what `collapse_prompt` can.
    #[schemars(extend("x-variables" = ["fence", "notes", "task", "confidence"]))]
    pub reduce_prompt: Prompt,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// An answer.
    Qa,
    /// An answer in the words of the text.
    Extractive,
    /// What the text says to the question.
    Summary,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Qa => "qa",
            Self::Extractive => "extractive",
            Self::Summary => "summary",
        }
    }
}

/// How confidence is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// By examples.
    Scale,
    /// The highest for what stands there word for word.
    Capped,
}

impl Confidence {
    fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Capped => "capped",
        }
    }
}

/// What a portion's prompt begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Whatever is read more than once.
    Auto,
    /// The text.
    DocumentFirst,
    /// The question.
    QuestionFirst,
}

/// What happens when a portion cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMapError {
    /// It is left out, and `stats.failed` says so.
    Skip,
    /// The step fails.
    Fail,
}

/// When the map ends before all was read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyExit {
    /// Least confidence of the answer.
    #[schemars(range(min = 0.0, max = 5.0))]
    pub confidence: f64,
    /// Whether no portion before it may have given another answer.
    #[serde(default = "unanimous")]
    pub unanimous: bool,
}

fn unanimous() -> bool {
    true
}

impl Default for MapReduce {
    fn default() -> Self {
        Self {
            model: ModelName::default(),
            context_tokens: 4096,
            reserve_output: 512,
            portion_tokens: None,
            max_portions: 1000,
            task: Task::Qa,
            confidence: Confidence::Scale,
            layout: Layout::Auto,
            concurrency: 8,
            max_collapse_rounds: 4,
            keep_at_most: None,
            on_map_error: OnMapError::Skip,
            min_success: 0.9,
            early_exit: None,
            temperature: 0.0,
            map_system: Prompt(include_str!("../../prompts/read.map_reduce.map.system.md").into()),
            map_prompt: Prompt(include_str!("../../prompts/read.map_reduce.map.md").into()),
            collapse_system: Prompt(include_str!("../../prompts/read.map_reduce.collapse.system.md").into()),
            collapse_prompt: Prompt(include_str!("../../prompts/read.map_reduce.collapse.md").into()),
            reduce_system: Prompt(include_str!("../../prompts/read.map_reduce.reduce.system.md").into()),
            reduce_prompt: Prompt(include_str!("../../prompts/read.map_reduce.reduce.md").into()),
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
        /// How many questions are asked of the same text, as far as the flow knows; it decides `layout: auto`.
        pub n_questions: Option<usize>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer, with the portions that it rests on and who gave it.
        pub answer: Arc<AnswerRecord>,
        /// The answer in words.
        pub text: String,
        /// Whether any portion said something to the question.
        pub found: bool,
        /// What the portions said that the answer could rest on, in the order of the text: `portion`, `chunk_ids`,
        /// `extracted`, `rationale`, `answer`, `confidence`.
        pub evidence: Vec<Evidence>,
        /// How it went: `portions`, `map_calls`, `dropped`, `failed`, `collapse_rounds`, `collapse_calls`, `collapse_failed`,
        /// `left_out`, `prompt_tokens` and `stop`.
        pub stats: Stats,
        /// What went into what, at most 200, as a tree: `id`, `parent` (null for the answer at the root), `kind`
        /// (`answer`, `collapse`, `portion`), `label`, `confidence`, and `dropped` where it did not go into the answer.
        pub tree: Vec<Branch>,
    }
}

/// What is said where no portion says anything.
pub const NO_INFORMATION: &str = "The text says nothing about this.";

#[async_trait]
impl Operator for MapReduce {
    const NAME: &'static str = "read.map_reduce";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let chunks = source::chunks_of(input.document.as_deref(), input.text.as_deref(), input.chunks)?;
        let n_questions = input.n_questions.unwrap_or(1);
        let mut reader = Reader::new(self, cx, &input.question, n_questions)?;
        let mapped = reader.map(&chunks).await?;
        if mapped.is_empty() {
            let tree = reader.way.finish(NO_INFORMATION, &[]);
            return Ok(out(NO_INFORMATION.to_owned(), String::new(), Vec::new(), reader.stats, tree));
        }
        let notes = reader.collapse(&mapped).await?;
        let (text, by) = reader.reduce(&notes).await?;
        let rests_on: Vec<usize> = notes.iter().flat_map(|note| note.from.clone()).collect();
        let is_used = |evidence: &&Evidence| rests_on.contains(&evidence.portion);
        let used: Vec<&Evidence> = mapped.iter().map(|note| &note.evidence).filter(is_used).collect();
        let citations = citations(&used, &reader.portions);
        let evidence = mapped.iter().map(|note| note.evidence.clone()).collect();
        let last: Vec<usize> = notes.iter().map(|note| note.branch).collect();
        let tree = reader.way.finish(&text, &last);
        let mut out = out(text, by, evidence, reader.stats, tree);
        let answer = Arc::make_mut(&mut out.answer);
        answer.grounded = !citations.is_empty();
        answer.citations = citations;
        Ok(out)
    }

    fn model_calls_max(&self) -> u64 {
        // A collapse makes one note of two at least, so all of its rounds together call less than once a portion.
        self.max_portions as u64 * 2 + 1
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = source::check(given);
        problems.extend(source::check_window(self.context_tokens, self.reserve_output));
        problems
    }
}

fn out(text: String, by: String, evidence: Vec<Evidence>, stats: Stats, tree: Vec<Branch>) -> Out {
    let answer =
        AnswerRecord { text: text.as_str().into(), citations: Vec::new(), grounded: false, by: by.into() };
    Out { answer: Arc::new(answer), text, found: !evidence.is_empty(), evidence, stats, tree }
}

/// The places of the portions that the answer rests on.
fn citations(used: &[&Evidence], portions: &[Vec<Arc<Chunk>>]) -> Vec<Citation> {
    used.iter()
        .filter_map(|evidence| portions.get(evidence.portion))
        .flatten()
        .map(|chunk| source::cite(chunk))
        .collect()
}
