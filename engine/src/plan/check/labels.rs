//! Comparisons with a label that a router never gives.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, nearest};
use crate::flow::reference::listed;
use crate::flow::{ExprText, KindDecl, NodeDecl};

/// Warns of `router.label == "x"` in `text` where `x` is none of the router's `routes`.
pub(crate) fn impossible_labels(
    file: &Arc<SourceFile>,
    nodes: &[NodeDecl],
    text: &ExprText,
    problems: &mut Diagnostics,
) {
    for node in nodes {
        let Some(labels) = routes(node) else { continue };
        let path = format!("{}.label", node.name.value);
        for (start, _) in text.text.match_indices(&path) {
            let before = text.text.get(..start).unwrap_or_default();
            let is_part = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            let rest = text.text.get(start + path.len()..).unwrap_or_default();
            let Some((offset, literal)) = compared(rest).filter(|_| !is_part) else { continue };
            if labels.iter().any(|label| label == literal) {
                continue;
            }
            let at = start + path.len() + offset;
            let message = format!("`{path}` is never `{literal}`, so this never holds");
            let list = listed(labels.iter().cloned()).unwrap_or_default();
            let hint = match nearest(literal, labels.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`? the routes are {list}"),
                None => format!("the routes of `{}` are {list}", node.name.value),
            };
            problems.push(
                Diagnostic::new(Code::NEVER_TRUE, file, text.part(at, at + literal.len() + 2), message)
                    .hint(hint),
            );
        }
    }
}

/// The labels that a router can give: the keys of its `routes`.
fn routes(node: &NodeDecl) -> Option<Vec<String>> {
    let KindDecl::Op(op) = &node.kind else { return None };
    if !op.value.starts_with("route.") && !op.value.starts_with("judge.") {
        return None;
    }
    let settings = node.settings.as_ref()?;
    let mut labels: Vec<String> = settings
        .get("routes")?
        .as_map()?
        .iter()
        .filter_map(|(key, _)| key.raw().map(str::to_owned))
        .collect();
    labels.extend(settings.get("default").and_then(|default| default.as_str()).map(str::to_owned));
    Some(labels)
}

/// `== "literal"` at the start of `text`: where the quote is, and what is between the quotes.
fn compared(text: &str) -> Option<(usize, &str)> {
    let rest = text.trim_start().strip_prefix("==")?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = rest.get(1..)?;
    let literal = inner.get(..inner.find(quote)?)?;
    Some((text.len() - rest.len(), literal))
}
