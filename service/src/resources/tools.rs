//! The tools of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_backends::tool::program::ProgramTool;
use anabranch_engine::cx::ToolEntry;
use anabranch_engine::operator::PROGRAM_TOOL;

/// The tools that are there without any configuration.
pub(crate) fn built_in() -> BTreeMap<String, ToolEntry> {
    [(PROGRAM_TOOL.to_owned(), ToolEntry::One(Arc::new(ProgramTool::default())))].into()
}
