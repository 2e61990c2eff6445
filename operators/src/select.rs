//! Operators that choose among chunks.

pub mod budget;
