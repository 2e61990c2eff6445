//! A plan as text, Mermaid, DOT and JSON, with the most operator executions and model calls that it can take.

use crate::plan::{Kind, Late, Node, OnError, Plan};
use crate::scope::Scope;

mod cost;
mod graph;
mod json;
mod text;

pub use cost::{Cost, worst_case};

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
    match format {
        Format::Text => text::text(plan),
        Format::Mermaid => graph::mermaid(plan),
        Format::Dot => graph::dot(plan),
        Format::Json => json::json(plan),
    }
}

/// The node that runs at `scope`, for machines: what it runs, reads, waits for and is set to, as [`Format::Json`] has it
/// but without the nodes inside it; `None` if there is none.
pub fn explain_node(plan: &Plan, scope: &Scope) -> Option<serde_json::Value> {
    let (body, node) = plan.place(scope)?;
    Some(json::node(body, node))
}

/// What a node runs, in a few words: `op read.answer`, `loop, at most 4 turns`.
fn what(node: &Node) -> String {
    match &node.kind {
        Kind::Op(op) => format!("op {}", op.spec.name),
        Kind::Flow { body, .. } => format!("flow {}", body.flow.as_deref().unwrap_or("?")),
        Kind::Loop(inner) => format!("loop, at most {} turns", bound(&inner.max_turns)),
        Kind::Each(inner) => format!(
            "each of {}, {} at once, at most {} items",
            inner.items.source,
            bound(&inner.concurrency),
            bound(&inner.max_items)
        ),
        Kind::Plan(planned) => {
            let parts: Vec<&str> = planned.kit.inventory.parts.iter().map(|part| &*part.name).collect();
            format!(
                "plan {}, at most {} steps of {}",
                planned.plan.source,
                planned.kit.inventory.max_nodes,
                parts.join(", ")
            )
        }
        Kind::Wait(wait) => {
            format!("wait for {}, at most {}", wait.ty, crate::flow::parse::written(wait.deadline))
        }
    }
}

fn bound(late: &Late<u32>) -> String {
    match late {
        Late::Now(count) => count.to_string(),
        Late::Later(expr) => format!("${{ {} }}", expr.source),
    }
}

/// What happens when the node fails, if it is not that everything around it does.
fn on_failure(node: &Node) -> Option<String> {
    match &node.on_error {
        OnError::Fail => None,
        OnError::Skip => Some("is skipped if it fails".to_owned()),
        OnError::Value(_) => Some("gives fixed values if it fails".to_owned()),
        OnError::Flow { body, .. } => {
            Some(format!("runs flow {} if it fails", body.flow.as_deref().unwrap_or("?")))
        }
    }
}
