//! Pieces of a text: cutting those that are too long, joining those that are too short.

use std::ops::Range;

use anabranch_engine::value::Text;

use super::blocks::{Block, Kind};
use super::split::{Splitter, trim};

/// A part of a text that becomes a chunk, or part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    /// Its bytes, without space at the ends.
    pub(crate) range: Range<usize>,
    /// The headings above it.
    pub(crate) path: Vec<Text>,
    /// The header row of the table that it begins within.
    pub(crate) table_header: Option<Text>,
    /// A heading, which must not end a chunk.
    heading: bool,
    /// A table row, which is never cut.
    row: bool,
}

impl Piece {
    /// A piece of prose or code.
    pub(crate) fn new(range: Range<usize>, path: Vec<Text>) -> Self {
        Self { range, path, table_header: None, heading: false, row: false }
    }
}

/// What stands in `text[within]` between the cuts. A cut before `within` counts as at its beginning.
pub(crate) fn between(text: &str, within: &Range<usize>, starts: &[usize], path: &[Text]) -> Vec<Piece> {
    let ends = starts.iter().skip(1).copied().chain([within.end]);
    let starts = std::iter::once(within.start).chain(starts.iter().skip(1).copied());
    let ranges = starts.zip(ends).map(|(start, end)| trim(text, start..end));
    ranges.filter(|range| !range.is_empty()).map(|range| Piece::new(range, path.to_vec())).collect()
}

/// The pieces of Markdown blocks: lists are cut between items, tables between rows, all else stays whole.
pub(crate) fn of_blocks(text: &str, within: &Range<usize>, blocks: &[Block], path: &[Text]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let start = if i == 0 { within.start } else { block.start };
        let end = blocks.get(i + 1).map_or(within.end, |next| next.start);
        let cuts = match &block.kind {
            // The header goes with the first row.
            Kind::Table { rows, .. } => rows.as_slice(),
            Kind::List { items } => items.as_slice(),
            _ => &[],
        };
        let first = pieces.len();
        pieces.extend(between(text, &(start..end), cuts, path));
        for (j, piece) in pieces.iter_mut().skip(first).enumerate() {
            match &block.kind {
                Kind::Heading { .. } => piece.heading = true,
                Kind::Table { header, .. } => {
                    piece.row = true;
                    piece.table_header = (j > 0).then(|| header.clone());
                }
                _ => {}
            }
        }
    }
    pieces
}

/// The pieces of a table whose rows begin at `starts`: the header goes with the first row.
pub(crate) fn of_rows(text: &str, starts: &[usize], header: &str) -> Vec<Piece> {
    let mut pieces = between(text, &(0..text.len()), starts, &[]);
    for (i, piece) in pieces.iter_mut().enumerate() {
        piece.row = true;
        piece.table_header = (i > 0).then(|| header.into());
    }
    pieces
}

/// Cuts the pieces that are too long, but for table rows.
pub(crate) fn cut_long(
    text: &str,
    pieces: Vec<Piece>,
    splitter: Splitter,
    separators: &[&str],
) -> Vec<Piece> {
    let mut cut = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if piece.row || length(text, &piece.range, splitter) <= splitter.size {
            cut.push(piece);
        } else {
            let ranges = splitter.split(text, piece.range, separators);
            cut.extend(ranges.into_iter().map(|range| Piece::new(range, piece.path.clone())));
        }
    }
    cut
}

/// Joins neighbours as long as the first part is shorter than `enough`, `may` allows it and the whole fits.
///
/// The headings of the whole are those that its parts have in common.
pub(crate) fn join(
    text: &str,
    pieces: Vec<Piece>,
    splitter: Splitter,
    enough: usize,
    may: impl Fn(&Piece, &Piece) -> bool,
) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in glue_headings(text, pieces, splitter) {
        if let Some(last) = joined.last_mut() {
            let whole = last.range.start..piece.range.end;
            if may(last, &piece)
                && length(text, &last.range, splitter) < enough
                && length(text, &whole, splitter) <= splitter.size
            {
                last.range = whole;
                let common = last.path.iter().zip(&piece.path).take_while(|(a, b)| a == b).count();
                last.path.truncate(common);
                continue;
            }
        }
        joined.push(piece);
    }
    joined
}

/// Puts every heading together with what follows it, where that fits.
fn glue_headings(text: &str, pieces: Vec<Piece>, splitter: Splitter) -> Vec<Piece> {
    let mut glued: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match glued.last_mut() {
            Some(last)
                if last.heading
                    && last.path == piece.path
                    && length(text, &(last.range.start..piece.range.end), splitter) <= splitter.size =>
            {
                last.range.end = piece.range.end;
                last.heading = piece.heading;
            }
            _ => glued.push(piece),
        }
    }
    glued
}

fn length(text: &str, range: &Range<usize>, splitter: Splitter) -> usize {
    splitter.length.of(text.get(range.clone()).unwrap_or_default())
}
