//! Operators that answer a question from chunks, and what they share.

use std::sync::Arc;

use anabranch_engine::ports;
use anabranch_engine::value::Chunk;

pub mod answer;
mod cite;
pub mod closed_book;
mod cues;
pub mod extractive;
pub mod lookahead;
pub mod map_reduce;
pub mod margins;
pub(crate) mod marks;
pub mod memory;
pub(crate) mod names;
mod numbers;
mod outline;
mod rank;
pub mod refine;
mod sentences;
mod source;
mod split;
pub(crate) mod support;
mod window;

ports! {
    /// What readers read.
    pub struct In {
        /// What was asked.
        pub question: String,
        /// The chunks to answer from, best first.
        pub chunks: Vec<Arc<Chunk>>,
    }
}
