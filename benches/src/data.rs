//! The lines of an evaluation set's files.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anabranch_engine::value::Metadata;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What a program of this crate gives, or why it cannot.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A document of `corpus.jsonl`.
#[derive(Debug, Deserialize)]
pub struct CorpusLine {
    /// Its name.
    pub id: String,
    /// Its title.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
}

/// A question of `queries.jsonl`.
#[derive(Debug, Deserialize)]
pub struct QueryLine {
    /// Its name.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// What is right: each of them is.
    #[serde(default)]
    pub answers: Vec<serde_json::Value>,
    /// Where that stands.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What else is known, such as `answerable`.
    #[serde(default)]
    pub meta: Metadata,
}

/// Where an answer stands.
#[derive(Debug, Deserialize)]
pub struct Evidence {
    /// The document.
    pub doc: String,
    /// Where it begins in the document's text, in characters, where that is known.
    #[serde(rename = "start")]
    pub char_start: Option<usize>,
    /// Where it ends.
    #[serde(rename = "end")]
    pub char_end: Option<usize>,
    /// Where it begins in the document's text, in bytes, where that is known.
    #[serde(rename = "bstart")]
    pub byte_start: Option<usize>,
    /// Where it ends.
    #[serde(rename = "bend")]
    pub byte_end: Option<usize>,
}

/// The lines of a file, each of which is one JSON value.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Outcome<Vec<T>> {
    let file = File::open(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        if !line.trim().is_empty() {
            lines.push(serde_json::from_str(&line)?);
        }
    }
    Ok(lines)
}
