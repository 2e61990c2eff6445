//! Operators that choose which way a flow goes.

pub mod cluster;
mod clusters;
pub mod llm;
pub mod rule;
pub mod semantic;
pub mod tag;
pub mod tally;
