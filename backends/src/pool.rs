//! The model-call scheduler: the one place where calls of all runs meet, are ordered, and are sent to a model's servers.

mod aimd;
mod asked;
mod batch;
mod breaker;
mod cache;
mod chat;
mod core;
mod flight;
mod hedge;
mod leader;
mod pace;
mod policy;
mod prefix;
mod probe;
mod queue;
mod replica;
mod scheduler;
pub mod settings;
pub mod stats;
#[cfg(test)]
mod tests;

pub use batch::{BatchSettings, BatchStats, BatchedEmbedder, BatchedReranker};
pub use chat::{PooledChat, Replica};
pub use probe::Probe;
pub use settings::{PoolSettings, ReplicaSettings};
pub use stats::PoolStats;
