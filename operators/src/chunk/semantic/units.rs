//! The smallest parts that are never cut, and how cuts between them become ranges of text.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chunk::length::Length;
use crate::chunk::place::line_starts;
use crate::chunk::plain::paragraphs;
use crate::chunk::split::{SEPARATORS, Splitter, trim};
use crate::{sentences, tokens};

/// Tokens of a piece.
const PIECE_TOKENS: usize = 50;

/// What is kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Sentences.
    #[default]
    Sentence,
    /// What stands between blank lines.
    Paragraph,
    /// Lines.
    Line,
    /// About fifty tokens, cut at paragraphs, lines, sentences and words.
    Piece,
}

impl Unit {
    /// The units of `text`, in order, without the space between them.
    pub(super) fn of(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Sentence => between(text, &paragraphs(text))
                .flat_map(|paragraph| {
                    let words = text.get(paragraph.clone()).unwrap_or_default();
                    let within = sentences::in_prose(words, &[]).into_iter();
                    within.map(move |found| paragraph.start + found.start..paragraph.start + found.end)
                })
                .collect(),
            Self::Paragraph => between(text, &paragraphs(text)).collect(),
            Self::Line => between(text, &line_starts(text)).collect(),
            Self::Piece => pieces(PIECE_TOKENS).split(text, 0..text.len(), &SEPARATORS),
        }
    }
}

fn pieces(size: usize) -> Splitter {
    Splitter { size, overlap: 0, length: Length::Tokens, trim: true }
}

/// What stands between the starts, without space at the ends.
fn between<'a>(text: &'a str, starts: &'a [usize]) -> impl Iterator<Item = Range<usize>> + 'a {
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let ranges = starts.iter().copied().zip(ends).map(|(start, end)| trim(text, start..end));
    ranges.filter(|range| !range.is_empty())
}

/// How long chunks may be, in tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Shorter ones go on across a cut.
    pub(super) min: usize,
    /// Longer ones are cut again.
    pub(super) max: usize,
    /// Neighbours are joined up to this.
    pub(super) merge: usize,
}

/// The chunks of `text`: its units, cut after each place of `cuts`.
pub(super) fn chunks(text: &str, units: &[Range<usize>], cuts: &[usize], sizes: Sizes) -> Vec<Range<usize>> {
    let tokens = |range: &Range<usize>| tokens::count(text.get(range.clone()).unwrap_or_default());
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut is_cut = true;
    for (at, unit) in units.iter().enumerate() {
        match groups.last_mut() {
            Some(last) if !is_cut || tokens(last) < sizes.min => last.end = unit.end,
            _ => groups.push(unit.clone()),
        }
        is_cut = cuts.binary_search(&at).is_ok();
    }
    let mut joined: Vec<Range<usize>> = Vec::new();
    for group in groups {
        match joined.last_mut() {
            Some(last) if tokens(&(last.start..group.end)) <= sizes.merge => last.end = group.end,
            _ => joined.push(group),
        }
    }
    // Where a chunk is too long, it is cut between units as long as that helps.
    let splitter = pieces(sizes.max);
    let mut found = Vec::new();
    for whole in joined {
        if tokens(&whole) <= sizes.max {
            found.push(whole);
        } else {
            found.extend(splitter.split(text, whole, &SEPARATORS));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unit: Unit, text: &str) -> Vec<&str> {
        unit.of(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn units_are_sentences_paragraphs_lines_or_pieces() {
        let text = "One is. Two are.\nStill two?\n\n Three.\n";
        assert_eq!(of(Unit::Sentence, text), ["One is.", "Two are.", "Still two?", "Three."]);
        assert_eq!(of(Unit::Paragraph, text), ["One is. Two are.\nStill two?", "Three."]);
        assert_eq!(of(Unit::Line, text), ["One is. Two are.", "Still two?", "Three."]);
        assert_eq!(of(Unit::Piece, text), [text.trim()]);
        assert!(of(Unit::Piece, &"word ".repeat(200)).len() >= 4);
        assert!(of(Unit::Sentence, " \n").is_empty());
    }

    #[test]
    fn short_chunks_go_on_long_ones_are_cut_and_neighbours_are_joined() {
        let text = "a b c d\ne f g h\ni j k l\n";
        let units = Unit::Line.of(text);
        let cut = |min, max, merge| -> Vec<&str> {
            let sizes = Sizes { min, max, merge };
            chunks(text, &units, &[0, 1], sizes).into_iter().map(|range| &text[range]).collect()
        };
        assert_eq!(cut(0, 100, 0), ["a b c d", "e f g h", "i j k l"]);
        assert_eq!(cut(5, 100, 0), ["a b c d\ne f g h", "i j k l"]);
        assert_eq!(cut(0, 100, 100), [text.trim()]);
        assert_eq!(cut(0, 2, 0), ["a b", "c d", "e f", "g h", "i j", "k l"]);
    }
}
