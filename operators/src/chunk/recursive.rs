//! Cuts a document into chunks of bounded length, at the coarsest boundary that fits.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use text_splitter::{ChunkConfig, TextSplitter};

use super::length::{self, Length};
use super::place::Places;
use super::split::{SEPARATORS, Splitter};

/// Cuts a document into chunks of bounded length, at the coarsest boundary that fits.
///
/// Paragraphs are tried first, then lines, sentences, words, characters; small neighbours are joined again. Use it for
/// text without structure, or where other systems cut the same way: `method: recursive` follows the rule of
/// `RecursiveCharacterTextSplitter` in `LangChain`. Every chunk is an exact range of the document: its text is never
/// changed, only space at its ends is left out. 200 tokens without overlap are the best start; short factual answers
/// like 64 to 128, broad questions 512 and more. Asks no model.
///
/// Source: the splitter of `LangChain` as evaluated in "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024);
/// `semantic_levels` is the crate `text-splitter`.
///
/// ```yaml
/// cut:
///   op: chunk.recursive
///   with: { chunk_size: 200 }
///   in: { document: inputs.document }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recursive {
    /// Longest chunk, in units of `length`.
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk_size: usize,
    /// How much of a chunk the next one repeats at most, in units of `length`; less than `chunk_size`.
    #[schemars(range(min = 0, max = 99_999))]
    pub chunk_overlap: usize,
    /// What lengths count: `tokens` (cl100k), `chars` or `words`.
    pub length: Length,
    /// Which rule finds the boundaries.
    pub method: Method,
    /// Whether space at both ends of a chunk is left out.
    pub trim: bool,
}

impl Default for Recursive {
    fn default() -> Self {
        Self {
            chunk_size: 200,
            chunk_overlap: 0,
            length: Length::Tokens,
            method: Method::Recursive,
            trim: true,
        }
    }
}

/// Which rule finds the boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Separators from coarse to fine, as `LangChain` does it.
    Recursive,
    /// Unicode sentence and word boundaries, as the crate `text-splitter` does it.
    SemanticLevels,
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

impl Recursive {
    fn ranges(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>, OpError> {
        match self.method {
            Method::Recursive => {
                let splitter = Splitter {
                    size: self.chunk_size,
                    overlap: self.chunk_overlap,
                    length: self.length,
                    trim: self.trim,
                };
                Ok(splitter.split(text, 0..text.len(), &SEPARATORS))
            }
            Method::SemanticLevels => {
                let config = ChunkConfig::new(self.chunk_size)
                    .with_sizer(self.length)
                    .with_trim(self.trim)
                    .with_overlap(self.chunk_overlap)
                    .map_err(|error| OpError::InvalidSetting(error.to_string()))?;
                let splitter = TextSplitter::new(config);
                Ok(splitter
                    .chunk_indices(text)
                    .filter(|(_, chunk)| !chunk.trim().is_empty())
                    .map(|(start, chunk)| start..start + chunk.len())
                    .collect())
            }
        }
    }

    /// The chunks of `document`.
    pub fn cut(&self, document: &Document) -> Result<Vec<Arc<Chunk>>, OpError> {
        let places = Places::new(document);
        let ranges = self.ranges(&document.text)?;
        Ok(ranges.iter().map(|range| Arc::new(places.chunk(range, &[]))).collect())
    }
}

#[async_trait]
impl Operator for Recursive {
    const NAME: &'static str = "chunk.recursive";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(Out { chunks: self.cut(&input.document)? })
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

    #[test]
    fn an_overlap_as_long_as_a_chunk_is_refused() {
        let settings = Recursive { chunk_overlap: 200, ..Recursive::default() };
        let problems = settings.check(&[]);
        assert_eq!(problems[0].pointer, "/chunk_overlap");
        assert!(Recursive::default().check(&[]).is_empty());
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Recursive>(r#"{"size": 3}"#).is_err());
    }

    #[test]
    fn an_empty_document_gives_no_chunk() {
        for text in ["", " \n\n "] {
            assert!(Recursive::default().cut(&testing::document("a.txt", "text", text)).unwrap().is_empty());
        }
    }

    fn laws(text: &str, settings: &Recursive) {
        let document = testing::document("a.txt", "text", text);
        let chunks = settings.cut(&document).unwrap();
        testing::assert_exact(&document, &chunks);
        testing::assert_covers(&document, &chunks);
        for pair in chunks.windows(2) {
            assert!(pair[0].range.start < pair[1].range.start);
            assert!(settings.chunk_overlap > 0 || pair[0].range.end <= pair[1].range.start);
        }
        for chunk in &chunks {
            let fits = settings.length.of(&chunk.text) <= settings.chunk_size;
            assert!(fits || chunk.text.chars().count() == 1, "`{}` is too long", chunk.text);
        }
    }

    fn settings() -> impl Strategy<Value = Recursive> {
        let length = prop_oneof![Just(Length::Tokens), Just(Length::Chars), Just(Length::Words)];
        let method = prop_oneof![Just(Method::Recursive), Just(Method::SemanticLevels)];
        (1_usize..30, 0_usize..10, length, method).prop_map(|(chunk_size, overlap, length, method)| {
            Recursive { chunk_size, chunk_overlap: overlap.min(chunk_size - 1), length, method, trim: true }
        })
    }

    proptest! {
        #[test]
        fn chunks_are_exact_ordered_bounded_and_lose_nothing(
            text in "([a-zé.?! \n]|漢|🎉|\r\n|\n\n){0,200}", settings in settings()
        ) {
            laws(&text, &settings);
        }
    }
}
