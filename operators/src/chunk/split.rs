//! The recursive splitting rule, on byte offsets.

use std::collections::VecDeque;
use std::ops::Range;

use super::length::Length;

/// What is tried, in this order: paragraphs, lines, sentences, words, characters.
pub(crate) const SEPARATORS: [&str; 7] = ["\n\n", "\n", ".", "?", "!", " ", ""];

/// The same for source code, where a full stop ends nothing.
pub(crate) const CODE_SEPARATORS: [&str; 4] = ["\n\n", "\n", " ", ""];

/// The same for JSON.
pub(crate) const JSON_SEPARATORS: [&str; 5] = ["\n\n", "\n", ",", " ", ""];

/// A splitter with its bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splitter {
    /// Longest chunk.
    pub(crate) size: usize,
    /// How much of a chunk the next one repeats, at most.
    pub(crate) overlap: usize,
    /// What lengths count.
    pub(crate) length: Length,
    /// Whether space at both ends of a chunk is left out.
    pub(crate) trim: bool,
}

/// A piece of the text and its length.
#[derive(Debug, Clone)]
struct Piece {
    range: Range<usize>,
    length: usize,
}

impl Splitter {
    /// The chunks of `text[within]`, as ranges of `text`, in order.
    pub(crate) fn split(&self, text: &str, within: Range<usize>, separators: &[&str]) -> Vec<Range<usize>> {
        let mut chunks = Vec::new();
        self.split_with(text, within, separators, &mut chunks);
        chunks
    }

    fn split_with(&self, text: &str, within: Range<usize>, separators: &[&str], out: &mut Vec<Range<usize>>) {
        let part = text.get(within.clone()).unwrap_or_default();
        let found = separators.iter().position(|sep| sep.is_empty() || part.contains(sep));
        let (separator, finer) = match found {
            Some(at) => (
                separators.get(at).copied().unwrap_or_default(),
                separators.get(at + 1..).unwrap_or_default(),
            ),
            None => ("", [].as_slice()),
        };
        let mut small: Vec<Piece> = Vec::new();
        for range in pieces(part, separator) {
            let range = within.start + range.start..within.start + range.end;
            let length = self.length.of(text.get(range.clone()).unwrap_or_default());
            if length < self.size {
                small.push(Piece { range, length });
                continue;
            }
            self.merge(text, &std::mem::take(&mut small), out);
            if finer.is_empty() {
                self.emit(text, &[Piece { range, length }], out);
            } else {
                self.split_with(text, range, finer, out);
            }
        }
        self.merge(text, &small, out);
    }

    /// Joins neighbours as far as they fit; the end of a full chunk begins the next one, as far as `overlap` allows.
    fn merge(&self, text: &str, pieces: &[Piece], out: &mut Vec<Range<usize>>) {
        let mut current: VecDeque<Piece> = VecDeque::new();
        let mut total = 0;
        for piece in pieces {
            if total + piece.length > self.size && !current.is_empty() {
                self.emit(text, current.make_contiguous(), out);
                while total > self.overlap || (total + piece.length > self.size && total > 0) {
                    let Some(first) = current.pop_front() else { break };
                    total -= first.length;
                }
            }
            total += piece.length;
            current.push_back(piece.clone());
        }
        self.emit(text, current.make_contiguous(), out);
    }

    /// Adds the chunk made of `pieces`. Lengths of tokens do not quite add up, so what turns out too long is halved.
    fn emit(&self, text: &str, pieces: &[Piece], out: &mut Vec<Range<usize>>) {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return };
        let range = first.range.start..last.range.end;
        let trimmed = trim(text, range.clone());
        if trimmed.is_empty() {
            return;
        }
        let range = if self.trim { trimmed } else { range };
        if pieces.len() > 1 && self.length.of(text.get(range.clone()).unwrap_or_default()) > self.size {
            let (left, right) = pieces.split_at(pieces.len() / 2);
            self.emit(text, left, out);
            self.emit(text, right, out);
            return;
        }
        // An overlap of space alone makes a chunk that says nothing new, or all that the last one said and more.
        if out.last().is_some_and(|last| range.end <= last.end) {
            return;
        }
        out.pop_if(|last| range.start <= last.start);
        out.push(range);
    }
}

/// `text[range]` without the space at its ends.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = text.get(range.clone()).unwrap_or_default();
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

/// Cuts before each `separator`; an empty one cuts between characters.
fn pieces(part: &str, separator: &str) -> Vec<Range<usize>> {
    let starts: Vec<usize> = if separator.is_empty() {
        part.char_indices().map(|(at, _)| at).collect()
    } else {
        part.match_indices(separator).map(|(at, _)| at).collect()
    };
    let mut from = 0;
    let mut cuts = Vec::with_capacity(starts.len() + 1);
    for at in starts.into_iter().chain([part.len()]) {
        if at > from {
            cuts.push(from..at);
            from = at;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize, overlap: usize) -> Vec<&str> {
        let splitter = Splitter { size, overlap, length: Length::Chars, trim: true };
        splitter.split(text, 0..text.len(), &SEPARATORS).into_iter().map(|range| &text[range]).collect()
    }

    // The expected chunks are what langchain-text-splitters 1.1.3 gives for the same separators and settings.
    #[test]
    fn chunks_are_those_of_langchain() {
        let text = "A flow is a file. It names nodes! Do nodes name edges? They do not.\n\nA loop runs its nodes again\nand \
            again, until it is told to stop.\n\n\nÜberlängenwörterzusammensetzungen sind selten. x.y";
        assert_eq!(
            split(text, 20, 0),
            &[
                "A flow is a file",
                ". It names nodes",
                "! Do nodes name",
                "edges",
                "? They do not",
                ".",
                "A loop runs its",
                "nodes again",
                "and again, until it",
                "is told to stop",
                ".",
                "Überlängenwörterzus",
                "ammensetzungen",
                "sind selten",
                ". x.y"
            ]
        );
        assert_eq!(
            split(text, 24, 8),
            &[
                "A flow is a file",
                ". It names nodes",
                "! Do nodes name edges",
                "? They do not",
                ".",
                "A loop runs its nodes",
                "nodes again",
                "and again, until it is",
                "it is told to stop",
                ".",
                "Überlängenwörterzusamme",
                "rzusammensetzungen",
                "sind selten",
                ". x.y"
            ]
        );
    }

    #[test]
    fn paragraphs_are_kept_whole_where_they_fit() {
        assert_eq!(split("one two\n\nthree four\n\nfive", 12, 0), ["one two", "three four", "five"]);
    }

    #[test]
    fn words_are_merged_up_to_the_size_with_an_overlap() {
        assert_eq!(split("foo bar baz 123", 8, 4), ["foo bar", "bar baz", "baz 123"]);
    }

    #[test]
    fn a_word_that_is_too_long_is_cut_between_characters() {
        assert_eq!(split("ééééé", 2, 0), ["éé", "éé", "é"]);
    }

    #[test]
    fn a_separator_stays_with_what_follows_it() {
        assert_eq!(split("Ab cd. Ef gh. Ij", 7, 0), ["Ab cd", ". Ef gh", ". Ij"]);
    }
}
