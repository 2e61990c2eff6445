//! Operators that have tools called, and what they share.

pub mod call;
mod offered;
mod references;
pub mod retrieve;
pub mod run;

use anabranch_engine::cx::NamedTool;
use anabranch_engine::operator::OpError;

/// Refuses tools that do more when they are called twice, unless the node says that it has effects.
pub(crate) fn check_effects(tools: &[NamedTool], effects: bool) -> Result<(), OpError> {
    match tools.iter().find(|named| !effects && !named.tool.is_idempotent()) {
        Some(named) => Err(OpError::InvalidSetting(format!(
            "tool `{0}` must not be called twice, but `effects: false` says that this node may be repeated; leave `effects` \
             out, or set `idempotent: true` for `{0}` in anabranch.yaml",
            named.name
        ))),
        None => Ok(()),
    }
}
