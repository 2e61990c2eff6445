//! Filter: what leaves chunks out.

mod cut;
mod date;
pub mod score;
pub mod llm;
mod threshold;
