//! The command line and the service: the only crate that knows files, the environment and the terminal.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod config;
pub mod resources;
