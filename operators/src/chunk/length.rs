//! How the length of a text is counted.

use anabranch_engine::operator::SettingProblem;
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

/// What is wrong with the settings `chunk_size` and `chunk_overlap` together.
pub(crate) fn overlap_problems(chunk_size: usize, chunk_overlap: usize) -> Vec<SettingProblem> {
    if chunk_overlap < chunk_size {
        return Vec::new();
    }
    vec![SettingProblem {
        pointer: "/chunk_overlap".to_owned(),
        message: format!("`chunk_overlap` is {chunk_overlap}, not less than `chunk_size` ({chunk_size})"),
        hint: Some("0 is a good start; a tenth of `chunk_size` is usual".to_owned()),
    }]
}
