//! The layout of a prompt: parts that stay the same for long come first, so that servers find them in their prefix cache.
//!
//! A prompt template is cut into segments by lines such as `{# segment: document #}`. Whatever their order in the text,
//! they are rendered from the most stable to the least stable one:
//!
//! ```text
//!   static     the same in every flow: the operator's own words
//!   flow       the same in every run of the flow
//!   document   the same for every call about the same material
//!   item       of this call alone
//! ```

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::expression::Problem;
use super::template::names;
use crate::diagnostic::{Code, suggest};

/// How long a part of a prompt stays the same, the longest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stability {
    /// The same in every flow.
    Static,
    /// The same in every run of the flow.
    Flow,
    /// The same for every call about the same material.
    Document,
    /// Of one call alone.
    Item,
}

impl Stability {
    /// Every one, in the order in which segments are rendered.
    pub const ALL: [Self; 4] = [Self::Static, Self::Flow, Self::Document, Self::Item];

    /// As prompts write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Flow => "flow",
            Self::Document => "document",
            Self::Item => "item",
        }
    }

    /// What a text without marks is, in the setting called `setting`: a system prompt is the flow's, any other the call's.
    pub fn of_setting(setting: &str) -> Self {
        let name = setting.rsplit('/').next().unwrap_or_default();
        if name == "system" || name.ends_with("_system") { Self::Flow } else { Self::Item }
    }
}

/// A part of a prompt template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment<'a> {
    /// How long it stays the same.
    pub stability: Stability,
    /// Its text, without the line that marks it.
    pub text: &'a str,
    /// Where that stands in the prompt.
    pub start: usize,
}

/// The segments of `prompt` in the order in which they are rendered; those of one stability stay in the order of the
/// text. What stands before the first mark is `unmarked`.
pub fn segments(prompt: &str, unmarked: Stability) -> Result<Vec<Segment<'_>>, Vec<Problem>> {
    let (mut segments, mut problems) = (Vec::new(), Vec::new());
    let mut open = Segment { stability: unmarked, text: "", start: 0 };
    let mut at = 0;
    for line in prompt.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        let Some(word) = mark(line) else { continue };
        close(&mut segments, &open, prompt, start);
        let stability = Stability::ALL.into_iter().find(|stability| stability.as_str() == word);
        if stability.is_none() {
            let all = Stability::ALL.map(Stability::as_str);
            let within = line.find(word).unwrap_or_default();
            problems.push(Problem {
                code: Code::TEMPLATE_SYNTAX,
                range: start + within..start + within + word.len(),
                message: format!("there are no segments of the kind `{word}`"),
                hint: suggest(word, all, "there are"),
            });
        }
        open = Segment { stability: stability.unwrap_or(unmarked), text: "", start: end };
    }
    close(&mut segments, &open, prompt, prompt.len());
    if !problems.is_empty() {
        return Err(problems);
    }
    // Stable: segments of one kind keep their order.
    segments.sort_by_key(|segment| segment.stability);
    Ok(segments)
}

/// Ends a segment, unless nothing stands in it.
fn close<'a>(segments: &mut Vec<Segment<'a>>, open: &Segment<'a>, prompt: &'a str, end: usize) {
    let text = prompt.get(open.start..end).unwrap_or_default();
    if !text.trim().is_empty() {
        segments.push(Segment { text, ..open.clone() });
    }
}

/// The kind of segment that a line begins, if it is such a line: `{# segment: document #}`.
fn mark(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix("{#")?.strip_suffix("#}")?;
    let inner = inner.trim_matches('-').trim().strip_prefix("segment:")?;
    Some(inner.trim())
}

/// Names of what is another one at every call, wherever it stands.
const OF_A_CALL: &[&str] = &[
    "attempt",
    "conversation_id",
    "current_date",
    "current_time",
    "guid",
    "job_id",
    "nonce",
    "now",
    "rand",
    "randint",
    "random",
    "request_id",
    "run_id",
    "seed",
    "session_id",
    "span_id",
    "timestamp",
    "today",
    "trace_id",
    "utcnow",
    "uuid",
    "uuid4",
    "uuid7",
];
/// Names of what may belong to a document, and is another one for each.
const OF_A_RECORD: &[&str] = &["date", "datetime", "id", "ids", "time"];
/// Endings of such names.
const OF_A_RECORD_ENDS: &[&str] = &["_at", "_date", "_id", "_ids", "_time", "_uuid"];

/// What an id, a time or a random value in a segment is called, and where, from the start of `text`.
///
/// A template has no functions that give any; what a flow or an operator hands in is known by its name.
pub fn unstable(text: &str, stability: Stability) -> Vec<(String, Range<usize>)> {
    if stability == Stability::Item {
        return Vec::new();
    }
    let is_of_record = |name: &str| {
        OF_A_RECORD.contains(&name) || OF_A_RECORD_ENDS.iter().any(|ending| name.ends_with(ending))
    };
    let changes =
        |name: &str| OF_A_CALL.contains(&name) || (stability < Stability::Document && is_of_record(name));
    names(text)
        .filter(|(name, _)| changes(&name.to_lowercase()))
        .map(|(name, at)| (name.to_owned(), at))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: &str) -> Vec<(&'static str, &str)> {
        let segments = segments(prompt, Stability::Item).unwrap();
        segments.into_iter().map(|segment| (segment.stability.as_str(), segment.text)).collect()
    }

    fn flagged(text: &str, stability: Stability) -> Vec<String> {
        unstable(text, stability).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn segments_come_from_the_most_stable_to_the_least_whatever_their_order() {
        let prompt = "{# segment: item #}\nQ\n{# segment: document #}\nD1\n  {#- segment: static -#}  \nS\n\
                      {# segment: document #}\nD2\n{# segment: flow #}\nF";
        assert_eq!(
            read(prompt),
            [("static", "S\n"), ("flow", "F"), ("document", "D1\n"), ("document", "D2\n"), ("item", "Q\n")]
        );
    }

    #[test]
    fn a_text_without_marks_is_one_segment_and_other_comments_are_no_marks() {
        assert_eq!(
            read("a {# segment: flow #} b\n{# note #}\nc"),
            [("item", "a {# segment: flow #} b\n{# note #}\nc")]
        );
        assert_eq!(read(" \n\n"), []);
        assert_eq!(Stability::of_setting("/system"), Stability::Flow);
        assert_eq!(Stability::of_setting("map_system"), Stability::Flow);
        assert_eq!(Stability::of_setting("/prompt"), Stability::Item);
    }

    #[test]
    fn an_unknown_kind_is_named_with_its_place() {
        let problem = segments("{# segment: documents #}\nx", Stability::Item).unwrap_err().remove(0);
        assert_eq!(problem.range, 12..21);
        assert_eq!(problem.message, "there are no segments of the kind `documents`");
        assert_eq!(problem.hint.unwrap(), "did you mean `document`?");
    }

    #[test]
    fn ids_times_and_randomness_are_found_by_their_names_where_they_are_read() {
        let text = "{{ now() }} {{ chunk.id }} {{ meta.created_at }} {% if run_id %}{{ x | default(seed) }}{% endif %}";
        assert_eq!(flagged(text, Stability::Static), ["now", "id", "created_at", "run_id", "seed"]);
        assert_eq!(
            flagged(text, Stability::Document),
            ["now", "run_id", "seed"],
            "a document has an id of its own"
        );
        assert!(flagged(text, Stability::Item).is_empty());
        let words = "Say the date and the id. {# now #} {{ 'now' }} {{ question | date }} {{ f(id=1) }}";
        assert!(flagged(words, Stability::Flow).is_empty());
    }
}
