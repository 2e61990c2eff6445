//! Operators that keep the chunks that a flow has gathered.

pub mod append;
mod blocks;
pub mod expand;
pub mod group;
