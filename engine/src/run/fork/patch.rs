//! Edited results against the output ports of their nodes.

use std::collections::BTreeMap;

use super::history::History;
use crate::diagnostic::suggest;
use crate::plan::Node;
use crate::scope::Scope;
use crate::value::{Map, Mismatch, Text, Value};

/// Why an edited result cannot be put in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchProblem {
    /// A turn or an item: it has no outputs of its own.
    #[error("patch: `{scope}` is a turn or an item, which has no outputs; name a node in it")]
    NotANode {
        /// The place as it was given.
        scope: String,
    },
    /// The node has no such output.
    #[error("patch: `{scope}` has no output `{port}`{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    UnknownPort {
        /// Which node.
        scope: String,
        /// The port as it was given.
        port: Text,
        /// What would be right.
        hint: Option<String>,
    },
    /// The value is of another type.
    #[error("patch: output `{port}` of `{scope}`: {mismatch}")]
    Type {
        /// Which node.
        scope: String,
        /// Which output.
        port: Text,
        /// What is wrong with the value.
        mismatch: Mismatch,
    },
    /// An output is neither given nor known from the run.
    #[error("patch: output `{port}` of `{scope}` is missing: it takes `{ty}`")]
    Missing {
        /// Which node.
        scope: String,
        /// Which output.
        port: Text,
        /// Its type.
        ty: String,
    },
}

/// Edited results by node, as the journal has them.
pub(super) type Patch = BTreeMap<Scope, Vec<Option<Value>>>;

/// The outputs of `node` with those of `edited` in place: the others as they were, as far as that is known.
pub(super) fn outputs(
    path: &str,
    node: &Node,
    edited: &Map,
    history: &History,
) -> Result<Vec<Option<Value>>, Vec<PatchProblem>> {
    let scope = || path.to_owned();
    let mut problems = Vec::new();
    for port in edited.keys().filter(|name| !node.outputs.iter().any(|port| port.name == **name)) {
        let hint = suggest(port, node.outputs.iter().map(|port| &*port.name), "its outputs are");
        problems.push(PatchProblem::UnknownPort { scope: scope(), port: port.clone(), hint });
    }
    let before = history.outputs.get(&Scope::from(path));
    let mut outputs = Vec::with_capacity(node.outputs.len());
    for (port, position) in node.outputs.iter().zip(0..) {
        let value = match edited.get(&port.name) {
            // JSON has no other word for an output that is not there.
            Some(Value::Null) if port.ty.is_optional() => None,
            Some(value) => match value.clone().into_type(&port.ty) {
                Ok(value) => Some(value),
                Err(mismatch) => {
                    problems.push(PatchProblem::Type { scope: scope(), port: port.name.clone(), mismatch });
                    None
                }
            },
            None => match before.and_then(|before| before.get(position)) {
                Some(value) => value.clone(),
                None if port.ty.is_optional() => None,
                None => {
                    let (port, ty) = (port.name.clone(), port.ty.to_string());
                    problems.push(PatchProblem::Missing { scope: scope(), port, ty });
                    None
                }
            },
        };
        outputs.push(value);
    }
    if problems.is_empty() { Ok(outputs) } else { Err(problems) }
}
