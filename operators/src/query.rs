//! Operators that change the query.

pub mod expand;
