//! Rerankers: what says how well a text matches a query.

mod cohere;
mod lexical;
mod scores;
mod tei;

pub use crate::encoder::EncoderSettings;
pub use crate::http::SettingsError;
pub use cohere::CohereReranker;
pub use lexical::Lexical;
pub use tei::TeiReranker;
