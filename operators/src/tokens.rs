//! Counts tokens: as a model does whose tokenizer is known, else as `cl100k_base` does.

use std::sync::Arc;

use anabranch_engine::backend::ChatModel;
use anabranch_engine::cx::{Cx, Model};
use anabranch_engine::operator::{ModelName, OpError};
use anabranch_engine::value::{Chunk, TokenCount};

/// Longest run of space, or of anything else, that the tokenizer gets to see whole.
///
/// The tokenizer's work grows with the square of such a run, and its regular expression gives up on a long one, so
/// longer runs are counted in pieces: at worst a token too many for every piece.
const MAX_RUN_BYTES: usize = 512;

/// Number of tokens of `text`. The token table is built when it is first needed (tens of milliseconds).
pub fn count(text: &str) -> usize {
    let table = tiktoken_rs::cl100k_base_singleton();
    parts(text).map(|part| table.count_ordinary(part)).sum()
}

/// Where each token of `text` ends, in bytes; a token can end within a character.
pub fn ends(text: &str) -> Vec<usize> {
    let table = tiktoken_rs::cl100k_base_singleton();
    let mut at = 0;
    let tokens = parts(text).flat_map(|part| table.encode_ordinary(part));
    tokens
        .map(|token| {
            at += table.decode_bytes(&[token]).map_or(0, |bytes| bytes.len());
            at
        })
        .collect()
}

/// The text in pieces that the tokenizer can stand.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut start, mut run_start, mut run_kind) = (0, 0, None);
    let mut cuts = Vec::new();
    for (at, c) in text.char_indices() {
        let kind = c.is_whitespace();
        if run_kind != Some(kind) {
            (run_start, run_kind) = (at, Some(kind));
        } else if at - run_start >= MAX_RUN_BYTES {
            cuts.push(start..at);
            (start, run_start) = (at, at);
        }
    }
    cuts.push(start..text.len());
    cuts.into_iter().filter_map(|cut| text.get(cut))
}

/// [`count`] as the type that records use.
pub fn token_count(text: &str) -> TokenCount {
    TokenCount(u32::try_from(count(text)).unwrap_or(u32::MAX))
}

/// The tokens of a chunk: what it says, or counted where it says nothing.
pub fn of_chunk(chunk: &Chunk) -> usize {
    if chunk.tokens.0 == 0 { count(&chunk.text) } else { chunk.tokens.0 as usize }
}

/// The tokens of a chunk where a bound must hold: never fewer than its text has, whatever it says of itself.
pub fn at_least(chunk: &Chunk) -> usize {
    count(&chunk.text).max(chunk.tokens.0 as usize)
}

/// Counts tokens as one model does.
#[derive(Debug, Clone, Default)]
pub struct Counter(Option<Arc<dyn ChatModel>>);

impl Counter {
    /// As the model called `model` counts, if it says how; else as `cl100k_base`.
    pub fn of(cx: &Cx, model: &ModelName) -> Result<Self, OpError> {
        Ok(match cx.model(model)? {
            Model::Chat(model) if model.count_tokens("").is_some() => Self(Some(model)),
            Model::Chat(_) | Model::Extractive => Self(None),
        })
    }

    /// Number of tokens of `text`.
    pub fn count(&self, text: &str) -> usize {
        self.0.as_ref().and_then(|model| model.count_tokens(text)).unwrap_or_else(|| count(text))
    }

    /// The tokens of a chunk. What it says of itself is only looked at where that was counted in the same way.
    pub fn of_chunk(&self, chunk: &Chunk) -> usize {
        if self.0.is_some() { self.count(&chunk.text) } else { at_least(chunk) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_cl100k() {
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        assert_eq!(count("tiktoken is great!"), 6);
    }

    #[test]
    fn tokens_end_where_the_next_begins() {
        assert_eq!(ends("tiktoken is great!"), [1, 3, 8, 11, 17, 18]);
        assert_eq!(ends("").len(), 0);
        let text = format!("{} é漢🎉", "x".repeat(2000));
        assert_eq!((ends(&text).len(), ends(&text).last()), (count(&text), Some(&text.len())));
    }

    #[test]
    fn long_runs_are_counted_quickly_and_without_giving_up() {
        for text in [" ".repeat(200_000), "a".repeat(200_000), "\n".repeat(200_000), "é".repeat(100_000)] {
            assert!(count(&text) > 0);
        }
    }
}
