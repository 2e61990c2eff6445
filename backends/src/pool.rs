//! The model-call scheduler: the one place where calls of all runs meet, are ordered, and are sent to a model's servers.

#[allow(dead_code, reason = "the scheduler that reads it follows")]
mod asked;
mod chat;
mod scheduler;
pub mod settings;
#[allow(dead_code, reason = "the scheduler that counts follows")]
pub mod stats;

pub use chat::{PooledChat, Replica};
pub use settings::{PoolSettings, ReplicaSettings};
pub use stats::PoolStats;
