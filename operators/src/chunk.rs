//! Operators that cut documents into chunks, and what they share.

mod blocks;
pub mod code;
pub mod fixed;
mod headings;
pub(crate) mod length;
mod pack;
pub mod place;
mod plain;
pub mod recursive;
pub mod semantic;
pub mod sentence;
pub(crate) mod split;
pub mod structure;
mod table;

pub(crate) use blocks::options as markdown_options;
