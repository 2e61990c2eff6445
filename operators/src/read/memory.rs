//! Reads a long text from front to back into a memory of a given shape, and answers from that.

use std::collections::VecDeque;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Answer as AnswerRecord, Chunk, Citation, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use self::keeper::Keeper;
use self::log::{Entry, Stats};
use self::revision::Op;
use super::source;

mod keeper;
mod log;
mod revision;
#[cfg(test)]
mod tests;

/// Reads a long text from front to back into a memory of a given shape, and answers from that.
///
/// The memory is JSON that always satisfies `schema`. For each portion of the text the model proposes revisions, each
/// an `add` or an `update` at a place; they are applied one by one, and one that leads nowhere, breaks the schema or
/// makes the memory longer than `memory_max_tokens` is rejected, counted in `stats.rejected`, and changes nothing. All of
/// them are in `revisions`, from which the memory can be made again. At the end the model answers from the memory.
///
/// A prompt shows the memory as it was, then the revisions since, then the portion: until it is written anew, every
/// `compact_every` portions, each prompt begins as the one before, which a server's prefix cache has. With `memory`
/// connected it goes on where another step stopped, and without anything to read it only answers: `flows/memory_reader.yaml`
/// reads a portion a turn, and survives a restart between any two. Use it for long texts that are asked for something of
/// a known shape: who did what, a table, a timeline. Asks the model once a portion, and once more for the answer.
///
/// Source: PRISM, incremental reasoning with structured memories (arXiv 2412.18914).
///
/// ```yaml
/// read:
///   op: read.memory
///   with: { portion_tokens: 1000 }
///   in: { question: inputs.question, document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// The JSON Schema of the memory; it must be an object. By default `facts`, lists of sentences by what they are about.
    #[schemars(extend("minProperties" = 1))]
    pub schema: Map<String, Json>,
    /// The memory at the beginning. By default an empty object with everything that the schema requires, empty too.
    pub initial: Option<Map<String, Json>>,
    /// What revisions may do: `add` what is not there, `update` what is.
    #[schemars(length(min = 1, max = 2))]
    pub ops: Vec<Op>,
    /// Most tokens of the memory, as compact JSON.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub memory_max_tokens: usize,
    /// After how many portions the memory is written anew in the prompt, with the revisions in it; sooner where the two
    /// together would have more than `memory_max_tokens`.
    #[schemars(range(min = 1, max = 10_000))]
    pub compact_every: usize,
    /// Whether a last call answers the question from the memory. Else `text` is empty.
    pub answer: bool,
    /// The model to ask.
    pub model: ModelName,
    /// The model's window: most tokens of a prompt and its answer together.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub context_tokens: usize,
    /// Tokens of the window that are kept free for an answer, and most tokens of one.
    #[schemars(range(min = 16, max = 100_000))]
    pub reserve_output: u32,
    /// Most tokens of text in a portion.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub portion_tokens: usize,
    /// Most portions. A text that makes more is refused before anything is asked.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_portions: usize,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// What the model is told before it reads. Besides the ports it can use `fence`, `schema` and `ops`.
    #[schemars(extend("x-variables" = ["fence", "schema", "ops"]))]
    pub system: Prompt,
    /// What it is asked about a portion. Besides the ports, where `chunks` are those of the portion and `memory` is the memory
    /// as it was written last, it can use `fence`, a line that no text contains, and `amendments`, the revisions since.
    #[schemars(extend("x-variables" = ["fence", "amendments", "schema", "ops"]))]
    pub prompt: Prompt,
    /// What the model is told before it answers.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub answer_system: Prompt,
    /// What it is asked then. Besides the ports, where `memory` is the whole memory, it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub answer_prompt: Prompt,
}

impl Default for Memory {
    fn default() -> Self {
        let schema = json!({
            "type": "object",
            "properties": {
                "facts": {
                    "type": "object",
                    "additionalProperties": { "type": "array", "items": { "type": "string" } },
                },
            },
            "required": ["facts"],
            "additionalProperties": false,
        });
        Self {
            schema: schema.as_object().cloned().unwrap_or_default(),
            initial: None,
            ops: vec![Op::Add, Op::Update],
            memory_max_tokens: 1000,
            compact_every: 8,
            answer: true,
            model: ModelName::default(),
            context_tokens: 8192,
            reserve_output: 1024,
            portion_tokens: 2000,
            max_portions: 1000,
            temperature: 0.0,
            system: Prompt(include_str!("../../prompts/read.memory.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/read.memory.md").into()),
            answer_system: Prompt(include_str!("../../prompts/read.memory.answer.system.md").into()),
            answer_prompt: Prompt(include_str!("../../prompts/read.memory.answer.md").into()),
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
        /// The memory to go on from, in the place of `initial`.
        pub memory: Option<Json>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer, with the portions of which something was kept and who gave it.
        pub answer: Arc<AnswerRecord>,
        /// The answer in words; empty with `answer: false`.
        pub text: String,
        /// The memory; it satisfies the schema.
        pub memory: Json,
        /// Every revision that was proposed, in order: `portion`, `op`, `path`, `value`, `accepted` and, where it was not,
        /// `why`.
        pub revisions: Vec<Entry>,
        /// How it went: `portions`, `accepted`, `rejected`, `unread`, `compactions`, `memory_tokens` and `prompt_tokens`.
        pub stats: Stats,
    }
}

#[async_trait]
impl Operator for Memory {
    const NAME: &'static str = "read.memory";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let nothing = input.document.is_none() && input.text.is_none() && input.chunks.is_none();
        let chunks = if nothing && input.memory.is_some() {
            Vec::new()
        } else {
            source::chunks_of(input.document.as_deref(), input.text.as_deref(), input.chunks)?
        };
        let mut keeper = Keeper::new(self, cx, &input.question, input.memory)?;
        let mut left: VecDeque<Vec<Arc<Chunk>>> = keeper.portions(&chunks)?.into();
        let mut citations: Vec<Citation> = Vec::new();
        while let Some(chunks) = left.pop_front() {
            // What does not fit beside the memory as it is now is read next.
            let (read, rest) = keeper.read(&chunks).await?;
            rest.into_iter().rev().for_each(|chunks| left.push_front(chunks));
            citations.extend(read.iter().map(|chunk| source::cite(chunk)));
        }
        let (text, by) = if self.answer { keeper.answer().await? } else { (String::new(), String::new()) };
        let grounded = self.answer && !citations.is_empty();
        let answer = AnswerRecord { text: text.as_str().into(), citations, grounded, by: by.into() };
        let (memory, revisions, stats) = keeper.finish();
        Ok(Out { answer: Arc::new(answer), text, memory, revisions, stats })
    }

    fn model_calls_max(&self) -> u64 {
        self.max_portions as u64 + u64::from(self.answer)
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let goes_on = given.iter().any(|(name, _)| &**name == "memory");
        let mut problems = source::check(given);
        // With a memory to go on from there may be nothing more to read.
        problems.retain(|problem| !(goes_on && problem.message.starts_with("it reads none")));
        problems.extend(source::check_window(self.context_tokens, self.reserve_output));
        problems.extend(self.schema_problems());
        problems
    }
}

impl Memory {
    /// What is wrong with the schema, and with the memory at the beginning.
    fn schema_problems(&self) -> Vec<SettingProblem> {
        let schema = Json::Object(self.schema.clone());
        let problem = |pointer: &str, message: String, hint: &str| {
            vec![SettingProblem { pointer: pointer.to_owned(), message, hint: Some(hint.to_owned()) }]
        };
        let validator = match jsonschema::validator_for(&schema) {
            Ok(validator) => validator,
            Err(error) => {
                let message = format!("the schema is no JSON Schema: {error}");
                return problem(
                    "/schema",
                    message,
                    "its types are `string`, `number`, `integer`, `boolean`, `object`, `array` and `null`",
                );
            }
        };
        let given = self.initial.clone().map(Json::Object);
        let pointer = if given.is_some() { "/initial" } else { "/schema" };
        let initial = given.unwrap_or_else(|| revision::empty(&schema));
        match validator.validate(&initial) {
            Ok(()) => Vec::new(),
            Err(error) => problem(
                pointer,
                format!("the memory at the beginning, {initial}, does not satisfy the schema: {error}"),
                "give one under `initial` that does",
            ),
        }
    }
}
