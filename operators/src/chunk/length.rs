//! How the length of a text is counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use text_splitter::ChunkSizer;

use crate::tokens;

/// What lengths count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Tokens of `cl100k_base`.
    #[default]
    Tokens,
    /// Unicode characters.
    Chars,
    /// Words between spaces.
    Words,
}

impl Length {
    /// The length of `text`.
    pub fn of(self, text: &str) -> usize {
        match self {
            Self::Tokens => tokens::count(text),
            Self::Chars => text.chars().count(),
            Self::Words => text.split_whitespace().count(),
        }
    }
}

impl ChunkSizer for Length {
    fn size(&self, chunk: &str) -> usize {
        self.of(chunk)
    }
}
