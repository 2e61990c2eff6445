//! Reads a long text from front to back, and makes the answer better with every part.

use std::collections::VecDeque;
use std::sync::Arc;

use anabranch_engine::backend::{ChatRequest, ChatResponse};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Answer as AnswerRecord, Chunk, Document, Text, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::source::{self, cite};
use super::window::Window;
use crate::ask::{self, Said};
use crate::prompt::{Prompts, quoted};
use crate::record::map_record;

#[cfg(test)]
mod tests;

/// Reads a long text from front to back, and makes the answer better with every part.
///
/// The text is cut into portions that fit the window, nothing of it left out. For each, the model sees the answer so far
/// and the portion, and keeps the answer or writes a better one. Every prompt fits `context_tokens` less
/// `reserve_output`, counted as the model counts, with the answer so far in it. Use it where a later part can change
/// what an earlier one seemed to say, as in stories, minutes and logs, or to sum up in order; `read.map_reduce` reads the
/// parts side by side and is much faster. Asks the model once a portion, one after the other.
///
/// Source: the incremental updating of `BooookScore` (arXiv 2310.00785), known as the refine chain.
///
/// ```yaml
/// read:
///   op: read.refine
///   with: { context_tokens: 8000 }
///   in: { question: inputs.question, document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refine {
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
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// What the model is told about its task. Besides the ports it can use what `prompt` can.
    #[schemars(extend("x-variables" = ["fence", "draft"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports, where `chunks` are those of the portion, it can use `fence`, a line that
    /// no text contains, and `draft`, the answer so far, empty for the first portion.
    #[schemars(extend("x-variables" = ["fence", "draft"]))]
    pub prompt: Prompt,
}

impl Default for Refine {
    fn default() -> Self {
        Self {
            model: ModelName::default(),
            context_tokens: 4096,
            reserve_output: 512,
            portion_tokens: None,
            max_portions: 1000,
            temperature: 0.0,
            system: Prompt(include_str!("../../prompts/read.refine.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/read.refine.md").into()),
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
        /// The answer, with the portions that changed it and who gave it.
        pub answer: Arc<AnswerRecord>,
        /// The answer in words.
        pub text: String,
        /// The answer after every portion, in their order.
        pub drafts: Vec<String>,
        /// How it went: `portions`, `changed`, `unread` and `prompt_tokens`.
        pub stats: Stats,
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Portions read.
    pub portions: usize,
    /// Portions that changed the answer.
    pub changed: usize,
    /// Portions of which the answer was broken or cut short, so that the draft stayed what it was.
    #[serde(default)]
    pub unread: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
}

map_record!(Stats);

/// What is said where there is nothing to read, or nothing in it.
pub const NOTHING_READ: &str = "The text says nothing about this.";

impl Refine {
    fn request(
        &self,
        cx: &Cx,
        question: &str,
        draft: &str,
        chunks: &[Arc<Chunk>],
    ) -> Result<ChatRequest, OpError> {
        let variables = [
            ("question", Value::text(question)),
            ("draft", Value::text(draft)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
        ];
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        prompts.request(cx, &variables, quoted(chunks).chain([question, draft]))
    }
}

/// What the model makes of a draft: a better one, or none.
fn revised(response: &ChatResponse) -> Result<Option<String>, OpError> {
    let json = match ask::said(response, "answer")? {
        Said::Object(json) => json,
        // Words without form are an answer too.
        Said::Words(words) => return Ok(Some(words)),
    };
    let is_kept = json.get("changed").and_then(Json::as_bool) == Some(false);
    let answer = json.get("answer").and_then(Json::as_str).unwrap_or_default().trim();
    Ok((!is_kept && !answer.is_empty()).then(|| answer.to_owned()))
}

#[async_trait]
impl Operator for Refine {
    const NAME: &'static str = "read.refine";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let chunks = source::chunks_of(input.document.as_deref(), input.text.as_deref(), input.chunks)?;
        let window = Window::of(cx, &self.model, self.context_tokens, self.reserve_output)?;
        let question = input.question.as_str();
        // Room for a draft as long as an answer can be: portions are then as good as never cut again.
        let render = |chunks: &[Arc<Chunk>]| self.request(cx, question, "", chunks);
        let roomy = window.less(self.reserve_output as usize);
        let portions = roomy.portions(&chunks, self.portion_tokens, &render)?;
        source::check_portions(portions.len(), self.max_portions)?;
        let schema = json!({
            "type": "object",
            "properties": { "changed": { "type": "boolean" }, "answer": { "type": "string" } },
            "required": ["changed", "answer"],
            "additionalProperties": false,
        });

        let (mut draft, mut by) = (String::new(), String::new());
        let mut out = Out {
            answer: Arc::new(AnswerRecord {
                text: "".into(),
                citations: Vec::new(),
                grounded: false,
                by: "".into(),
            }),
            text: String::new(),
            drafts: Vec::new(),
            stats: Stats::default(),
        };
        let mut citations = Vec::new();
        let mut left: VecDeque<Vec<Arc<Chunk>>> =
            portions.into_iter().map(|portion| portion.chunks).collect();
        while let Some(chunks) = left.pop_front() {
            let render = |chunks: &[Arc<Chunk>]| self.request(cx, question, &draft, chunks);
            let mut parts = window.portions(&chunks, None, &render)?.into_iter();
            let Some(portion) = parts.next() else { continue };
            // A draft longer than was foreseen leaves less room: the rest is read next.
            for part in parts.rev() {
                left.push_front(part.chunks);
            }
            out.stats.portions += 1;
            out.stats.prompt_tokens += window.tokens(&portion.request.messages);
            let request = ChatRequest {
                temperature: Some(self.temperature),
                max_tokens: Some(self.reserve_output),
                response_schema: Some(schema.clone()),
                ..portion.request
            };
            let response = ask::text(cx, &self.model, &request).await?;
            let better = match revised(&response) {
                Ok(better) => better,
                // The draft is worth more than what a broken answer would make of it; without any there is none to keep.
                Err(_) if !draft.is_empty() => {
                    out.stats.unread += 1;
                    None
                }
                Err(error) => return Err(error),
            };
            if let Some(better) = better.filter(|better| *better != draft) {
                out.stats.changed += 1;
                citations.extend(portion.chunks.iter().map(|chunk| cite(chunk)));
                draft = better;
            }
            by = response.model;
            out.drafts.push(draft.clone());
        }
        let text = if draft.is_empty() { NOTHING_READ.to_owned() } else { draft };
        let grounded = !citations.is_empty();
        out.answer =
            Arc::new(AnswerRecord { text: text.as_str().into(), citations, grounded, by: by.into() });
        Ok(Out { text, ..out })
    }

    fn model_calls_max(&self) -> u64 {
        self.max_portions as u64
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = source::check(given);
        problems.extend(source::check_window(self.context_tokens, self.reserve_output));
        problems
    }
}
