//! Fuse: what makes one ranking of several.

pub(crate) mod ranking;
pub mod rrf;
pub mod weighted;
