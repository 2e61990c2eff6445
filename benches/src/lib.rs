//! Benchmarks, one program each in `src/bin`: they print a ratio against a baseline of the same run.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod arguments;
pub mod figures;
pub mod gpu;
pub mod load;
#[cfg(feature = "local-embeddings")]
pub mod minilm;
pub mod passages;
pub mod postgres;
pub mod service;
pub mod serving;
pub mod tabmwp;

/// Why a benchmark could not be done.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What a program of this crate gives, or why it cannot.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
