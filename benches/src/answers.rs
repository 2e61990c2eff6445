//! Holds an answer against the right ones.

use std::collections::HashSet;

use anabranch_engine::value::Citation;

use crate::data::{Evidence, QueryLine};

/// Lower case, without punctuation and articles.
pub fn normalised(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    let words: Vec<String> = words.filter(|word| !matches!(word.as_str(), "" | "a" | "an" | "the")).collect();
    words.join(" ")
}

fn right_answers(query: &QueryLine) -> impl Iterator<Item = String> {
    query.answers.iter().filter_map(serde_json::Value::as_str).map(normalised)
}

/// Whether `text` has a right answer in it, word for word.
pub fn contains(text: &str, query: &QueryLine) -> bool {
    let text = format!(" {} ", normalised(text));
    right_answers(query).any(|answer| text.contains(&format!(" {answer} ")))
}

/// The share of the words of a right answer that `text` has, of the answer with the highest.
pub fn share_of_words(text: &str, query: &QueryLine) -> f64 {
    let text = normalised(text);
    let has: HashSet<&str> = text.split(' ').collect();
    let share = |answer: String| {
        let words: Vec<&str> = answer.split(' ').collect();
        words.iter().filter(|word| has.contains(*word)).count() as f64 / words.len().max(1) as f64
    };
    right_answers(query).map(share).fold(0.0, f64::max)
}

/// Whether a citation and a place of the evidence share a byte; a document, where only that is known.
pub fn overlap(citation: &Citation, evidence: &Evidence) -> bool {
    let is_in_doc = *citation.doc.0 == *evidence.doc;
    let (Some(start), Some(end)) = (evidence.byte_start, evidence.byte_end) else { return is_in_doc };
    is_in_doc && citation.range.start < end as u64 && (start as u64) < citation.range.end
}
