//! Operators that judge whether something is good enough.

pub mod knn;
pub mod llm;
pub mod retrieval;
pub mod rule;
