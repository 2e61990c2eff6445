//! Results in words: for models that read the text of a result, not its structure.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::api::openai::answer::{Answer, Gives};

/// What a flow gave: its answer with the places that it cites, or its outputs as JSON if none of them is an answer.
pub(super) fn of_flow(
    gives: Option<&Gives>,
    outputs: &Map<String, Json>,
    absent: &Map<String, Json>,
) -> String {
    match gives.map(|gives| gives.answer(outputs, absent)) {
        Some(answer) if answer.absent.is_none() => of_answer(&answer),
        _ => {
            let mut text = serde_json::to_string_pretty(outputs).unwrap_or_default();
            for (name, why) in absent {
                write!(text, "\nThere is no `{name}`: {why}").ok();
            }
            text
        }
    }
}

fn of_answer(answer: &Answer) -> String {
    let mut text = answer.text.clone();
    if !answer.citations.is_empty() {
        text.push_str("\n\nSources:");
    }
    for (index, citation) in answer.citations.iter().enumerate() {
        let lines = citation.lines;
        write!(text, "\n[{}] {}:{}-{}", index + 1, citation.doc, lines.first, lines.last).ok();
    }
    text
}

/// What a search found: each chunk with its place.
pub(super) fn of_chunks(chunks: &[Json]) -> String {
    let mut text = String::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let said = |pointer: &str| chunk.pointer(pointer).cloned().unwrap_or_default();
        let words = |pointer: &str| said(pointer).as_str().unwrap_or_default().to_owned();
        let (doc, first, last) = (words("/doc"), said("/lines/first"), said("/lines/last"));
        writeln!(text, "[{}] {doc}:{first}-{last}\n{}\n", index + 1, words("/text")).ok();
    }
    if text.is_empty() { "Nothing was found.".to_owned() } else { text.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::openai::tests::flow;

    #[test]
    fn an_answer_is_told_with_its_sources() {
        let gives = Gives::of(&flow("{ question: text }", "{ answer: answer.answer }")).unwrap();
        let citation = json!({ "chunk_id": "a.md#0-9", "doc": "a.md", "range": { "start": 0, "end": 9 },
                               "lines": { "first": 3, "last": 4 }, "quote": null });
        let outputs = json!({ "answer": { "text": "Six [1].", "citations": [citation] } });
        let told = of_flow(Some(&gives), outputs.as_object().unwrap(), &Map::new());
        assert_eq!(told, "Six [1].\n\nSources:\n[1] a.md:3-4");
    }

    #[test]
    fn what_is_no_answer_is_told_as_json_and_what_is_absent_with_the_reason() {
        let absent = json!({ "answer": "skipped" });
        let told = of_flow(None, json!({ "n": 3 }).as_object().unwrap(), absent.as_object().unwrap());
        assert_eq!(told, "{\n  \"n\": 3\n}\nThere is no `answer`: \"skipped\"");
        assert_eq!(of_chunks(&[]), "Nothing was found.");
    }
}
