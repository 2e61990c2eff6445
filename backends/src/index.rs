//! Indexes: where chunks are kept so that a flow's retrievers find them.

pub mod embedded;

pub use embedded::EmbeddedIndex;
