//! From a flow to a plan.

use std::sync::Arc;

use crate::diagnostic::{Diagnostics, SourceFile};
use crate::flow::Library;
use crate::operator::{Names, Registry};
use crate::plan::Plan;

/// What a flow is compiled against.
pub struct Environment<'a> {
    /// The operators.
    pub registry: &'a Registry,
    /// The models and indexes; `None` if they are not known, then names are not checked.
    pub names: Option<&'a Names>,
    /// Sub-flows and prompt files.
    pub library: &'a dyn Library,
}

/// Reads, checks and resolves a flow. `Err` holds every problem, sorted; `Ok` comes with the warnings.
pub fn compile(
    file: &Arc<SourceFile>,
    environment: &Environment<'_>,
) -> Result<(Plan, Diagnostics), Diagnostics> {
    let _ = (file, environment);
    Err(Diagnostics::default())
}
