//! Embedders: what turns texts into vectors.

mod hashed;

pub use hashed::Hashed;
