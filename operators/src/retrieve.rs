//! Operators that find chunks in an index.

pub mod bm25;
pub mod dense;
pub mod hybrid;
pub(crate) mod search;
