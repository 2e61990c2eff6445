//! Filter: what leaves chunks out.

pub mod llm;
mod threshold;
