//! Cuts a document into chunks of whole sentences.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Document};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::length::Length;
use super::place::Places;
use super::plain::paragraphs;
use super::split::{SEPARATORS, Splitter};
use crate::sentences;

/// Cuts a document into chunks of whole sentences.
///
/// Sentences end where the rules of Unicode say so, but not after an abbreviation, an initial or within code; a
/// paragraph always ends its last one. Sentences are joined as long as they fit into `chunk_size`; one that is longer
/// is cut at words. Use it for prose whose sentences are cited one by one, with a small `chunk_size`, and
/// `context.expand` to give the reader what stands around them. Asks no model.
///
/// Source: Unicode Standard Annex 29; chunks of sentences as in "Is Semantic Chunking Worth the Computational Cost?"
/// (Qu et al. 2024).
///
/// ```yaml
/// cut:
///   op: chunk.sentence
///   with: { chunk_size: 120, overlap_sentences: 1, abbreviations: [Cir., Art.] }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sentence {
    /// Longest chunk, in units of `length`.
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk_size: usize,
    /// What lengths count: `tokens` (cl100k), `chars` or `words`.
    pub length: Length,
    /// Most sentences of a chunk; 1 makes every sentence a chunk.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sentences: usize,
    /// How many sentences at the end of a chunk the next one repeats, as far as they fit.
    #[schemars(range(min = 0, max = 100))]
    pub overlap_sentences: usize,
    /// Abbreviations that end no sentence, with their full stop, in any case; usual English ones are known.
    pub abbreviations: Vec<String>,
}

impl Default for Sentence {
    fn default() -> Self {
        Self {
            chunk_size: 200,
            length: Length::Tokens,
            max_sentences: 10_000,
            overlap_sentences: 0,
            abbreviations: Vec::new(),
        }
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

impl Sentence {
    /// The chunks of `document`.
    pub fn cut(&self, document: &Document) -> Vec<Arc<Chunk>> {
        let text = &*document.text;
        let places = Places::new(document);
        let ranges = self.join(text, &self.sentences(text));
        ranges.iter().map(|range| Arc::new(places.chunk(range, &[]))).collect()
    }

    /// The sentences of `text`, those that are too long in pieces.
    pub fn sentences(&self, text: &str) -> Vec<Range<usize>> {
        let abbreviations: Vec<String> = self.abbreviations.iter().map(|one| one.to_lowercase()).collect();
        let splitter = Splitter { size: self.chunk_size, overlap: 0, length: self.length, trim: true };
        let starts = paragraphs(text);
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let mut found = Vec::new();
        for (start, end) in starts.iter().copied().zip(ends) {
            let paragraph = text.get(start..end).unwrap_or_default();
            for sentence in sentences::in_prose(paragraph, &abbreviations) {
                let range = start + sentence.start..start + sentence.end;
                if self.length_of(text, &range) <= self.chunk_size {
                    found.push(range);
                } else {
                    found.extend(splitter.split(text, range, &SEPARATORS));
                }
            }
        }
        found
    }

    /// Joins neighbours as far as they fit.
    fn join(&self, text: &str, sentences: &[Range<usize>]) -> Vec<Range<usize>> {
        let mut chunks = Vec::new();
        let mut first = 0;
        while let Some(from) = sentences.get(first) {
            let mut last = first;
            while let Some(next) = sentences.get(last + 1) {
                let is_full = last + 1 - first >= self.max_sentences;
                if is_full || self.length_of(text, &(from.start..next.end)) > self.chunk_size {
                    break;
                }
                last += 1;
            }
            chunks.extend(sentences.get(last).map(|to| from.start..to.end));
            if last + 1 >= sentences.len() {
                break;
            }
            first = self.next_first(text, sentences, first, last);
        }
        chunks
    }

    /// The first sentence of the chunk after that of `first` to `last`: it repeats what it may, and gets further.
    fn next_first(&self, text: &str, sentences: &[Range<usize>], first: usize, last: usize) -> usize {
        let repeats = self.overlap_sentences.min(self.max_sentences - 1);
        let wanted = (last + 1).saturating_sub(repeats).max(first + 1);
        let gets_further = |from: &usize| {
            let ends = sentences.get(*from).zip(sentences.get(last + 1));
            ends.is_none_or(|(from, to)| self.length_of(text, &(from.start..to.end)) <= self.chunk_size)
        };
        (wanted..=last).find(gets_further).unwrap_or(last + 1)
    }

    fn length_of(&self, text: &str, range: &Range<usize>) -> usize {
        self.length.of(text.get(range.clone()).unwrap_or_default())
    }
}

#[async_trait]
impl Operator for Sentence {
    const NAME: &'static str = "chunk.sentence";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(Out { chunks: self.cut(&input.document) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn cut(text: &str, settings: &Sentence) -> Vec<String> {
        let chunks = settings.cut(&testing::document("a.txt", "text", text));
        chunks.iter().map(|chunk| chunk.text.to_string()).collect()
    }

    fn words(chunk_size: usize, overlap_sentences: usize) -> Sentence {
        Sentence { chunk_size, overlap_sentences, length: Length::Words, ..Sentence::default() }
    }

    const TEXT: &str =
        "One two. Three four. Five six\nseven.\n\nEight (cf. Nine) 12 F.3d 45 (9th Cir. 1999) ends. Ten.";

    #[test]
    fn sentences_are_joined_as_long_as_they_fit() {
        assert_eq!(cut(TEXT, &words(4, 0))[..2], ["One two. Three four.", "Five six\nseven."]);
        let one = Sentence { max_sentences: 1, abbreviations: vec!["Cir.".into()], ..Sentence::default() };
        assert_eq!(
            cut(TEXT, &one),
            [
                "One two.",
                "Three four.",
                "Five six\nseven.",
                "Eight (cf. Nine) 12 F.3d 45 (9th Cir. 1999) ends.",
                "Ten."
            ]
        );
    }

    #[test]
    fn a_chunk_repeats_the_last_sentences_of_the_one_before() {
        assert_eq!(cut("A b. C d. E f. G h.", &words(4, 1)), ["A b. C d.", "C d. E f.", "E f. G h."]);
        assert_eq!(cut("A b. C d. E f g h.", &words(4, 1)), ["A b. C d.", "E f g h."], "as far as it fits");
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_at_words() {
        assert_eq!(cut("one two three four five", &words(2, 0)), ["one two", "three four", "five"]);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Sentence>(r#"{"sentences": 3}"#).is_err());
    }

    proptest! {
        #[test]
        fn chunks_are_exact_bounded_and_lose_nothing(
            text in "([a-zA-Zé.?!` \n]|漢|🎉|\r\n|\n\n){0,200}",
            chunk_size in 1_usize..30,
            overlap_sentences in 0_usize..3,
            max_sentences in 1_usize..5,
            length in prop_oneof![Just(Length::Tokens), Just(Length::Chars), Just(Length::Words)],
        ) {
            let settings =
                Sentence { chunk_size, length, max_sentences, overlap_sentences, ..Sentence::default() };
            let document = testing::document("a.txt", "text", &text);
            let chunks = settings.cut(&document);
            testing::assert_exact(&document, &chunks);
            testing::assert_covers(&document, &chunks);
            for chunk in &chunks {
                let fits = length.of(&chunk.text) <= chunk_size;
                prop_assert!(fits || chunk.text.chars().count() == 1, "`{}` is too long", chunk.text);
            }
        }
    }
}
