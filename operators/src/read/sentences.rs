//! The sentences of a chunk, each with its exact place.

use std::ops::Range;

use anabranch_engine::value::Chunk;

use super::outline::{Block, Kind, blocks};
use crate::sentences::{in_prose, trimmed};

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

/// The sentences of `chunk`, in order.
pub(crate) fn sentences(chunk: &Chunk) -> Vec<Sentence> {
    let mut sentences: Vec<Sentence> = Vec::new();
    for block in blocks(chunk) {
        let ranges = match block.kind {
            Kind::Prose => in_prose(&block.words, &[]),
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
