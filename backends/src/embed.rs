//! Embedders: what turns texts into vectors.

mod hashed;
#[cfg(feature = "local-embeddings")]
mod local;
mod openai;
mod tei;
mod unit;

pub use crate::encoder::EncoderSettings;
pub use crate::http::SettingsError;
pub use hashed::Hashed;
#[cfg(feature = "local-embeddings")]
pub use local::{LocalEmbedder, LocalError};
pub use openai::OpenAiEmbedder;
pub use tei::TeiEmbedder;
