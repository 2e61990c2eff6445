//! Operators that judge whether something is good enough.

pub mod llm;
pub mod rule;
