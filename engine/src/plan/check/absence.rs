//! Which nodes may be skipped, which always are, and which results that leaves without a value.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Spanned};
use crate::flow::expression::Expr;
use crate::flow::{ExprText, NodeDecl};
use crate::operator::Port;
use crate::plan::build::Built;
use crate::plan::{OnError, Output, Ref};
use crate::types::Type;
use crate::value::Value;

/// For each node of a body, the node that decides whether it is skipped, if there is one.
pub(crate) struct Absence {
    /// Skipped whatever happens, because of this node.
    never: Vec<Option<usize>>,
    /// Skipped on some path, because of this node.
    maybe: Vec<Option<usize>>,
}

fn is_never(when: &Expr) -> bool {
    when.as_literal() == Some(&Value::Bool(false))
}

impl Absence {
    /// Works it out for `built`.
    pub(crate) fn of(built: &Built) -> Self {
        let own_never: Vec<bool> =
            built.nodes.iter().map(|node| node.when.as_ref().is_some_and(is_never)).collect();
        let own_maybe: Vec<bool> = built
            .nodes
            .iter()
            .map(|node| {
                let conditional = node.when.as_ref().is_some_and(|when| !when.refs.is_empty());
                conditional || matches!(node.on_error, OnError::Skip)
            })
            .collect();
        Self { never: spread(&own_never, &built.requires), maybe: spread(&own_maybe, &built.requires) }
    }

    /// Warns of nodes that never run.
    pub(crate) fn report_unreachable(
        &self,
        file: &Arc<SourceFile>,
        decls: &[NodeDecl],
        problems: &mut Diagnostics,
    ) {
        for (position, (decl, culprit)) in decls.iter().zip(&self.never).enumerate() {
            let Some(culprit) = *culprit else { continue };
            let name = &decl.name.value;
            let diagnostic = match decls.get(culprit) {
                Some(other) if culprit != position => {
                    let message = format!(
                        "node `{name}` can never run: it needs `{}`, which never runs",
                        other.name.value
                    );
                    let mut diagnostic = Diagnostic::new(Code::UNREACHABLE, file, decl.name.span, message)
                        .hint("take the value through `first(...)`, or take the node out");
                    if let Some(when) = &other.when {
                        diagnostic = diagnostic.label(when.span, "always false");
                    }
                    diagnostic
                }
                _ => {
                    let message = format!("node `{name}` can never run: its `when` is always false");
                    let span = decl.when.as_ref().map_or(decl.name.span, |when| when.span);
                    Diagnostic::new(Code::UNREACHABLE, file, span, message)
                        .hint("let the condition depend on an input or a node, or take the node out")
                }
            };
            problems.push(diagnostic);
        }
    }

    /// Warns of results that are absent on some path.
    pub(crate) fn report_outputs(
        &self,
        file: &Arc<SourceFile>,
        decls: &[NodeDecl],
        outputs: &[(&Spanned<String>, &ExprText, Expr)],
        problems: &mut Diagnostics,
    ) {
        for (name, text, value) in outputs {
            if value.refs.iter().any(|reference| !reference.strict) {
                continue;
            }
            let culprit = value.refs.iter().find_map(|reference| Self::culprit(&self.maybe, reference.at));
            let Some(decl) = culprit.and_then(|culprit| decls.get(culprit)) else { continue };
            let other = &decl.name.value;
            let message = format!("output `{}` is absent whenever `{other}` is skipped", name.value);
            let mut diagnostic = Diagnostic::new(Code::MAYBE_ABSENT, file, text.span, message)
                .hint(format!("give another value for that case: `first({}, ...)`", text.text));
            if let Some(when) = &decl.when {
                diagnostic = diagnostic.label(when.span, format!("`{other}` runs only if this holds"));
            } else if let Some(on_error) = &decl.on_error {
                diagnostic = diagnostic.label(on_error.span, format!("`{other}` is skipped if it fails"));
            }
            problems.push(diagnostic);
        }
    }

    /// A result of the body, optional if it can be absent.
    pub(crate) fn output(&self, name: &str, value: Expr) -> Output {
        let absent = value.refs.iter().filter(|reference| reference.strict).any(|reference| {
            Self::culprit(&self.maybe, reference.at).or(Self::culprit(&self.never, reference.at)).is_some()
        });
        let ty = if absent { Type::optional(value.ty.clone()) } else { value.ty.clone() };
        Output { port: Port { name: name.into(), ty, doc: value.source.clone() }, value }
    }

    fn culprit(of: &[Option<usize>], at: Ref) -> Option<usize> {
        let Ref::Port { node, .. } = at else { return None };
        of.get(node as usize).copied().flatten()
    }
}

/// Hands `own` on to every node that requires one that has it.
fn spread(own: &[bool], requires: &[Vec<u32>]) -> Vec<Option<usize>> {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); own.len()];
    for (reader, required) in requires.iter().enumerate() {
        for &node in required {
            if let Some(readers) = dependents.get_mut(node as usize) {
                readers.push(reader);
            }
        }
    }
    let mut culprits: Vec<Option<usize>> =
        own.iter().enumerate().map(|(position, &has)| has.then_some(position)).collect();
    let mut open: Vec<usize> = own.iter().enumerate().filter(|(_, has)| **has).map(|(at, _)| at).collect();
    while let Some(node) = open.pop() {
        let culprit = culprits.get(node).copied().flatten();
        for &reader in dependents.get(node).into_iter().flatten() {
            if let Some(slot @ None) = culprits.get_mut(reader) {
                *slot = culprit;
                open.push(reader);
            }
        }
    }
    culprits
}
