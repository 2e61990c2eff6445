//! A margin: what a segment says to the question.

use anabranch_engine::value::ChunkId;
use serde::{Deserialize, Serialize};

use crate::record::map_record;

/// What a segment says to the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Margin {
    /// Which segment, from 0.
    pub segment: usize,
    /// The chunks in it, or the parts of them.
    pub chunk_ids: Vec<ChunkId>,
    /// What it says.
    pub text: String,
    /// Whether that is of use; always with `keep: all`.
    pub relevant: bool,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Segments that the text makes.
    pub segments: usize,
    /// Segments read: fewer with `early_exit_after`.
    pub read: usize,
    /// Margins of use.
    pub relevant: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Those of them that no prompt before began with: what a server with a prefix cache reads.
    pub new_tokens: usize,
}

map_record!(Margin, Stats);
