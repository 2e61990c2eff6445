//! Rerank: what puts chunks into a better order.

pub mod llm;
