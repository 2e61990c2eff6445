//! Comparisons with a label that a router or judge never gives.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, nearest};
use crate::flow::reference::listed;
use crate::flow::{ExprText, KindDecl, NodeDecl};
use crate::operator::Registry;
use crate::plan::build::holes;
use crate::value::Text;

/// Warns of `router.label == "x"` in `text` where `x` is none of the labels that the router can give.
pub(crate) fn impossible_labels(
    file: &Arc<SourceFile>,
    registry: &Registry,
    nodes: &[NodeDecl],
    text: &ExprText,
    problems: &mut Diagnostics,
) {
    for node in nodes {
        let path = format!("{}.label", node.name.value);
        if !text.text.contains(&path) {
            continue;
        }
        let Some(labels) = labels(registry, node) else { continue };
        for (start, _) in text.text.match_indices(&path) {
            let before = text.text.get(..start).unwrap_or_default();
            let is_part = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            let rest = text.text.get(start + path.len()..).unwrap_or_default();
            let Some((offset, literal)) = compared(rest).filter(|_| !is_part) else { continue };
            if labels.iter().any(|label| **label == *literal) {
                continue;
            }
            let at = start + path.len() + offset;
            let message = format!("`{path}` is never `{literal}`, so this never holds");
            let list = listed(labels.iter().map(ToString::to_string)).unwrap_or_default();
            let hint = match nearest(literal, labels.iter().map(|label| &**label)) {
                Some(near) => format!("did you mean `{near}`? the labels are {list}"),
                None => format!("the labels of `{}` are {list}", node.name.value),
            };
            problems.push(
                Diagnostic::new(Code::NEVER_TRUE, file, text.part(at, at + literal.len() + 2), message)
                    .hint(hint),
            );
        }
    }
}

/// The labels that the node's operator says it can give. What is only known when the flow runs says nothing now.
fn labels(registry: &Registry, node: &NodeDecl) -> Option<Vec<Text>> {
    let KindDecl::Op(op) = &node.kind else { return None };
    let spec = registry.get(&op.value)?;
    let settings = match &node.settings {
        Some(settings) if !holes(settings).is_empty() => return None,
        Some(settings) if !settings.is_null() => settings.to_json(),
        _ => serde_json::Value::Object(serde_json::Map::new()),
    };
    spec.build(settings).ok()?.labels()
}

/// `== "literal"` at the start of `text`: where the quote is, and what is between the quotes.
fn compared(text: &str) -> Option<(usize, &str)> {
    let rest = text.trim_start().strip_prefix("==")?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = rest.get(1..)?;
    let literal = inner.get(..inner.find(quote)?)?;
    Some((text.len() - rest.len(), literal))
}
