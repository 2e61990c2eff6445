//! Indexes: where chunks are kept so that a flow's retrievers find them.

pub mod embedded;
mod manifest;
pub mod pgvector;
pub mod qdrant;
mod store;

pub use embedded::{EmbeddedIndex, searched_text};
pub use manifest::{Fingerprint, Manifest};
pub use pgvector::PgIndex;
pub use qdrant::QdrantIndex;
pub use store::{Entry, IndexStore, IndexWriter, StoreError, VectorSpace};
