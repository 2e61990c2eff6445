//! Verify: what holds an answer against what it rests on.

pub mod citations;
pub mod llm;
