//! Keeps the memory of one reading: shows it, has it revised, and lets nothing into it that does not belong there.

use std::sync::Arc;

use anabranch_engine::backend::{ChatRequest, ChatResponse};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::OpError;
use anabranch_engine::value::{Chunk, Value};
use jsonschema::Validator;
use serde::Deserialize as _;
use serde_json::{Value as Json, json};

use super::Memory;
use super::log::{Entry, Stats};
use super::revision::{self, Revision};
use crate::ask::{self, after_thinking, whole_json};
use crate::prompt::{Prompts, quoted};
use crate::read::source::check_portions;
use crate::read::window::Window;

/// One reading of one text.
pub(super) struct Keeper<'a> {
    settings: &'a Memory,
    cx: &'a Cx,
    question: &'a str,
    schema: Json,
    validator: Validator,
    window: Window,
    memory: Json,
    /// The memory as prompts show it, and the revisions since, a line each.
    written: String,
    amendments: Vec<String>,
    /// Portions since it was written.
    since_written: usize,
    entries: Vec<Entry>,
    stats: Stats,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(
        settings: &'a Memory,
        cx: &'a Cx,
        question: &'a str,
        given: Option<Json>,
    ) -> Result<Self, OpError> {
        let schema = Json::Object(settings.schema.clone());
        let validator = jsonschema::validator_for(&schema)
            .map_err(|error| OpError::InvalidSetting(format!("the schema is none: {error}")))?;
        let initial = || settings.initial.clone().map_or_else(|| revision::empty(&schema), Json::Object);
        let memory = given.unwrap_or_else(initial);
        if let Err(error) = validator.validate(&memory) {
            let message = format!("the memory to go on from does not satisfy the schema: {error}");
            return Err(OpError::InvalidInput(message));
        }
        let window = Window::of(cx, &settings.model, settings.context_tokens, settings.reserve_output)?;
        let tokens = window.counter().count(&memory.to_string());
        if tokens > settings.memory_max_tokens {
            return Err(OpError::InvalidInput(format!(
                "the memory to go on from has {tokens} tokens, more than `memory_max_tokens` ({})",
                settings.memory_max_tokens
            )));
        }
        Ok(Self {
            settings,
            cx,
            question,
            schema,
            validator,
            window,
            written: memory.to_string(),
            memory,
            amendments: Vec::new(),
            since_written: 0,
            entries: Vec::new(),
            stats: Stats { memory_tokens: tokens, ..Stats::default() },
        })
    }

    /// The text in portions that fit beside the longest memory.
    pub(super) fn portions(&self, chunks: &[Arc<Chunk>]) -> Result<Vec<Vec<Arc<Chunk>>>, OpError> {
        let roomy = self.window.less(self.settings.memory_max_tokens);
        let render = |chunks: &[Arc<Chunk>]| self.request(chunks);
        let portions = roomy.portions(chunks, Some(self.settings.portion_tokens), &render)?;
        check_portions(portions.len(), self.settings.max_portions)?;
        Ok(portions.into_iter().map(|portion| portion.chunks).collect())
    }

    /// Has the memory revised by a portion. Gives the chunks of which something was kept, and what did not fit.
    pub(super) async fn read(
        &mut self,
        chunks: &[Arc<Chunk>],
    ) -> Result<(Vec<Arc<Chunk>>, Vec<Vec<Arc<Chunk>>>), OpError> {
        self.compact_if_due();
        let render = |chunks: &[Arc<Chunk>]| self.request(chunks);
        let mut parts = self.window.portions(chunks, None, &render)?.into_iter();
        let Some(portion) = parts.next() else { return Ok((Vec::new(), Vec::new())) };
        let rest = parts.map(|part| part.chunks).collect();
        let n_portion = self.stats.portions;
        self.stats.portions += 1;
        self.since_written += 1;
        self.stats.prompt_tokens += self.window.tokens(&portion.request.messages);
        let ops: Vec<&str> = self.settings.ops.iter().map(|op| op.name()).collect();
        let schema = json!({
            "type": "object",
            "properties": {
                "revisions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "op": { "type": "string", "enum": ops }, "path": { "type": "string" }, "value": {},
                        },
                        "required": ["op", "path", "value"],
                        "additionalProperties": false,
                    },
                },
            },
            "required": ["revisions"],
            "additionalProperties": false,
        });
        let response = self.ask(portion.request, schema).await?;
        let Some(proposed) = proposed(after_thinking(&response.text)) else {
            self.stats.unread += 1;
            return Ok((Vec::new(), rest));
        };
        let accepted_before = self.stats.accepted;
        for one in proposed {
            self.revise(n_portion, &one);
        }
        let kept = if self.stats.accepted > accepted_before { portion.chunks } else { Vec::new() };
        Ok((kept, rest))
    }

    /// Applies a revision, or writes down why it was not.
    fn revise(&mut self, portion: usize, proposed: &Json) {
        let revision = match Revision::deserialize(proposed) {
            Ok(revision) => revision,
            Err(error) => {
                self.stats.rejected += 1;
                let text =
                    |key: &str| proposed.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
                let (op, path) = (text("op"), text("path"));
                let value = proposed.get("value").cloned().unwrap_or_default();
                let why = Some(format!("it is no revision: {error}"));
                self.entries.push(Entry { portion, op, path, value, accepted: false, why });
                return;
            }
        };
        let why = self.attempt(&revision).err();
        let Revision { op, path, value } = revision;
        if why.is_none() {
            self.stats.accepted += 1;
            self.amendments.push(json!({ "op": op, "path": path, "value": value }).to_string());
        } else {
            self.stats.rejected += 1;
        }
        let op = op.name().to_owned();
        self.entries.push(Entry { portion, op, path, value, accepted: why.is_none(), why });
    }

    fn attempt(&mut self, revision: &Revision) -> Result<(), String> {
        if !self.settings.ops.contains(&revision.op) {
            return Err(format!("`{}` is not among `ops`", revision.op.name()));
        }
        // On a copy: a revision that cannot be leaves the memory as it was.
        let mut revised = self.memory.clone();
        revision.apply(&mut revised)?;
        self.validator
            .validate(&revised)
            .map_err(|error| format!("the memory would not satisfy the schema: {error}"))?;
        let tokens = self.window.counter().count(&revised.to_string());
        if tokens > self.settings.memory_max_tokens {
            let most = self.settings.memory_max_tokens;
            return Err(format!(
                "the memory would have {tokens} tokens, more than `memory_max_tokens` ({most})"
            ));
        }
        self.memory = revised;
        self.stats.memory_tokens = tokens;
        Ok(())
    }

    /// Writes the memory anew, where it was long ago or the revisions since have become long.
    fn compact_if_due(&mut self) {
        let count = |text: &str| self.window.counter().count(text);
        let shown = count(&self.written) + self.amendments.iter().map(|line| count(line) + 1).sum::<usize>();
        let is_due = self.since_written >= self.settings.compact_every;
        if self.amendments.is_empty() || !(is_due || shown > self.settings.memory_max_tokens) {
            return;
        }
        self.written = self.memory.to_string();
        self.amendments.clear();
        self.since_written = 0;
        self.stats.compactions += 1;
    }

    fn request(&self, chunks: &[Arc<Chunk>]) -> Result<ChatRequest, OpError> {
        let ops = self.settings.ops.iter().map(|op| Value::text(op.name()));
        let variables = [
            ("question", Value::text(self.question)),
            ("schema", Value::from_json(self.schema.clone())),
            ("ops", Value::list(ops)),
            ("memory", Value::text(self.written.as_str())),
            ("amendments", Value::list(self.amendments.iter().map(|line| Value::text(line.as_str())))),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
        ];
        let texts =
            [self.question, &self.written].into_iter().chain(self.amendments.iter().map(String::as_str));
        let prompts = Prompts { system: &self.settings.system, prompt: &self.settings.prompt };
        prompts.request(self.cx, &variables, quoted(chunks).chain(texts))
    }

    async fn ask(&self, rendered: ChatRequest, schema: Json) -> Result<ChatResponse, OpError> {
        let request = ChatRequest {
            temperature: Some(self.settings.temperature),
            max_tokens: Some(self.settings.reserve_output),
            response_schema: Some(schema),
            ..rendered
        };
        ask::text(self.cx, &self.settings.model, &request).await
    }

    /// The answer from the memory, and who gave it.
    pub(super) async fn answer(&mut self) -> Result<(String, String), OpError> {
        let memory = self.memory.to_string();
        let variables = [("question", Value::text(self.question)), ("memory", Value::text(memory.as_str()))];
        let prompts = Prompts { system: &self.settings.answer_system, prompt: &self.settings.answer_prompt };
        let request = prompts.request(self.cx, &variables, [self.question, &memory].into_iter())?;
        let tokens = self.window.tokens(&request.messages);
        if tokens > self.window.limit() {
            return Err(self.window.too_small(tokens));
        }
        self.stats.prompt_tokens += tokens;
        let schema = json!({
            "type": "object",
            "properties": { "rationale": { "type": "string" }, "answer": { "type": "string" } },
            "required": ["rationale", "answer"],
            "additionalProperties": false,
        });
        let response = self.ask(request, schema).await?;
        Ok((ask::answer(&response)?, response.model))
    }

    /// The memory, what happened to it, and how it went.
    pub(super) fn finish(self) -> (Json, Vec<Entry>, Stats) {
        (self.memory, self.entries, self.stats)
    }
}

/// The revisions in a model's words: a list under `revisions`, or a list; `None` if there is neither.
fn proposed(said: &str) -> Option<Vec<Json>> {
    whole_json(said).into_iter().find_map(|json| match json {
        Json::Object(mut fields) => match fields.remove("revisions") {
            Some(Json::Array(revisions)) => Some(revisions),
            _ => None,
        },
        Json::Array(revisions) if revisions.iter().all(Json::is_object) => Some(revisions),
        _ => None,
    })
}
