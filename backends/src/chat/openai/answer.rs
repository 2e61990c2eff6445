//! An answer as it comes in: all at once, or piece by piece.

use anabranch_engine::backend::{ChatResponse, Error, FinishReason, TokenLogprob, Usage};
use serde_json::json;

use super::thinking::{Thinking, without_opened};
use super::tools::{CALLS_MAX, Calls, Names, WireCall};
use super::wire::{Choice, Completion, Content};
use crate::http::Failures;

/// What has come in so far.
#[derive(Default)]
pub(super) struct Assembly {
    model: Option<String>,
    text: Option<String>,
    thinking: Thinking,
    /// Whether the server told thoughts apart from words.
    has_reasoning: bool,
    refusal: Option<String>,
    calls: Calls,
    finish_reason: Option<String>,
    logprobs: Vec<TokenLogprob>,
    /// Of the prompt.
    prompt_logprobs: Vec<TokenLogprob>,
    usage: Usage,
    has_choice: bool,
    has_message: bool,
}

impl Assembly {
    /// Of an answer that comes in pieces.
    pub(super) fn streamed() -> Self {
        Self { calls: Calls::streamed(), ..Self::default() }
    }

    /// Takes in a piece, and says what text it added: an empty one if the model is thinking.
    pub(super) fn add(&mut self, piece: Completion, failures: &Failures) -> Result<Option<String>, Error> {
        if let Some(error) = piece.error.filter(|error| !error.is_null()) {
            return Err(failures.in_body(&error, piece.error_type.as_ref()));
        }
        if piece.object.as_deref() == Some("error") {
            return Err(failures.in_body(&json!({ "message": piece.message, "code": piece.code }), None));
        }
        if let Some(usage) = piece.usage {
            self.usage = usage.into();
        }
        if piece.model.as_ref().is_some_and(|model| !model.is_empty()) {
            self.model = piece.model;
        }
        self.prompt_logprobs.extend(piece.prompt_logprobs);
        match piece.choices.and_then(|choices| choices.into_iter().next()) {
            Some(choice) => self.add_choice(choice, failures),
            None => Ok(None),
        }
    }

    fn add_choice(&mut self, choice: Choice, failures: &Failures) -> Result<Option<String>, Error> {
        self.has_choice = true;
        match choice.finish_reason.as_deref() {
            // Some servers write an empty reason into every piece.
            None | Some("") => {}
            Some(reason @ ("error" | "abort" | "aborted")) => {
                return Err(failures.unavailable(format!("it gave up: its reason for the end is `{reason}`")));
            }
            Some(_) => self.finish_reason = choice.finish_reason,
        }
        self.logprobs.extend(choice.logprobs);
        let Some(said) = choice.message else { return Ok(None) };
        if let Some(refusal) = said.refusal {
            self.refusal.get_or_insert_default().push_str(&refusal);
        }
        let is_reasoning = said.reasoning_content.is_some() || said.reasoning.is_some();
        self.has_reasoning |= is_reasoning;
        self.has_message = true;
        let mut calls = said.tool_calls.unwrap_or_default();
        if calls.is_empty() {
            calls.extend(said.function_call.map(WireCall::from));
        }
        let n_pieces = calls.len();
        for call in calls {
            self.calls.add(call);
        }
        let Some(content) = said.content.map(Content::into_text) else {
            return Ok((is_reasoning || n_pieces > 0).then(String::new));
        };
        let words = self.thinking.add(&content);
        self.text.get_or_insert_default().push_str(&words);
        let is_thought = is_reasoning || words.is_empty() && !content.is_empty();
        Ok((is_thought || !words.is_empty()).then_some(words))
    }

    /// Whether the model said that it was done.
    pub(super) fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// The whole answer.
    pub(super) fn finish(
        self,
        (asked, names): (&str, &Names),
        failures: &Failures,
    ) -> Result<ChatResponse, Error> {
        if !self.has_choice {
            return Err(failures.garbled("the answer has no `choices`"));
        }
        if let Some(n_calls) = self.calls.too_many() {
            return Err(failures.garbled(format!("the answer has {n_calls} calls; {CALLS_MAX} are the most")));
        }
        let mut finish_reason = match self.finish_reason.as_deref() {
            Some("length" | "model_length" | "max_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            // Servers have names of their own for a model that was done: `eos_token`, `stop_sequence`, `end_turn`.
            _ => FinishReason::Stop,
        };
        let has_thought = self.has_reasoning || self.thinking.has_thought();
        let held = self.thinking.finish();
        let text = self.text.map(|text| text + &held);
        let (text, is_whole) = match (text, self.refusal) {
            (Some(text), _) if !text.is_empty() => {
                let said = without_opened(&text);
                (said.to_owned(), said.len() == text.len() && !has_thought)
            }
            (_, Some(refusal)) if !refusal.is_empty() => {
                finish_reason = FinishReason::ContentFilter;
                (refusal, true)
            }
            // A model that thinks before it speaks can run out of tokens before its first word.
            (Some(_), _) => (String::new(), !has_thought),
            // It said nothing: after calls that is an answer, and what needs words says so itself.
            (None, _) if self.has_message || finish_reason != FinishReason::Stop => {
                (String::new(), !has_thought)
            }
            (None, _) => return Err(failures.garbled("the answer has no `message`")),
        };
        let logprobs = if !self.prompt_logprobs.is_empty() {
            self.prompt_logprobs
        } else if is_whole {
            self.logprobs
        } else {
            of_text(self.logprobs, &text)
        };
        let model = self.model.unwrap_or_else(|| asked.to_owned());
        let tool_calls = self.calls.finish(names);
        Ok(ChatResponse { text, tool_calls, finish_reason, usage: self.usage, model, logprobs })
    }
}

/// The tokens that make up `text`, without those of the thoughts before it; none if they cannot be told apart.
fn of_text(mut tokens: Vec<TokenLogprob>, text: &str) -> Vec<TokenLogprob> {
    let written: String = tokens.iter().map(|token| token.token.as_str()).collect();
    let Some(start) = (!text.is_empty()).then(|| written.rfind(text)).flatten() else { return Vec::new() };
    let mut end = 0;
    tokens.retain(|token| {
        end += token.token.len();
        end > start
    });
    tokens
}
