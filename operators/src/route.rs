//! Operators that choose which way a flow goes.

pub mod llm;
pub mod rule;
pub mod semantic;
