//! Cuts by how likely a model finds the text: the surprise of each sentence, or the choice between splitting and keeping.

use std::ops::Range;

use anabranch_engine::backend::{self, ChatRequest, ChatResponse, TokenLogprob};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::OpError;
use anabranch_engine::value::{Message, Role, Value};

use super::Semantic;
use super::rules::{Margin, minima};
use crate::prompt::Prompts;
use crate::tokens;

/// Which part of a window the text before it may take, so that its first units are not a surprise: a quarter.
const CONTEXT_PART: usize = 4;
/// Tokens that are looked at for the two choices.
const CHOICES: u8 = 20;

impl Semantic {
    /// Cuts after the units that are less of a surprise than their neighbours.
    pub(super) async fn by_perplexity(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
    ) -> Result<Vec<usize>, OpError> {
        let mut surprise = Vec::with_capacity(units.len());
        for window in windows(text, units, self.window_tokens) {
            let (Some(first), Some(last)) = (units.get(window.from), units.get(window.until - 1)) else {
                break;
            };
            let start = units.get(window.context).map_or(first.start, |unit| unit.start);
            let said = text.get(start..last.end).unwrap_or_default();
            let request = ChatRequest {
                messages: vec![Message { role: Role::User, content: said.into() }],
                max_tokens: Some(1),
                temperature: Some(0.0),
                prompt_logprobs: true,
                ..ChatRequest::default()
            };
            let response = cx.chat(&self.model, &request).await?;
            let places = places(said, &response)?;
            for unit in units.get(window.from..window.until).unwrap_or_default() {
                surprise.push(mean_within(&places, unit.start - start..unit.end - start));
            }
        }
        Ok(minima(&surprise, self.threshold, self.adapts))
    }

    /// Cuts where the model would rather split than keep, unit by unit.
    pub(super) async fn by_margin(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
    ) -> Result<Vec<usize>, OpError> {
        let mut margin = Margin::default();
        let mut cuts = Vec::new();
        let Some(mut start) = units.first().map(|unit| unit.start) else { return Ok(cuts) };
        for (at, pair) in units.windows(2).enumerate() {
            let [last, next] = pair else { continue };
            let (before, after) =
                (text.get(start..last.end).unwrap_or_default(), text.get(next.clone()).unwrap_or_default());
            // What is too long is cut whatever the model says.
            let is_full = tokens::count(before) + tokens::count(after) > self.max_size;
            if is_full || !margin.keeps(self.margin(cx, before, after).await?) {
                cuts.push(at);
                start = next.start;
            }
        }
        Ok(cuts)
    }

    /// The probability of keeping less that of splitting.
    async fn margin(&self, cx: &Cx, before: &str, after: &str) -> Result<f64, OpError> {
        let variables = [("before", Value::text(before)), ("after", Value::text(after))];
        let prompts = Prompts { system: &self.margin_system, prompt: &self.margin_prompt };
        let request = ChatRequest {
            max_tokens: Some(1),
            temperature: Some(0.0),
            logprobs: Some(CHOICES),
            ..prompts.request(cx, &variables, [before, after].into_iter())?
        };
        let response = cx.chat(&self.model, &request).await?;
        let Some(first) = response.logprobs.first() else {
            return Err(untold(&response, "how likely its first token and the others were (`logprobs`)"));
        };
        let p = |choice: &str| probability(first, choice);
        Ok(p("2") - p("1"))
    }
}

/// How likely the token was to be `choice`.
fn probability(token: &TokenLogprob, choice: &str) -> f64 {
    let written = [(token.token.clone(), token.logprob)];
    let all = if token.top.is_empty() { written.as_slice() } else { token.top.as_slice() };
    all.iter().filter(|(token, _)| token.trim() == choice).map(|(_, logprob)| logprob.exp()).sum()
}

fn untold(response: &ChatResponse, what: &str) -> OpError {
    let message =
        format!("the server does not tell {what}; choose another `scorer`, or serve the model with vLLM");
    backend::Error::Garbled { backend: format!("model `{}`", response.model), message }.into()
}

/// Units that are read in one call.
struct Window {
    /// The first one that is only read.
    context: usize,
    /// The first one whose surprise is taken.
    from: usize,
    /// One past the last.
    until: usize,
}

/// The windows of at most `most` tokens, the first units of each being the last ones before it.
fn windows(text: &str, units: &[Range<usize>], most: usize) -> Vec<Window> {
    let lengths: Vec<usize> =
        units.iter().map(|unit| tokens::count(text.get(unit.clone()).unwrap_or_default()) + 1).collect();
    let length = |at: usize| lengths.get(at).copied().unwrap_or_default();
    let mut windows = Vec::new();
    let mut from = 0;
    while from < units.len() {
        let (mut context, mut total) = (from, 0);
        while context > 0 && total + length(context - 1) <= most / CONTEXT_PART {
            context -= 1;
            total += length(context);
        }
        // At least one, however long.
        let mut until = from + 1;
        total += length(from);
        while until < units.len() && total + length(until) <= most {
            total += length(until);
            until += 1;
        }
        windows.push(Window { context, from, until });
        from = until;
    }
    windows
}

/// Where in `text` each token of it begins, with how much of a surprise it was. What the server wrote around the text is
/// left out.
fn places(text: &str, response: &ChatResponse) -> Result<Vec<(usize, f64)>, OpError> {
    if response.logprobs.is_empty() {
        return Err(untold(response, "how likely the tokens of a prompt are (`prompt_logprobs`)"));
    }
    // Tokenizers write space in ways of their own, and a token that ends within a character as a replacement for it.
    let is_plain = |c: &char| !c.is_whitespace() && !matches!(c, '\u{fffd}' | '▁' | 'Ġ' | 'Ċ');
    for is_compared in [(|_: &char| true) as fn(&char) -> bool, char::is_ascii] {
        let wanted: Vec<(usize, char)> =
            text.char_indices().filter(|(_, c)| is_plain(c) && is_compared(c)).collect();
        let mut said: Vec<(usize, char)> = Vec::new();
        for (at, token) in response.logprobs.iter().enumerate() {
            said.extend(token.token.chars().filter(|c| is_plain(c) && is_compared(c)).map(|c| (at, c)));
        }
        if let Some(from) = find(&said, &wanted) {
            let mut places: Vec<(usize, f64)> = Vec::new();
            let mut last = None;
            for ((token, _), (at, _)) in said.iter().skip(from).zip(&wanted) {
                if last.replace(*token) != Some(*token) {
                    let logprob = response.logprobs.get(*token).map_or(0.0, |token| token.logprob);
                    places.push((*at, -logprob));
                }
            }
            return Ok(places);
        }
    }
    let message = "the tokens that it tells of do not make up the text that it was given".to_owned();
    Err(backend::Error::Garbled { backend: format!("model `{}`", response.model), message }.into())
}

/// The last place in `said` at which `wanted` begins.
fn find(said: &[(usize, char)], wanted: &[(usize, char)]) -> Option<usize> {
    let last = said.len().checked_sub(wanted.len())?;
    (0..=last).rev().find(|from| said.iter().skip(*from).zip(wanted).all(|((_, a), (_, b))| a == b))
}

/// The mean surprise of the tokens that begin within the range.
fn mean_within(places: &[(usize, f64)], range: Range<usize>) -> f64 {
    let within = || places.iter().filter(|(at, _)| range.contains(at)).map(|(_, surprise)| surprise);
    within().sum::<f64>() / within().count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::backend::{FinishReason, Usage};

    fn response(tokens: &[(&str, f64)]) -> ChatResponse {
        let token = |(token, logprob): &(&str, f64)| TokenLogprob {
            token: (*token).to_owned(),
            logprob: *logprob,
            top: Vec::new(),
        };
        ChatResponse {
            text: "x".to_owned(),
            finish_reason: FinishReason::Length,
            usage: Usage::default(),
            model: "m".to_owned(),
            logprobs: tokens.iter().map(token).collect(),
            tool_calls: vec![],
        }
    }

    #[test]
    fn tokens_are_found_in_the_text_whatever_stands_around_them() {
        let said = response(&[
            ("<user>", -9.0),
            ("Her", -1.0),
            ("▁ons", -2.0),
            (" nest", -3.0),
            (".", -0.5),
            ("<end>", -9.0),
        ]);
        let found = places(" Herons  nest.", &said).unwrap();
        assert_eq!(found, [(1, 1.0), (4, 2.0), (9, 3.0), (13, 0.5)]);
        assert!((mean_within(&found, 1..8) - 1.5).abs() < 1e-9);
        assert!(mean_within(&found, 20..30).abs() < 1e-9);
    }

    #[test]
    fn characters_in_pieces_are_passed_over() {
        let said = response(&[("a", -1.0), ("\u{fffd}", -2.0), ("\u{fffd}", -2.0), ("b", -3.0)]);
        assert_eq!(places("a🎉b", &said).unwrap(), [(0, 1.0), (5, 3.0)]);
        let error = places("abc", &said).unwrap_err().to_string();
        assert!(error.contains("do not make up the text"), "{error}");
        let error = places("abc", &response(&[])).unwrap_err().to_string();
        assert!(error.contains("prompt_logprobs"), "{error}");
    }

    #[test]
    fn windows_cover_every_unit_once_and_begin_with_what_was_before() {
        let text = "a b c\n".repeat(30);
        let units = super::super::Unit::Line.of(&text);
        let windows = windows(&text, &units, 20);
        let mut next = 0;
        for window in &windows {
            assert_eq!(window.from, next);
            assert!(window.context < window.from || next == 0);
            next = window.until;
        }
        assert_eq!(next, 30);
    }
}
