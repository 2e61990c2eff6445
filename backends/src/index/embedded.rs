//! The built-in index: BM25 and vectors over chunks in a folder of this machine, nothing to install.

use std::path::Path;
use std::sync::Arc;

use anabranch_engine::backend::{IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};

mod best;
mod directory;
mod error;
mod folder;
mod nearest;
mod order;
mod part;
mod parts;
mod passing;
mod schema;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod vectors;
mod words;
mod writer;

pub use error::Error;
pub use folder::FORMAT;
pub use parts::NAMESPACES_OPEN_MAX;
pub use schema::searched_text;
pub use writer::{Limits, Writer};

// Every kind of index finds the same chunks by the same words.
pub(super) use schema::words_of;
pub(super) use words::counted_words;

use super::{Manifest, VectorSpace};
use error::{damaged, guarded};
use parts::Parts;

/// An index in a folder. Cloning it copies a pointer.
///
/// Chunks enter and leave it a document at a time, with the fingerprint of what they were made from, and one commit
/// makes all of a document's changes at once: whoever is killed finds the state of the last commit, in which words,
/// vectors and manifest agree. Each namespace is an index of its own below the folder.
#[derive(Debug, Clone)]
pub struct EmbeddedIndex {
    parts: Arc<Parts>,
}

impl EmbeddedIndex {
    /// Opens the index in the folder `path`, or makes an empty one where there is none.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self { parts: Arc::new(Parts::open_or_create(path.as_ref())?) })
    }

    /// The folder it lives in.
    pub fn path(&self) -> &Path {
        &self.parts.path
    }

    /// Begins to write without vectors; one writer a namespace at a time, over all processes.
    pub fn begin(&self) -> Result<Writer, Error> {
        self.begin_with(Limits::default())
    }

    /// Begins to write without vectors, under limits other than the usual ones.
    pub fn begin_with(&self, limits: Limits) -> Result<Writer, Error> {
        self.begin_in(&Namespace::default(), None, limits)
    }

    /// Begins to write a namespace; see [`super::IndexStore::writer`]. Reads and writes files: not for an async task.
    pub fn begin_in(
        &self,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
        limits: Limits,
    ) -> Result<Writer, Error> {
        Writer::new(self.parts.get_or_create(namespace)?, vectors, limits)
    }

    /// Which documents it holds, and what each was made from.
    pub fn manifest(&self) -> Result<Manifest, Error> {
        self.parts.default_part().manifest()
    }

    /// What the vectors of a namespace are, if it has any. Reads files: not for an async task.
    pub fn space_blocking(&self, namespace: &Namespace) -> Result<Option<VectorSpace>, Error> {
        self.parts.get(namespace)?.map_or(Ok(None), |part| part.space())
    }

    /// The chunks that match best; see [`anabranch_engine::backend::Index::search`]. Reads files: not for an async
    /// task.
    pub fn search_blocking(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        self.parts.get(&query.namespace)?.map_or_else(|| Ok(Vec::new()), |part| part.search(query))
    }

    /// The chunks of a document, in the order of their places. Reads files: not for an async task.
    pub fn chunks_of_blocking(&self, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        self.parts.default_part().chunks_of(doc)
    }

    /// How much it holds. Reads files: not for an async task.
    pub fn stats_blocking(&self) -> Result<IndexStats, Error> {
        self.parts.default_part().stats()
    }
}
