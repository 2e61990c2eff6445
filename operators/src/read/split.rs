//! Cuts a text into parts of at most so many tokens, without losing any of it.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::value::{ByteRange, Chunk, ChunkId, LineRange, TokenCount};

use super::source::{inner_newlines, newlines};
use crate::sentences::in_prose;
use crate::tokens::Counter;

/// Where a text may be cut, the best places first.
#[derive(Clone, Copy)]
enum Cut {
    Lines,
    Sentences,
    Words,
    Chars,
}

/// A part that is not cut further, and its tokens.
type Atom = (Range<usize>, usize);

/// The chunk in parts of at most `most` tokens each, or a character where that has more. Put together they are its text.
pub(crate) fn split(chunk: &Arc<Chunk>, most: usize, counter: &Counter) -> Vec<Arc<Chunk>> {
    let ranges = ranges(&chunk.text, most, counter);
    match ranges.len() {
        0 | 1 => vec![chunk.clone()],
        _ => ranges.into_iter().filter_map(|range| part(chunk, range)).map(Arc::new).collect(),
    }
}

/// Ranges of at most `most` tokens each that follow one another and cover `text`: cut after lines where that goes, else
/// after sentences, words, characters. Where the last would be less than half of what fits, it shares with the one
/// before.
pub(crate) fn ranges(text: &str, most: usize, counter: &Counter) -> Vec<Range<usize>> {
    let mut atoms = Vec::new();
    cut(text, 0..text.len(), most, counter, Cut::Lines, &mut atoms);
    let mut parts: Vec<Vec<Atom>> = Vec::new();
    let mut room = 0;
    for atom in atoms {
        if let Some(part) = parts.last_mut().filter(|_| atom.1 <= room) {
            room -= atom.1;
            part.push(atom);
        } else {
            room = most.saturating_sub(atom.1);
            parts.push(vec![atom]);
        }
    }
    if let [.., _, last] = parts.as_slice()
        && tokens(last) * 2 < most
    {
        let (last, before) = (parts.pop().unwrap_or_default(), parts.pop().unwrap_or_default());
        parts.extend(halves([before, last].concat(), most));
    }
    let mut ranges = Vec::with_capacity(parts.len());
    for part in parts {
        settle(text, part, most, counter, &mut ranges);
    }
    ranges
}

/// The range of a part, or of its halves where it has more tokens than its atoms have apart.
fn settle(text: &str, mut part: Vec<Atom>, most: usize, counter: &Counter, ranges: &mut Vec<Range<usize>>) {
    let (Some(first), Some(last)) = (part.first(), part.last()) else { return };
    let range = first.0.start..last.0.end;
    if part.len() < 2 || text.get(range.clone()).is_none_or(|part| counter.count(part) <= most) {
        ranges.push(range);
        return;
    }
    let rest = part.split_off(part.len() / 2);
    settle(text, part, most, counter, ranges);
    settle(text, rest, most, counter, ranges);
}

fn tokens(atoms: &[Atom]) -> usize {
    atoms.iter().map(|(_, tokens)| tokens).sum()
}

/// Two parts as even as can be. The first takes the odd atom, if it fits.
fn halves(mut atoms: Vec<Atom>, most: usize) -> [Vec<Atom>; 2] {
    let half = tokens(&atoms).div_ceil(2);
    let (mut sum, mut at) = (0, 0);
    for (_, tokens) in &atoms {
        if sum >= half || sum + tokens > most {
            break;
        }
        sum += tokens;
        at += 1;
    }
    let last = atoms.split_off(at);
    [atoms, last]
}

fn cut(text: &str, range: Range<usize>, most: usize, counter: &Counter, way: Cut, atoms: &mut Vec<Atom>) {
    let Some(part) = text.get(range.clone()) else { return };
    let (ends, finer): (Vec<usize>, _) = match way {
        Cut::Lines => (ends_after(part, |c| c == '\n'), Some(Cut::Sentences)),
        Cut::Sentences => {
            let starts = in_prose(part, &[]).into_iter().map(|sentence| sentence.start).filter(|at| *at > 0);
            (starts.collect(), Some(Cut::Words))
        }
        // A word takes the space before it: most tokenizers have tokens for the two together.
        Cut::Words => (starts_of(part, char::is_whitespace), Some(Cut::Chars)),
        Cut::Chars => (part.char_indices().map(|(at, _)| at).skip(1).collect(), None),
    };
    let mut start = range.start;
    for end in ends.into_iter().map(|end| range.start + end).chain([range.end]) {
        if end <= start {
            continue;
        }
        let tokens = text.get(start..end).map_or(0, |atom| counter.count(atom));
        match finer {
            Some(finer) if tokens > most => cut(text, start..end, most, counter, finer, atoms),
            _ => atoms.push((start..end, tokens)),
        }
        start = end;
    }
}

/// The places behind each run of such characters.
fn ends_after(text: &str, is_end: impl Fn(char) -> bool) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if is_end(c) && chars.peek().is_some_and(|(_, next)| !is_end(*next)) {
            ends.push(at + c.len_utf8());
        }
    }
    ends
}

/// The places before each run of such characters.
fn starts_of(text: &str, is_start: impl Fn(char) -> bool) -> Vec<usize> {
    let mut before = None;
    let mut starts = Vec::new();
    for (at, c) in text.char_indices() {
        if is_start(c) && before.is_some_and(|before| !is_start(before)) {
            starts.push(at);
        }
        before = Some(c);
    }
    starts
}

/// A part of a chunk, with its place where the chunk's own is exact.
fn part(chunk: &Chunk, range: Range<usize>) -> Option<Chunk> {
    let text = chunk.text.get(range.clone())?;
    let is_exact = chunk.range.end.saturating_sub(chunk.range.start) == chunk.text.len() as u64;
    let (place, lines) = if is_exact {
        let start = chunk.range.start + range.start as u64;
        let first = chunk.lines.first.saturating_add(newlines(chunk.text.get(..range.start)?));
        let last = first.saturating_add(inner_newlines(text));
        (ByteRange { start, end: start + text.len() as u64 }, LineRange { first, last })
    } else {
        (chunk.range, chunk.lines)
    };
    let id = if is_exact { ChunkId::new(&chunk.doc, place) } else { chunk.id.clone() };
    let (text, tokens) = (text.into(), TokenCount(0));
    Some(Chunk { id, text, range: place, lines, tokens, ..chunk.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_exact, chunk, document};
    use proptest::prelude::*;

    fn texts(text: &str, most: usize) -> Vec<String> {
        let chunk = chunk("a", text);
        split(&chunk, most, &Counter::default()).iter().map(|part| part.text.to_string()).collect()
    }

    #[test]
    fn lines_are_kept_whole_where_that_goes() {
        assert_eq!(texts("one two\nthree four\nfive six\n", 6), ["one two\nthree four\n", "five six\n"]);
        assert_eq!(texts("one\n\n\ntwo\n", 3), ["one\n\n\n", "two\n"]);
        assert_eq!(texts("one two", 50), ["one two"]);
    }

    #[test]
    fn long_lines_are_cut_after_sentences_words_and_characters() {
        assert_eq!(texts("One two three. Four five six.", 5), ["One two three. ", "Four five six."]);
        assert_eq!(texts("one two three four", 2), ["one two", " three four"]);
        assert_eq!(texts("漢字", 1).concat(), "漢字");
    }

    #[test]
    fn a_short_rest_shares_with_what_stands_before_it() {
        let text = "one\ntwo\nthree\nfour\nfive\n";
        assert_eq!(texts(text, 8), ["one\ntwo\nthree\n", "four\nfive\n"]);
    }

    #[test]
    fn parts_know_where_they_stand() {
        let document = document("a.md", "text", "One two.\nThree four.\n\nFive, six.\nSeven eight.");
        let whole = super::super::source::chunks_of(Some(&document), None, None).unwrap();
        let parts = split(&whole[0], 6, &Counter::default());
        assert!(parts.len() > 2);
        assert_exact(&document, &parts);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_part_is_too_long(text in "[a-z .\n漢é]{0,200}", most in 1..30_usize) {
            let counter = Counter::default();
            let ranges = ranges(&text, most, &counter);
            let joined: String = ranges.iter().map(|range| &text[range.clone()]).collect();
            prop_assert_eq!(&joined, &text);
            for range in ranges {
                let part = &text[range];
                prop_assert!(counter.count(part) <= most || part.chars().count() == 1, "{:?}", part);
            }
        }
    }
}
