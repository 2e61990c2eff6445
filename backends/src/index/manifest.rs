//! Which documents an index holds and what each was made from, so that only changes are indexed.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::value::DocumentId;

/// Names what a document's chunks were made from: its content, and the way in which it was cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of content with the hash `content`, cut in the way that `stamp` names (the chunkers, their settings, versions).
    pub fn new(content: &blake3::Hash, stamp: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(content.as_bytes());
        hasher.update(stamp.as_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The one whose written form is `text`.
    pub fn parse(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its written form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The documents of an index at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<DocumentId, Fingerprint>);

impl Manifest {
    /// Whether the document's chunks were made from exactly this.
    pub fn is_current(&self, doc: &DocumentId, fingerprint: &Fingerprint) -> bool {
        self.0.get(doc) == Some(fingerprint)
    }

    /// What the document was made from; `None` if it is not in the index.
    pub fn get(&self, doc: &DocumentId) -> Option<&Fingerprint> {
        self.0.get(doc)
    }

    /// All documents, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&DocumentId, &Fingerprint)> {
        self.0.iter()
    }

    /// The documents that are here and not in `present`: their files have gone.
    pub fn vanished<'a>(&'a self, present: &'a BTreeSet<DocumentId>) -> impl Iterator<Item = &'a DocumentId> {
        self.0.keys().filter(|doc| !present.contains(*doc))
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(DocumentId, Fingerprint)> for Manifest {
    fn from_iter<I: IntoIterator<Item = (DocumentId, Fingerprint)>>(documents: I) -> Self {
        Self(documents.into_iter().collect())
    }
}
