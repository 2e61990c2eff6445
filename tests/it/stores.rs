//! Indexes outside this program: the same answers as the built-in one, and a typed error for everything that fails.

mod corpus;
mod pgvector;
pub(crate) mod postgres;
mod qdrant;
