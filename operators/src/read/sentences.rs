//! The sentences of a chunk, each with its exact place.

use std::ops::Range;

use anabranch_engine::value::Chunk;
use icu_segmenter::SentenceSegmenter;
use icu_segmenter::options::SentenceBreakInvariantOptions;

use super::outline::{Block, Kind, blocks};

/// A sentence of a chunk, or what stands for one: a table row, a line of code, a heading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sentence {
    /// What it stands in.
    pub(crate) kind: Kind,
    /// Its words on one line, without markup.
    pub(crate) words: String,
    /// Its bytes in the chunk's text.
    pub(crate) range: Range<usize>,
    /// Whether it begins its block.
    pub(crate) begins_block: bool,
}

/// What ends with a full stop without ending a sentence.
const ABBREVIATIONS: &[&str] = &[
    "e.g.", "i.e.", "etc.", "cf.", "vs.", "approx.", "resp.", "al.", "no.", "nr.", "fig.", "sec.", "eq.",
    "ch.", "vol.", "pp.", "p.", "dr.", "mr.", "mrs.", "ms.", "prof.", "st.", "jr.", "inc.", "ltd.", "co.",
    "corp.", "art.",
];

/// The sentences of `chunk`, in order.
pub(crate) fn sentences(chunk: &Chunk) -> Vec<Sentence> {
    let mut sentences: Vec<Sentence> = Vec::new();
    for block in blocks(chunk) {
        let ranges = match block.kind {
            Kind::Prose => in_prose(&block.words),
            Kind::Heading | Kind::Row => whole(&block.words),
            Kind::Code => in_lines(&block.words),
        };
        for (i, range) in ranges.into_iter().enumerate() {
            let next = sentence(&block, &range, i == 0);
            match sentences.last_mut() {
                Some(before) if i == 0 && announces(before, &next) => {
                    before.words = format!("{} {}", before.words, next.words);
                    before.range.end = next.range.end;
                }
                _ => sentences.push(next),
            }
        }
    }
    sentences
}

/// Whether `next` is the code that a sentence such as "Run this:" speaks of.
fn announces(before: &Sentence, next: &Sentence) -> bool {
    before.kind == Kind::Prose && next.kind == Kind::Code && before.words.ends_with(':')
}

fn sentence(block: &Block, range: &Range<usize>, begins_block: bool) -> Sentence {
    let words = block.words.get(range.clone()).unwrap_or_default();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = match block.kind {
        Kind::Code => format!("`{words}`"),
        Kind::Row | Kind::Heading => words.trim_matches([' ', '|']).to_owned(),
        Kind::Prose => words,
    };
    Sentence { kind: block.kind, words, range: block.place(range), begins_block }
}

fn whole(words: &str) -> Vec<Range<usize>> {
    trimmed(words, 0..words.len()).into_iter().collect()
}

fn in_lines(words: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let lines = words.split_inclusive('\n').filter_map(|line| {
        at += line.len();
        trimmed(words, at - line.len()..at)
    });
    lines.collect()
}

fn in_prose(words: &str) -> Vec<Range<usize>> {
    let segmenter = SentenceSegmenter::new(SentenceBreakInvariantOptions::default());
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in segmenter.segment_str(&with_capitals(words)).skip(1) {
        if end < words.len() && goes_on(words, start..end) {
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
fn goes_on(words: &str, range: Range<usize>) -> bool {
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
    initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
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

fn trimmed(words: &str, range: Range<usize>) -> Option<Range<usize>> {
    let part = words.get(range.clone())?;
    let start = range.start + (part.len() - part.trim_start().len());
    let end = start + part.trim().len();
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chunk;

    fn quotes(text: &str) -> Vec<(String, String)> {
        let chunk = chunk("a.md", text);
        sentences(&chunk).into_iter().map(|s| (s.words, chunk.text[s.range].to_owned())).collect()
    }

    #[test]
    fn a_sentence_goes_over_lines_and_keeps_its_place() {
        let got = quotes("One two\nthree. `four` is, e.g. Five, *six*.\n");
        assert_eq!(
            got,
            [
                ("One two three.".to_owned(), "One two\nthree.".to_owned()),
                ("`four` is, e.g. Five, six.".to_owned(), "`four` is, e.g. Five, *six*.".to_owned()),
            ]
        );
    }

    #[test]
    fn code_within_a_sentence_is_not_cut() {
        let got = quotes("Use `==`, `!=`, `! Not`. Then `a? B` too.\n");
        let words: Vec<&str> = got.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(words, ["Use `==`, `!=`, `! Not`.", "Then `a? B` too."]);
    }

    #[test]
    fn plain_text_is_not_cut_at_the_ends_of_lines() {
        let mut chunk = Chunk::clone(&chunk("a.txt", "Mr. Smith went\nHome. He slept.\n\n# not a heading\n"));
        chunk.meta.insert("kind".to_owned(), "text".into());
        let got: Vec<String> = sentences(&chunk).into_iter().map(|s| s.words).collect();
        assert_eq!(got, ["Mr. Smith went Home.", "He slept.", "# not a heading"]);
    }

    #[test]
    fn what_somebody_says_begins_a_sentence() {
        let mut chunk = Chunk::clone(&chunk("a.txt", "Ada: See you on\nFriday 🎉\nwith all\nBen: Fine\n"));
        chunk.meta.insert("kind".to_owned(), "text".into());
        let got: Vec<String> = sentences(&chunk).into_iter().map(|s| s.words).collect();
        assert_eq!(got, ["Ada: See you on Friday 🎉", "with all", "Ben: Fine"]);
    }

    #[test]
    fn the_code_that_a_sentence_announces_belongs_to_it() {
        let got = quotes("Run this:\n\n```sh\nmake\nmake test\n```\n");
        let words: Vec<&str> = got.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(words, ["Run this: `make`", "`make test`"]);
    }

    #[test]
    fn a_row_and_a_line_of_code_stand_for_a_sentence() {
        let got = quotes("|a|b|\n|-|-|\n|1|2|\n\n```\nx = 1\ny = 2\n```\n");
        let words: Vec<&str> = got.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(words, ["a | b", "1 | 2", "`x = 1`", "`y = 2`"]);
    }
}
