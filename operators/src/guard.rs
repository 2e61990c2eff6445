//! Guards: what keeps a loop from running astray or stopping early.

pub mod drift;
pub mod lazy;
