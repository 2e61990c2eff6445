//! Filter: what leaves chunks out.

mod cut;
mod date;
pub mod llm;
pub mod redundancy;
pub mod score;
mod threshold;
