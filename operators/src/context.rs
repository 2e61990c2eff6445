//! Operators that keep the chunks that a flow has gathered.

pub mod append;
