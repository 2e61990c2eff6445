//! Where sentences begin and end.

use std::ops::Range;

use icu_segmenter::SentenceSegmenter;
use icu_segmenter::options::SentenceBreakInvariantOptions;

/// What ends with a full stop without ending a sentence.
const ABBREVIATIONS: &[&str] = &[
    "e.g.", "i.e.", "etc.", "cf.", "vs.", "approx.", "resp.", "al.", "no.", "nr.", "fig.", "sec.", "eq.",
    "ch.", "vol.", "pp.", "p.", "dr.", "mr.", "mrs.", "ms.", "prof.", "st.", "jr.", "inc.", "ltd.", "co.",
    "corp.", "art.",
];

/// The sentences of a paragraph, without the space around them. `abbreviations` (in lower case, with their full stop)
/// end no sentence, beside those that are known anyway.
pub(crate) fn in_prose(words: &str, abbreviations: &[String]) -> Vec<Range<usize>> {
    let segmenter = SentenceSegmenter::new(SentenceBreakInvariantOptions::default());
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in segmenter.segment_str(&with_capitals(words)).skip(1) {
        if end < words.len() && goes_on(words, start..end, abbreviations) {
            continue;
        }
        ranges.extend(trimmed(words, start..end));
        start = end;
    }
    ranges
}

/// The words with a capital after every backtick: by the rules of Unicode no sentence begins with a small letter, but
/// many begin with a name in code.
fn with_capitals(words: &str) -> String {
    let mut before = ' ';
    let capital = |c: char| {
        let after_tick = std::mem::replace(&mut before, c) == '`';
        if after_tick { c.to_ascii_uppercase() } else { c }
    };
    words.chars().map(capital).collect()
}

/// Whether the sentence does not end here: within code, after an abbreviation or initial, where only a line ended.
fn goes_on(words: &str, range: Range<usize>, abbreviations: &[String]) -> bool {
    let after = words.get(range.end..).unwrap_or_default();
    let before = words.get(range).unwrap_or_default();
    if before.ends_with('\n') && !before.trim_end().ends_with(ends_line) && !begins_turn(after) {
        return true;
    }
    if before.matches('`').count() % 2 == 1 {
        return true;
    }
    let Some(last) = before.split_whitespace().next_back() else { return true };
    let last = last.trim_start_matches(['(', '[', '"', '\'']);
    let initial = last.len() == 2 && last.ends_with('.') && last.starts_with(char::is_uppercase);
    let last = last.to_lowercase();
    initial || ABBREVIATIONS.contains(&last.as_str()) || abbreviations.contains(&last)
}

/// Whether a line that ends with it is not continued on the next: stops, and signs such as those for a smile.
fn ends_line(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | ':' | '。' | '！' | '？' | '\u{2600}'..='\u{27bf}' | '\u{1f300}'..='\u{1faff}' | '\u{fe0f}')
}

/// Whether a line begins with the name of who speaks, as in `Ada: Hello`.
fn begins_turn(line: &str) -> bool {
    let name = line.split_whitespace().next().and_then(|word| word.strip_suffix(':'));
    name.is_some_and(|name| name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric))
}

/// The range without the space at its ends; `None` if nothing is left.
pub(crate) fn trimmed(words: &str, range: Range<usize>) -> Option<Range<usize>> {
    let part = words.get(range.clone())?;
    let start = range.start + (part.len() - part.trim_start().len());
    let end = start + part.trim().len();
    (start < end).then_some(start..end)
}
