//! Tells which bytes of a page each piece of its text comes from.

use html5gum::{Token, Tokenizer};

/// A piece of text and its place in the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// The text.
    pub(super) text: std::borrow::Cow<'a, str>,
    /// Where it begins in the page; `None` if that cannot be told.
    pub(super) start: Option<usize>,
    /// Whether the page has the same bytes there; else it has a character reference.
    pub(super) is_verbatim: bool,
}

/// The longest name of a character reference, `&CounterClockwiseContourIntegral;`, with room for padded numbers.
const REFERENCE_BYTES_MAX: usize = 64;

/// Splits the text `value`, which the page has at `start..end`, into pieces that are there as they are and pieces
/// that are written as character references.
pub(super) fn pieces<'a>(source: &'a str, start: usize, end: usize, value: &'a [u8]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    if let Some(raw) = source.get(start..end) {
        let mut rest = raw;
        let mut at = start;
        while let Some(before) = rest.find('&') {
            let (literal, from_mark) = rest.split_at(before);
            push_literal(&mut pieces, literal, at);
            let reference_len = reference_len(from_mark);
            let (reference, after) = from_mark.split_at(reference_len);
            push_reference(&mut pieces, reference, at + before);
            at += before + reference_len;
            rest = after;
        }
        push_literal(&mut pieces, rest, at);
    }
    // The tokenizer is right about the text; should its span ever be off, the place is what is given up.
    let is_whole = {
        let mut joined = pieces.iter().flat_map(|piece: &Piece<'_>| piece.text.bytes());
        value.iter().all(|byte| joined.next() == Some(*byte)) && joined.next().is_none()
    };
    if !is_whole {
        let text = String::from_utf8_lossy(value);
        return vec![Piece { text, start: None, is_verbatim: false }];
    }
    pieces
}

/// Text as it stands, but for line ends, which HTML reads as `\n`.
fn push_literal<'a>(pieces: &mut Vec<Piece<'a>>, literal: &'a str, at: usize) {
    let mut start = 0;
    let bytes = literal.as_bytes();
    for (n, byte) in bytes.iter().enumerate() {
        if *byte == b'\r' {
            push_verbatim(pieces, literal.get(start..n).unwrap_or_default(), at + start);
            if bytes.get(n + 1) != Some(&b'\n') {
                pieces.push(Piece { text: "\n".into(), start: Some(at + n), is_verbatim: false });
            }
            start = n + 1;
        }
    }
    push_verbatim(pieces, literal.get(start..).unwrap_or_default(), at + start);
}

fn push_verbatim<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str, start: usize) {
    if !text.is_empty() {
        pieces.push(Piece { text: text.into(), start: Some(start), is_verbatim: true });
    }
}

/// How much of the text, which begins with `&`, can belong to a character reference.
fn reference_len(text: &str) -> usize {
    let name = text.bytes().skip(1).take(REFERENCE_BYTES_MAX);
    let name_len = name.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'#').count();
    let with_mark = 1 + name_len;
    with_mark + usize::from(text.as_bytes().get(with_mark) == Some(&b';'))
}

/// `&amp;`, or an `&` that means itself, or `&copy2020`, which is a reference and four digits.
fn push_reference<'a>(pieces: &mut Vec<Piece<'a>>, raw: &'a str, at: usize) {
    let mut decoded = String::new();
    for Ok(token) in Tokenizer::new(raw) {
        if let Token::String(text) = token {
            decoded.push_str(&String::from_utf8_lossy(&text.value.0));
        }
    }
    if decoded == raw {
        return push_verbatim(pieces, raw, at);
    }
    // What both end with stands as it is; a reference gives at least one character.
    let same = raw.bytes().rev().zip(decoded.bytes().rev()).take_while(|(a, b)| a == b).count();
    let first_len = decoded.chars().next().map_or(0, char::len_utf8);
    let tail_len = same.min(decoded.len().saturating_sub(first_len)).min(raw.len().saturating_sub(1));
    let cut = raw.len() - tail_len;
    match (decoded.get(..decoded.len() - tail_len), raw.get(cut..)) {
        (Some(head), Some(tail)) => {
            // The few that are longer than what they are written as would reach into the text behind them.
            let start = (head.len() <= cut).then_some(at);
            pieces.push(Piece { text: head.to_owned().into(), start, is_verbatim: false });
            push_verbatim(pieces, tail, at + cut);
        }
        _ => pieces.push(Piece { text: decoded.into(), start: None, is_verbatim: false }),
    }
}
