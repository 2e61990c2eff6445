//! Indexes: what one is asked, and whose chunks it looks at.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Error, Filter, Vector};
use crate::value::{Chunk, DocumentId, Text};

/// Part of an index that is shut off from all others: a tenant's. The empty one is that of an index without tenants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(Text);

/// Why a text names no namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no namespace; one has at most 64 letters, digits, `_`, `-` and `.`, and begins with a letter, digit or `_`"
)]
pub struct InvalidNamespace(String);

/// Longest name of a namespace, in characters.
const NAMESPACE_CHARS: usize = 64;

impl Namespace {
    /// The namespace called `name`.
    pub fn new(name: &str) -> Result<Self, InvalidNamespace> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_valid = name.len() <= NAMESPACE_CHARS
            && name.chars().all(|c| is_word(c) || c == '-' || c == '.')
            && name.chars().next().is_none_or(is_word);
        if is_valid { Ok(Self(name.into())) } else { Err(InvalidNamespace(name.to_owned())) }
    }

    /// Its name, empty for the one of an index without tenants.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the one of an index without tenants.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for Namespace {
    type Error = InvalidNamespace;

    fn try_from(name: String) -> Result<Self, InvalidNamespace> {
        Self::new(&name)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0.as_ref().to_owned()
    }
}

impl std::str::FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(name: &str) -> Result<Self, InvalidNamespace> {
        Self::new(name)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Namespace {
    fn schema_name() -> Cow<'static, str> {
        "Namespace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Named, so that a plan which is made at run time cannot choose whose chunks it reads.
        json_schema!({
            "type": "string",
            "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$",
            "x-anabranch": "namespace",
        })
    }
}

/// What an index is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// What to look for.
    pub by: By,
    /// How many chunks to give back at most, best first.
    pub top_k: usize,
    /// Which chunks may be given back.
    pub filter: Filter,
    /// Whose chunks are looked at.
    pub namespace: Namespace,
}

/// What makes a chunk a good one.
#[derive(Debug, Clone, PartialEq)]
pub enum By {
    /// It has the words of a text: BM25 over the chunks of the namespace.
    Words {
        /// The words.
        text: String,
        /// Term saturation, ≥ 0.
        k1: f32,
        /// Length normalisation, 0 to 1.
        b: f32,
    },
    /// Its vector is near this one: the score is the cosine.
    Vector(Vector),
}

impl SearchQuery {
    /// The chunks of the default namespace that have the words of `text`, scored in Lucene's usual way.
    pub fn words(text: impl Into<String>, top_k: usize) -> Self {
        let by = By::Words { text: text.into(), k1: 1.2, b: 0.75 };
        Self { by, top_k, filter: Filter::default(), namespace: Namespace::default() }
    }

    /// The chunks of the default namespace that are nearest to `vector`.
    pub fn near(vector: Vector, top_k: usize) -> Self {
        let by = By::Vector(vector);
        Self { by, top_k, filter: Filter::default(), namespace: Namespace::default() }
    }
}

/// How large an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct IndexStats {
    /// Documents in it.
    pub documents: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Length of its vectors; 0 if there are none.
    pub dimensions: u32,
}

/// Chunks that can be searched.
#[async_trait]
pub trait Index: Send + Sync + fmt::Debug {
    /// The chunks that match best, best first, each with its score; equal scores in the order of document and place.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error>;

    /// All chunks of a document, in the order of their places; none if the document is not there.
    async fn chunks_of(&self, namespace: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error>;

    /// How much a namespace holds.
    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_never_a_path() {
        for name in ["", "acme", "Acme-1.eu", "_x", &"a".repeat(64)] {
            assert_eq!(Namespace::new(name).unwrap().as_str(), name);
        }
        for name in ["..", ".", "-a", "a/b", "a b", "ä", "a\0", &"a".repeat(65)] {
            assert!(Namespace::new(name).is_err(), "{name:?}");
        }
        assert!(serde_json::from_str::<Namespace>("\"a/b\"").is_err());
    }
}
