//! Operators that make plans, which a node with `plan` runs.

pub mod llm;
mod shown;
pub mod steps;
