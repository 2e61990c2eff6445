//! Operators that answer a question from chunks, and what they share.

mod cite;
pub mod extractive;
mod outline;
mod rank;
mod sentences;
