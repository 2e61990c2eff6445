//! What a model notes of a portion, however it writes that down.

use anabranch_engine::value::{ChunkId, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::ask::{after_thinking, whole_json};
use crate::record::map_record;

/// The highest confidence.
pub(super) const CONFIDENCE_MAX: f64 = 5.0;
/// What a model writes for an answer where there is none, without brackets and in one spelling.
const NOTHING: &str = "no information";

/// What a portion says to the question.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Note {
    /// What a portion says, as near to its words as the model keeps.
    pub(super) extracted: String,
    /// Why that leads to the answer.
    pub(super) rationale: String,
    /// The answer as far as the portion tells.
    pub(super) answer: String,
    /// From 0 to 5.
    pub(super) confidence: f64,
    /// Whether it says anything.
    pub(super) found: bool,
}

/// The fields of a note as the model is asked for them.
pub(super) fn schema() -> Json {
    // What was found comes first and the verdict last, so that a model that writes in this order decides after it.
    json!({
        "type": "object",
        "properties": {
            "extracted": { "type": "string" },
            "rationale": { "type": "string" },
            "answer": { "type": "string" },
            "found": { "type": "boolean" },
            "confidence": { "type": "number", "minimum": 0, "maximum": CONFIDENCE_MAX },
        },
        "required": ["extracted", "rationale", "answer", "found", "confidence"],
        "additionalProperties": false,
    })
}

impl Note {
    /// The note in a model's words: JSON with these fields, else text under headings; `None` if it is neither.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = after_thinking(text);
        let is_note = |json: &Json| json.get("answer").is_some() || json.get("extracted").is_some();
        let note = match whole_json(text).into_iter().find(is_note) {
            Some(json) => Self::of_json(&json),
            None => Self::of_headings(text)?,
        };
        let says = |text: &str| !text.is_empty() && !is_nothing(text);
        let found = note.found && !is_nothing(&note.answer) && (says(&note.answer) || says(&note.extracted));
        Some(Self { found, confidence: note.confidence.clamp(0.0, CONFIDENCE_MAX), ..note })
    }

    fn of_json(json: &Json) -> Self {
        let text = |key: &str| match json.get(key) {
            Some(Json::String(text)) => text.trim().to_owned(),
            None | Some(Json::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        Self {
            extracted: text("extracted"),
            rationale: text("rationale"),
            answer: text("answer"),
            confidence: number(&text("confidence")),
            found: json.get("found").is_none_or(is_yes),
        }
    }

    /// Reads `Extracted Information: …`, `## Answer`, `**Confidence:** 4.5` and the like.
    pub(super) fn of_headings(text: &str) -> Option<Self> {
        let mut note = Self { found: true, ..Self::default() };
        let mut confidence = String::new();
        let mut current: Option<Field> = None;
        let mut has_answer = false;
        for line in text.lines() {
            let (field, rest) = match heading(line) {
                Some((field, rest)) => (field, rest),
                None => match current {
                    Some(field) => (field, line.trim()),
                    None => continue,
                },
            };
            current = Some(field);
            has_answer |= matches!(field, Field::Answer | Field::Extracted);
            let into = match field {
                Field::Extracted => &mut note.extracted,
                Field::Rationale => &mut note.rationale,
                Field::Answer => &mut note.answer,
                Field::Confidence => &mut confidence,
            };
            if !into.is_empty() && !rest.is_empty() {
                into.push('\n');
            }
            into.push_str(rest);
        }
        note.confidence = number(&confidence);
        has_answer.then_some(note)
    }

    /// The note as prompts show it.
    pub(super) fn value(&self) -> Value {
        Value::map([
            ("extracted", Value::text(self.extracted.as_str())),
            ("rationale", Value::text(self.rationale.as_str())),
            ("answer", Value::text(self.answer.as_str())),
            ("confidence", Value::Float(self.confidence)),
        ])
    }

    /// Every text of it that a prompt shows.
    pub(super) fn texts(&self) -> [&str; 3] {
        [&self.extracted, &self.rationale, &self.answer]
    }
}

#[derive(Clone, Copy)]
enum Field {
    Extracted,
    Rationale,
    Answer,
    Confidence,
}

/// The field that a line is the heading of, and what stands behind it.
fn heading(line: &str) -> Option<(Field, &str)> {
    const NAMES: [(&str, Field); 7] = [
        ("extracted information", Field::Extracted),
        ("extracted", Field::Extracted),
        ("rationale", Field::Rationale),
        ("reasoning", Field::Rationale),
        ("answer", Field::Answer),
        ("confidence score", Field::Confidence),
        ("confidence", Field::Confidence),
    ];
    let is_mark = |c: char| c.is_whitespace() || matches!(c, '#' | '*' | '_' | '-' | '>' | '•');
    let bare = line.trim_start_matches(is_mark);
    let bare = bare
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start_matches(['.', ')'])
        .trim_start_matches(is_mark);
    let is_titled = line.trim_start().starts_with(['#', '*']);
    for (name, field) in NAMES {
        let Some(start) = bare.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let rest = bare.get(start.len()..)?.trim_start_matches(['*', '_', ' ']);
        if let Some(rest) = rest.strip_prefix(':') {
            return Some((field, rest.trim_matches(|c: char| c.is_whitespace() || c == '*')));
        }
        // `## Answer` has no colon; a sentence that begins with `Answer` is no heading.
        if rest.trim().is_empty() && is_titled {
            return Some((field, ""));
        }
    }
    None
}

/// Whether a text says that there is nothing, in so many words and no others.
fn is_nothing(text: &str) -> bool {
    let bare = text.trim().trim_matches(['[', ']', '.', '"', '*']).replace('_', " ");
    bare.eq_ignore_ascii_case(NOTHING)
}

/// Whether a verdict is one for: servers that take no schema get it in words and numbers, too.
fn is_yes(verdict: &Json) -> bool {
    match verdict {
        Json::Bool(is_yes) => *is_yes,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(word) => {
            !matches!(word.trim().to_lowercase().as_str(), "false" | "no" | "0" | "none" | "")
        }
        _ => true,
    }
}

/// The first number in a text: `4.5`, `4/5`, `about 3`; 0 without one.
fn number(text: &str) -> f64 {
    let start = text.find(|c: char| c.is_ascii_digit());
    let digits = start.and_then(|start| text.get(start..)).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    digits.get(..end).unwrap_or_default().trim_end_matches('.').parse().unwrap_or(0.0)
}

/// What a portion said, as the operator gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Which portion, from 0.
    pub portion: usize,
    /// The chunks in it, or the parts of them.
    pub chunk_ids: Vec<ChunkId>,
    /// What it says, as near to its words as the model kept.
    pub extracted: String,
    /// Why that leads to the answer.
    pub rationale: String,
    /// The answer as far as the portion tells.
    pub answer: String,
    /// How sure that is, from 0 to 5.
    pub confidence: f64,
}

/// A portion that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Which portion, from 0.
    pub portion: usize,
    /// Why.
    pub error: String,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Portions that the text makes.
    pub portions: usize,
    /// Portions that counted: fewer with `early_exit`.
    pub map_calls: usize,
    /// Portions that said nothing.
    pub dropped: usize,
    /// Portions that could not be read.
    pub failed: Vec<Failed>,
    /// Rounds in which groups of notes were made into one.
    pub collapse_rounds: usize,
    /// Groups of all rounds.
    pub collapse_calls: usize,
    /// Groups that stayed as they were, since the answer could not be read.
    #[serde(default)]
    pub collapse_failed: usize,
    /// Notes that were left out for want of room, or by `keep_at_most`.
    pub left_out: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// How the notes came to fit: `fits`, `collapsed`, `collapse_stalled` or `max_collapse_rounds`; `no_information`
    /// where there were none.
    pub stop: Stop,
}

/// A part of the way from the text to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Names it in the tree.
    pub id: usize,
    /// What it went into: a collapse, or the answer.
    pub parent: Option<usize>,
    /// `answer`, `collapse` or `portion`.
    pub kind: Kind,
    /// What it says, in short.
    pub label: String,
    /// How sure that is, from 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f64>,
    /// Whether it did not go into the answer.
    pub dropped: bool,
}

/// What a part of the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The answer.
    Answer,
    /// A note made of several.
    Collapse,
    /// A portion of the text.
    Portion,
}

/// How the notes came to fit one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// There were none.
    #[default]
    NoInformation,
    /// They fitted.
    Fits,
    /// They were made fewer.
    Collapsed,
    /// A round made nothing shorter, and some were left out.
    CollapseStalled,
    /// The rounds ran out, and some were left out.
    MaxCollapseRounds,
}

map_record!(Branch, Evidence, Stats);

#[cfg(test)]
mod tests {
    use super::*;

    fn note(extracted: &str, answer: &str, confidence: f64) -> Note {
        Note {
            extracted: extracted.to_owned(),
            rationale: "It says so.".to_owned(),
            answer: answer.to_owned(),
            confidence,
            found: true,
        }
    }

    #[test]
    fn json_is_read_wherever_it_stands() {
        let json = json!({
            "extracted": "Born 1775.", "rationale": "It says so.", "answer": "1775", "found": true, "confidence": 5,
        });
        let expected = Some(note("Born 1775.", "1775", 5.0));
        for text in [json.to_string(), format!("<think>[1]</think>Here:\n```json\n{json}\n```")] {
            assert_eq!(Note::read(&text), expected, "{text}");
        }
    }

    #[test]
    fn headings_are_read_however_they_are_written() {
        for text in [
            "Extracted Information: Born 1775.\nRationale: It says so.\nAnswer: 1775\nConfidence Score: 4.5",
            "## Extracted Information\nBorn 1775.\n\n## Rationale\nIt says so.\n\n## Answer\n1775\n\n## Confidence\n4.5 of 5",
            "**Extracted information:** Born 1775.\n**Rationale**: It says so.\n**Answer:** 1775\n**Confidence:** 4.5/5",
            "1. Extracted: Born 1775.\n2. Reasoning: It says so.\n3. Answer: 1775\n4. Confidence: 4.5.",
        ] {
            assert_eq!(Note::read(text), Some(note("Born 1775.", "1775", 4.5)), "{text}");
        }
        let several = Note::read("Extracted: one\ntwo\nAnswer: a\nAnswer this too.").unwrap();
        assert_eq!(
            (several.extracted.as_str(), several.answer.as_str()),
            ("one\ntwo", "a\nAnswer this too.")
        );
    }

    #[test]
    fn what_says_nothing_is_found_out_by_its_field_and_not_by_a_word_in_it() {
        for nothing in [
            r#"{"answer": "", "extracted": "", "found": false, "confidence": 3}"#,
            r#"{"answer": "1775", "extracted": "x", "found": false}"#,
            r#"{"answer": "1775", "extracted": "x", "found": "False"}"#,
            r#"{"answer": "1775", "extracted": "x", "found": 0}"#,
            r#"{"answer": "[NO INFORMATION]", "extracted": "something"}"#,
            r#"{"answer": "NO_INFORMATION", "found": true}"#,
            r#"{"answer": "", "extracted": " "}"#,
            "Answer: [NO INFORMATION]\nConfidence: 5",
        ] {
            assert!(!Note::read(nothing).unwrap().found, "{nothing}");
        }
        let quoted = r#"{"answer": "The form says NO INFORMATION.", "extracted": ""}"#;
        assert!(Note::read(quoted).unwrap().found);
    }

    #[test]
    fn confidence_is_brought_into_its_range_and_read_as_text_too() {
        let of = |json: Json| Note::read(&json.to_string()).unwrap().confidence.to_string();
        assert_eq!(of(json!({"answer": "a", "confidence": 9})), "5");
        assert_eq!(of(json!({"answer": "a", "confidence": "4/5"})), "4");
        assert_eq!(of(json!({"answer": "a"})), "0");
        assert_eq!(of(json!({"answer": "a", "confidence": "none"})), "0");
    }

    #[test]
    fn words_that_are_neither_are_no_note() {
        for text in ["", "I do not know.", "[1, 2]", "{\"note\": 1}", "Answering is hard."] {
            assert_eq!(Note::read(text), None, "{text}");
        }
    }
}
