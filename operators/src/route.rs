//! Operators that choose which way a flow goes.

pub mod rule;
