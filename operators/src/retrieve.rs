//! Operators that find chunks in an index.

pub mod bm25;
