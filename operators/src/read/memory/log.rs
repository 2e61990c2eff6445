//! What happened to a memory, revision by revision.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::record::map_record;

/// A revision that was proposed, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The portion that it comes from, from 0.
    pub portion: usize,
    /// What it does: `add` or `update`; whatever the model wrote where it is refused.
    pub op: String,
    /// Where, as a JSON pointer.
    pub path: String,
    /// The value.
    pub value: Json,
    /// Whether it was applied.
    pub accepted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Portions read.
    pub portions: usize,
    /// Revisions applied.
    pub accepted: usize,
    /// Revisions that could not be.
    pub rejected: usize,
    /// Portions whose revisions could not be read.
    pub unread: usize,
    /// How often the memory was written anew in the prompt.
    pub compactions: usize,
    /// Tokens of the memory at the end.
    pub memory_tokens: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
}

map_record!(Entry, Stats);
