//! The operators that come with Anabranch, one file each, and the registry that lists them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use anabranch_engine::operator::Registry;

pub mod chunk;
#[cfg(test)]
mod testing;
pub mod tokens;

/// Every operator, by name. A line here makes a file an operator that flows can use.
pub fn registry() -> Registry {
    Registry::default()
        .with::<chunk::recursive::Recursive>() // chunk.recursive
        .with::<chunk::structure::Structure>() // chunk.structure
}
