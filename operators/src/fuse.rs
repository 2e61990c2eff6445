//! Fuse: what makes one ranking, or one answer, of several.

pub mod llm;
pub(crate) mod ranking;
pub mod rrf;
pub mod vote;
pub mod weighted;
