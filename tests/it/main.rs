//! The integration tests, one binary. What crosses crates or reads files of the repository is tested here.
//!
//! `diagnostics`: every broken flow of `flows/invalid` is refused with the right codes, at the right places.
//! `tidy`: the repository keeps its own rules: directions, sizes, pages, generated files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

// mod diagnostics;
mod support;
mod tidy;
