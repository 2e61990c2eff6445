//! An index as flows see it: it answers no search whose answer would be wrong.

use std::sync::Arc;

use anabranch_backends::index::{IndexStore, StoreError};
use anabranch_engine::backend::{By, Error, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::operator::EmbedderName;
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;

/// An index that compares vectors only with those of the same embedder, and says so when it is asked for a namespace
/// that is not there.
#[derive(Debug)]
pub struct Checked {
    /// Its name in the configuration.
    name: String,
    store: Arc<dyn IndexStore>,
    /// The embedder of queries, by its name and by what its vectors are.
    embedder: Option<(EmbedderName, String)>,
}

/// Why the vectors of an index and those of queries do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// There are documents, and none has vectors.
    #[error("it has no vectors; index its documents again with an embedder, or search it by words")]
    NoVectors,
    /// Other vectors than the embedder's.
    #[error(
        "its vectors are of `{found}`, and embedder `{embedder}` is `{wanted}`: distances between the two mean nothing; \
         index its documents again, or name the embedder that it was made with"
    )]
    Other {
        /// What the index has.
        found: String,
        /// The embedder of queries.
        embedder: EmbedderName,
        /// What that gives.
        wanted: String,
    },
    /// Other vectors under the same name.
    #[error(
        "its vectors have {found} numbers, and that of the query has {wanted}: the embedder's server answers with \
         another model under the same name; index its documents again"
    )]
    Dimensions {
        /// What the index has.
        found: u32,
        /// What the query has.
        wanted: usize,
    },
}

impl Checked {
    /// The index `name` in `store`, with the embedder of its queries and what that one's vectors are.
    pub fn new(name: &str, store: Arc<dyn IndexStore>, embedder: Option<(EmbedderName, String)>) -> Self {
        Self { name: name.to_owned(), store, embedder }
    }

    /// Why the vectors of `namespace` are not the embedder's; an empty namespace fits everything.
    pub async fn mismatch(&self, namespace: &Namespace) -> Result<Option<Mismatch>, StoreError> {
        let Some((embedder, wanted)) = &self.embedder else { return Ok(None) };
        let found = self.store.space(namespace).await?.map(|space| space.identity);
        if found.as_ref() == Some(wanted) || self.store.stats(namespace).await?.documents == 0 {
            return Ok(None);
        }
        let other = |found| Mismatch::Other { found, embedder: embedder.clone(), wanted: wanted.clone() };
        Ok(Some(found.map_or(Mismatch::NoVectors, other)))
    }

    fn rejected(&self, message: impl std::fmt::Display) -> Error {
        Error::Rejected { backend: format!("index `{}`", self.name), message: message.to_string() }
    }

    async fn check(&self, query: &SearchQuery) -> Result<(), Error> {
        let By::Vector(vector) = &query.by else { return Ok(()) };
        if let Some(mismatch) = self.mismatch(&query.namespace).await.map_err(|error| self.backend(error))? {
            return Err(self.rejected(mismatch));
        }
        let space = self.store.space(&query.namespace).await.map_err(|error| self.backend(error))?;
        match space.map(|space| space.dimensions) {
            Some(found) if vector.len() as u64 != u64::from(found) => {
                Err(self.rejected(Mismatch::Dimensions { found, wanted: vector.len() }))
            }
            _ => Ok(()),
        }
    }

    fn backend(&self, error: StoreError) -> Error {
        match error {
            StoreError::Backend(error) => error,
            other => self.rejected(crate::exit::chain(&other)),
        }
    }
}

#[async_trait]
impl Index for Checked {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        self.check(query).await?;
        let found = self.store.search(query).await?;
        // Looked at only then: a namespace that gives something is there.
        if found.is_empty()
            && !query.namespace.is_default()
            && self.store.stats(&query.namespace).await?.documents == 0
        {
            return Err(self.rejected(format!("it has no namespace `{}`", query.namespace)));
        }
        Ok(found)
    }

    async fn chunks_of(&self, namespace: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        self.store.chunks_of(namespace, doc).await
    }

    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, Error> {
        self.store.stats(namespace).await
    }
}
