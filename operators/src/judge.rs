//! Operators that judge whether something is good enough.

pub mod rule;
