//! Benchmarks, one program each in `src/bin`: they print a ratio against a baseline of the same run.

pub mod answers;
pub mod data;
pub mod figures;
pub mod load;
#[cfg(feature = "local-embeddings")]
pub mod minilm;
pub mod passages;
pub mod postgres;
pub mod service;
pub mod spans;

/// Why a benchmark could not be done.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;
