//! Operators that answer a question from chunks, and what they share.

pub mod answer;
mod cite;
mod cues;
pub mod extractive;
mod marks;
mod outline;
mod rank;
mod sentences;
