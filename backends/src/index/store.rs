//! What every kind of index can do besides being searched: take documents in and out, and remember what it holds.

use std::sync::Arc;

use anabranch_engine::backend::{self, Index, Namespace, Vector};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;

use super::{Fingerprint, Manifest, embedded};

/// A chunk on its way into an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The chunk.
    pub chunk: Arc<Chunk>,
    /// Its vector, in an index that has vectors.
    pub vector: Option<Vector>,
}

/// What the vectors of an index are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorSpace {
    /// The embedder's identity; see [`backend::Embedder::identity`].
    pub identity: String,
    /// How many numbers a vector has.
    pub dimensions: u32,
}

/// Why an index could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder on this machine.
    #[error(transparent)]
    Embedded(#[from] embedded::Error),
    /// The database or server.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// Somebody else writes the namespace of a database or server.
    #[error("{backend} is being written by another process; wait until that has ended, then try again")]
    Busy {
        /// Which index.
        backend: String,
    },
}

impl StoreError {
    /// Whether somebody else is writing just now.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Embedded(embedded::Error::Busy { .. }) | Self::Busy { .. })
    }
}

/// An index that can be written. Documents come and go whole, each with the fingerprint of what it was made from.
#[async_trait]
pub trait IndexStore: Index {
    /// Which documents a namespace holds, and what each was made from.
    async fn manifest(&self, namespace: &Namespace) -> Result<Manifest, StoreError>;

    /// What the vectors of a namespace are; `None` if it has none. It changes with the commit that changes them, so
    /// that whoever asks never compares vectors of different spaces.
    async fn space(&self, namespace: &Namespace) -> Result<Option<VectorSpace>, StoreError>;

    /// Begins to write a namespace. With `vectors`, every chunk comes with a vector of that space; an index that holds
    /// vectors of another space forgets all of its documents first, so that they are indexed anew.
    async fn writer(
        &self,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
    ) -> Result<Box<dyn IndexWriter>, StoreError>;
}

/// Changes a namespace of an index. What was not committed when it is dropped (or the process killed) has not happened;
/// it commits by itself every now and then, always between documents.
#[async_trait]
pub trait IndexWriter: Send {
    /// Puts a document's chunks in the place of those that it had. A document without chunks is remembered too.
    async fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError>;

    /// Takes a document and its chunks out.
    async fn remove(&mut self, doc: &DocumentId) -> Result<(), StoreError>;

    /// Commits, and waits until everything is in order for the next search.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;
}
