//! Cuts that a chat model names: where a window shifts to something else, after which pieces it splits, or how the parts
//! begin. It only points at the text, which is never written anew.

use std::ops::Range;

use anabranch_engine::backend::{self, ChatRequest};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Prompt};
use anabranch_engine::value::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::Semantic;
use crate::ask;
use crate::prompt::Prompts;
use crate::tokens;

/// Repairs of an answer that cannot be used; after them the window is left uncut.
const REPAIRS: u32 = 1;
/// Longest beginning of a part that is looked for, in characters.
const ANCHOR_CHARS_MAX: usize = 80;
/// How much of a beginning may be written in another way: a third.
const ANCHOR_ERRORS: usize = 3;

#[derive(Debug, Deserialize)]
struct Shift {
    id: usize,
}

#[derive(Debug, Deserialize)]
struct SplitAfter {
    split_after: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Parts {
    parts: Vec<String>,
}

impl Semantic {
    /// Cuts where the model says that the content shifts; the next window begins there.
    pub(super) async fn by_shift(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
    ) -> Result<Vec<usize>, OpError> {
        let mut cuts = Vec::new();
        let mut start = 0;
        loop {
            let end = self.window(text, units, start);
            if end >= units.len() || end - start < 2 {
                // What is left fits one window: its last chunk.
                if end >= units.len() {
                    break;
                }
                cuts.push(start);
                start = end;
                continue;
            }
            let schema = json!({
                "type": "object", "additionalProperties": false, "required": ["id"],
                "properties": { "id": { "type": "integer", "minimum": start + 1, "maximum": end - 1 } },
            });
            let check = |said: &Shift| in_window(said.id, start + 1, end - 1);
            let shown = shown(text, units, start..end);
            let prompts = (&self.shift_system, &self.shift_prompt);
            let said: Option<Shift> = self.asked(cx, prompts, shown, &schema, check).await?;
            // What cannot be used cuts at the end of the window.
            let next = said.map_or(end, |said| said.id);
            cuts.push(next - 1);
            start = next;
        }
        Ok(cuts)
    }

    /// Cuts after the units that the model names; the next window begins after the last of them.
    pub(super) async fn by_split(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
    ) -> Result<Vec<usize>, OpError> {
        let mut cuts = Vec::new();
        let mut start = 0;
        while start + 1 < units.len() {
            let end = self.window(text, units, start);
            if end - start < 2 {
                start = end;
                continue;
            }
            let schema = json!({
                "type": "object", "additionalProperties": false, "required": ["split_after"],
                "properties": { "split_after": {
                    "type": "array", "items": { "type": "integer", "minimum": start, "maximum": end - 1 },
                } },
            });
            let check = |said: &SplitAfter| {
                said.split_after.iter().try_for_each(|id| in_window(*id, start, end - 1))?;
                let is_ascending = said.split_after.is_sorted_by(|a, b| a < b);
                if is_ascending { Ok(()) } else { Err("the numbers do not ascend".to_owned()) }
            };
            let shown = shown(text, units, start..end);
            let prompts = (&self.split_system, &self.split_prompt);
            let said: Option<SplitAfter> = self.asked(cx, prompts, shown, &schema, check).await?;
            let mut found = said.map(|said| said.split_after).unwrap_or_default();
            // The end of the window is where it had to stop reading, not where something ends.
            found.retain(|id| end >= units.len() || id + 1 < end);
            start = found.last().map_or(end, |last| last + 1);
            cuts.extend(found);
        }
        cuts.retain(|cut| cut + 1 < units.len());
        Ok(cuts)
    }

    /// Cuts at the beginnings of the parts that the model names, in their order; one that stands nowhere is passed over.
    pub(super) async fn by_anchor(
        &self,
        cx: &Cx,
        text: &str,
        units: &[Range<usize>],
    ) -> Result<Vec<usize>, OpError> {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["parts"],
            "properties": { "parts": { "type": "array", "items": { "type": "string" } } },
        });
        let mut cuts = Vec::new();
        let mut start = 0;
        while start + 1 < units.len() {
            let end = self.window(text, units, start);
            let (Some(first), Some(last)) = (units.get(start), units.get(end - 1)) else { break };
            let within = first.start..last.end;
            let said = text.get(within.clone()).unwrap_or_default();
            let variables = [("text", Value::text(said))];
            let prompts = (&self.anchor_system, &self.anchor_prompt);
            let parts: Option<Parts> =
                self.asked_of(cx, prompts, &variables, said, &schema, |_: &Parts| Ok(())).await?;
            let parts = parts.map(|parts| parts.parts).unwrap_or_default();
            let mut found = Vec::new();
            let mut from = 0;
            for part in &parts {
                let Some(at) = anchor(said, from, part) else { continue };
                from = at + 1;
                // The unit that it begins in: units are never cut here.
                let unit = units.partition_point(|unit| unit.end <= within.start + at);
                if unit > start && unit < end && found.last() != Some(&(unit - 1)) {
                    found.push(unit - 1);
                }
            }
            // The last part may go on in the next window, which begins with it.
            let next = if end < units.len() { found.last().map_or(end, |last| last + 1) } else { end };
            cuts.extend(found);
            start = next;
        }
        Ok(cuts)
    }

    /// One past the last unit that fits a window from `start` on; at least one does.
    fn window(&self, text: &str, units: &[Range<usize>], start: usize) -> usize {
        let mut total = 0;
        let rest = units.iter().skip(start);
        let fitting = rest.take_while(|unit| {
            total += tokens::count(text.get((*unit).clone()).unwrap_or_default());
            total <= self.window_tokens
        });
        (start + fitting.count().max(1)).min(units.len())
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        prompts: (&Prompt, &Prompt),
        (listed, said): (Value, &str),
        schema: &Json,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<Option<T>, OpError> {
        self.asked_of(cx, prompts, &[("units", listed)], said, schema, check).await
    }

    /// What the model says; nothing if that cannot be used, not even when it is told why.
    async fn asked_of<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        (system, prompt): (&Prompt, &Prompt),
        variables: &[(&str, Value)],
        said: &str,
        schema: &Json,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<Option<T>, OpError> {
        let request = ChatRequest {
            temperature: Some(0.0),
            max_tokens: Some(self.max_tokens),
            ..Prompts { system, prompt }.request(cx, variables, [said].into_iter())?
        };
        match ask::json(cx, &self.model, request, schema, REPAIRS, check).await {
            Ok(said) => Ok(Some(said)),
            Err(OpError::Backend(backend::Error::Garbled { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn in_window(id: usize, first: usize, last: usize) -> Result<(), String> {
    if (first..=last).contains(&id) {
        return Ok(());
    }
    Err(format!("{id} is not from {first} to {last}"))
}

/// The units of a window with their numbers, and all that they say.
fn shown<'a>(text: &'a str, units: &[Range<usize>], window: Range<usize>) -> (Value, &'a str) {
    let within = units.get(window.clone()).unwrap_or_default();
    let one = |(id, unit): (usize, &Range<usize>)| {
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        Value::map([
            ("id", Value::Int(id)),
            ("text", Value::text(text.get(unit.clone()).unwrap_or_default())),
        ])
    };
    let listed = Value::list(window.zip(within).map(one));
    let ends = within.first().zip(within.last()).map(|(first, last)| first.start..last.end);
    (listed, ends.and_then(|ends| text.get(ends)).unwrap_or_default())
}

/// Where `part` begins in `text`, from byte `from` on: word for word, or where least of it would have to be changed.
fn anchor(text: &str, from: usize, part: &str) -> Option<usize> {
    let part: String = part.trim().chars().take(ANCHOR_CHARS_MAX).collect();
    let rest = text.get(text.ceil_char_boundary(from)..)?;
    let from = text.len() - rest.len();
    if part.is_empty() {
        return None;
    }
    if let Some(at) = rest.find(&part) {
        return Some(from + at);
    }
    let n_chars = part.chars().count();
    let places: Vec<usize> = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).collect();
    let is_start = |at: usize| !rest.get(..at).is_some_and(|before| before.ends_with(char::is_alphanumeric));
    let distance = |place: usize| {
        let end = places.get(place + n_chars).copied().unwrap_or(rest.len());
        Some(strsim::levenshtein(&part, rest.get(*places.get(place)?..end)?))
    };
    let starts = (0..places.len().saturating_sub(1))
        .filter(|place| places.get(*place).is_some_and(|at| is_start(*at)));
    let (least, place) = starts.filter_map(|place| Some((distance(place)?, place))).min()?;
    let at = places.get(place)?;
    (least <= n_chars / ANCHOR_ERRORS).then_some(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_found_word_for_word_or_nearly_and_only_ahead() {
        let text = "The (heron) nests. The pike waits. The heron eats.";
        assert_eq!(anchor(text, 0, "The (heron)"), Some(0));
        assert_eq!(anchor(text, 1, " The heron eats"), Some(35));
        assert_eq!(anchor(text, 0, "The pyke waited"), Some(19));
        assert_eq!(anchor(text, 24, "The pike waits"), None);
        assert_eq!(anchor(text, 0, "Nothing of the kind at all"), None);
        assert_eq!(anchor(text, 0, " "), None);
        assert_eq!(anchor("aé漢 bcd", 2, "bcd"), Some(7));
    }
}
