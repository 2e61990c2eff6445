//! What waits: for the caller of a run that has nothing else to do.

use serde::{Deserialize, Serialize};

use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Map, Text};

/// A wait that nobody has answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenWait {
    /// Where it waits; answers name it.
    pub scope: Scope,
    /// The type that an answer must have.
    #[serde(rename = "type")]
    pub ty: Type,
    /// What is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<Text>,
    /// What the one who answers is shown.
    pub shown: Map,
    /// Until when it waits, in milliseconds of Unix time.
    pub until_ms: u64,
}
