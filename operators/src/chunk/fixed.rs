//! Cuts a document into windows of equal length.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::length::{self, Length};
use super::place::Places;
use super::split::trim;
use crate::tokens;

/// Cuts a document into windows of equal length, wherever they fall.
///
/// The plainest way to cut. Use it as a baseline, and for text without structure (logs, transcripts): every window but
/// the last has `chunk_size` units, and begins `chunk_size - chunk_overlap` after the one before; no window only
/// repeats the end of another. Boundaries fall within words and sentences, so an overlap helps here more than
/// elsewhere. A token that ends within a character (rare scripts, emoji) gives the whole character to the next window:
/// the text of a chunk is always an exact range of the document. Asks no model.
///
/// Source: the fixed-token baseline of "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024).
///
/// ```yaml
/// cut:
///   op: chunk.fixed
///   with: { chunk_size: 400, chunk_overlap: 200 }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fixed {
    /// Length of a chunk, in units of `length`.
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk_size: usize,
    /// How much of a chunk the next one repeats, in units of `length`; less than `chunk_size`.
    #[schemars(range(min = 0, max = 99_999))]
    pub chunk_overlap: usize,
    /// What lengths count: `tokens` (cl100k), `chars` or `words`.
    pub length: Length,
    /// Whether space at both ends of a chunk is left out.
    pub trim: bool,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { chunk_size: 200, chunk_overlap: 0, length: Length::Tokens, trim: true }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The document to cut.
        pub document: Arc<Document>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks in the order of the document.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

impl Fixed {
    /// The chunks of `document`.
    pub fn cut(&self, document: &Document) -> Vec<Arc<Chunk>> {
        let text = &*document.text;
        let places = Places::new(document);
        let ends = unit_ends(text, self.length);
        let windows = self.windows(&ends).map(|range| floor(text, range.start)..floor(text, range.end));
        let ranges = windows.map(|range| if self.trim { trim(text, range) } else { range });
        ranges
            .filter(|range| !trim(text, range.clone()).is_empty())
            .map(|range| Arc::new(places.chunk(&range, &[])))
            .collect()
    }

    /// The windows over units that end at `ends`, in bytes.
    fn windows<'a>(&self, ends: &'a [usize]) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let (size, step) = (self.chunk_size, self.chunk_size.saturating_sub(self.chunk_overlap).max(1));
        let begin =
            |unit: usize| unit.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        // The first window that reaches the end is the last.
        let n_windows = if ends.is_empty() { 0 } else { 1 + ends.len().saturating_sub(size).div_ceil(step) };
        (0..n_windows).map(move |window| begin(window * step)..begin((window * step + size).min(ends.len())))
    }
}

/// Where each unit of `text` ends, with the space after it.
fn unit_ends(text: &str, length: Length) -> Vec<usize> {
    match length {
        Length::Tokens => tokens::ends(text),
        Length::Chars => text.char_indices().map(|(at, c)| at + c.len_utf8()).collect(),
        Length::Words => {
            let is_start = |at: usize, c: char| {
                let before = text.get(..at).and_then(|before| before.chars().next_back());
                !c.is_whitespace() && before.is_some_and(char::is_whitespace)
            };
            let mut ends: Vec<usize> =
                text.char_indices().filter(|(at, c)| is_start(*at, *c)).map(|(at, _)| at).collect();
            // Space before the first word belongs to it.
            if text.starts_with(char::is_whitespace) && !ends.is_empty() {
                ends.remove(0);
            }
            ends.push(text.len());
            ends
        }
    }
}

/// The last place at or before `at` that is between two characters.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

#[async_trait]
impl Operator for Fixed {
    const NAME: &'static str = "chunk.fixed";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(Out { chunks: self.cut(&input.document) })
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        length::overlap_problems(self.chunk_size, self.chunk_overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn cut(text: &str, settings: &Fixed) -> Vec<String> {
        let chunks = settings.cut(&testing::document("a.txt", "text", text));
        chunks.iter().map(|chunk| chunk.text.to_string()).collect()
    }

    fn fixed(chunk_size: usize, chunk_overlap: usize, length: Length) -> Fixed {
        Fixed { chunk_size, chunk_overlap, length, trim: true }
    }

    #[test]
    fn windows_step_by_size_less_overlap_and_stop_at_the_end() {
        assert_eq!(cut("abcdefgh", &fixed(4, 0, Length::Chars)), ["abcd", "efgh"]);
        assert_eq!(cut("abcdefgh", &fixed(4, 2, Length::Chars)), ["abcd", "cdef", "efgh"]);
        assert_eq!(cut("abcdefghi", &fixed(4, 2, Length::Chars)), ["abcd", "cdef", "efgh", "ghi"]);
        assert_eq!(cut("abc", &fixed(4, 2, Length::Chars)), ["abc"]);
    }

    #[test]
    fn words_keep_the_space_between_them() {
        assert_eq!(cut("  one two\nthree  four ", &fixed(2, 0, Length::Words)), ["one two", "three  four"]);
    }

    #[test]
    fn a_character_is_never_cut() {
        // 🎉 is three tokens.
        assert_eq!(cut("a🎉b", &fixed(2, 0, Length::Tokens)).concat(), "a🎉b");
    }

    #[test]
    fn an_overlap_as_long_as_a_chunk_and_unknown_settings_are_refused() {
        assert_eq!(fixed(4, 4, Length::Chars).check(&[])[0].pointer, "/chunk_overlap");
        assert!(serde_json::from_str::<Fixed>(r#"{"size": 3}"#).is_err());
    }

    proptest! {
        #[test]
        fn chunks_are_exact_and_lose_nothing(
            text in "([a-zé.?! \n]|漢|🎉|\r\n|\n\n){0,200}",
            chunk_size in 1_usize..30,
            overlap in 0_usize..10,
            length in prop_oneof![Just(Length::Tokens), Just(Length::Chars), Just(Length::Words)],
        ) {
            let settings = fixed(chunk_size, overlap.min(chunk_size - 1), length);
            let document = testing::document("a.txt", "text", &text);
            let chunks = settings.cut(&document);
            testing::assert_exact(&document, &chunks);
            testing::assert_covers(&document, &chunks);
        }
    }
}
