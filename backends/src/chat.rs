//! Chat models: a server that speaks the OpenAI-compatible API, recorded exchanges, scripted answers.

pub mod openai;
pub mod recorded;
pub mod scripted;

pub use openai::{OpenAiChat, OpenAiSettings};
pub use recorded::{Recorder, Recording, Replay, Tape};
pub use scripted::{Rule, Scripted};
