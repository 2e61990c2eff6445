//! Rerankers: what says how well a text matches a query.

mod lexical;

pub use lexical::Lexical;
