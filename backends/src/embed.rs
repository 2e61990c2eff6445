//! Embedders: what turns texts into vectors.

mod hashed;
mod openai;
mod tei;
mod unit;

pub use crate::encoder::EncoderSettings;
pub use crate::http::SettingsError;
pub use hashed::Hashed;
pub use openai::OpenAiEmbedder;
pub use tei::TeiEmbedder;
