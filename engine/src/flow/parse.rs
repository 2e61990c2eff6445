//! From YAML to a [`Flow`]: the shape of the language, with every problem reported at its place.

use std::sync::Arc;

use crate::diagnostic::{Diagnostics, SourceFile};
use crate::flow::Flow;

/// Reads a flow. Problems go to `problems`; `None` only if there is nothing to go on with.
///
/// What can be read is given back even if something else is wrong, so that later checks can report in the same pass.
pub fn parse(file: &Arc<SourceFile>, problems: &mut Diagnostics) -> Option<Flow> {
    let _ = (file, problems);
    None
}

/// Reads a duration such as `90s`, `200ms` or `1m30s`; `Err` says what would be right.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let _ = text;
    Err(String::new())
}
