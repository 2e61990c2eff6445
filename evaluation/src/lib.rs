//! Evaluation sets, and the figures by which what a flow gives is judged.
//!
//! Everything but reading the files of a set is arithmetic: no clock, and no randomness without a seed. Every figure
//! is computed here and nowhere else, so that `anabranch eval` and the benchmarks mean the same by the same name.
//! Shares are between 0 and 1, and higher is better.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod answers;
pub mod places;
pub mod ranking;
pub mod set;
pub mod spans;
pub mod statistics;
pub mod words;
