//! Operators that cut documents into chunks, and what they share.

mod blocks;
mod headings;
pub(crate) mod length;
mod pack;
pub mod place;
mod plain;
pub mod recursive;
mod split;
pub mod structure;

pub(crate) use blocks::options as markdown_options;
