//! What stands behind the engine's backend traits: model servers, indexes, and the files that fill them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod chat;
pub mod egress;
pub mod embed;
mod encoder;
mod http;
pub mod index;
pub mod load;
pub mod pool;
pub mod program;
pub mod rerank;
pub mod tokenizer;
pub mod tool;
mod words;
