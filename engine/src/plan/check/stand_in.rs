//! Whether the values that stand in for a failed node are those that somebody reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile};
use crate::flow::expression::Expr;
use crate::flow::reference::listed;
use crate::flow::{NodeDecl, OnErrorDecl};
use crate::plan::{Kind, Node, Ref, Settings};

/// Reports outputs that `on_error: {value: ...}` leaves out although `nodes` or `results` read them.
pub(crate) fn stand_ins<'a>(
    file: &Arc<SourceFile>,
    decls: &[NodeDecl],
    nodes: &[Node],
    results: impl Iterator<Item = &'a Expr>,
    problems: &mut Diagnostics,
) {
    let mut read: BTreeSet<Ref> = nodes.iter().flat_map(refs).collect();
    read.extend(results.flat_map(|expr| expr.refs.iter().map(|reference| reference.at)));
    for ((decl, node), position) in decls.iter().zip(nodes).zip(0..) {
        let Some(on_error) = &decl.on_error else { continue };
        let OnErrorDecl::Value(given) = &on_error.value else { continue };
        let missing = node.outputs.iter().zip(0..).filter(|(port, at)| {
            let is_given = given.iter().any(|entry| entry.key.value == *port.name);
            !is_given && read.contains(&Ref::Port { node: position, port: *at })
        });
        let missing = missing.map(|(port, _)| port.name.to_string());
        if let Some(list) = listed(missing) {
            let message =
                format!("`on_error` of `{}` gives no value for {list}, which the flow reads", node.name);
            problems.push(
                Diagnostic::new(Code::ON_ERROR, file, on_error.span, message)
                    .hint("give a value for every output that is read, or use `on_error: skip`, which leaves all absent"),
            );
        }
    }
}

/// What a node reads in the scope that it stands in.
fn refs(node: &Node) -> Vec<Ref> {
    let mut exprs: Vec<&Expr> = node.when.iter().collect();
    let mut read: Vec<Ref> = Vec::new();
    match &node.kind {
        Kind::Op(op) => {
            exprs.extend(op.inputs.iter().flatten());
            if let Settings::Late { holes, .. } = &op.settings {
                exprs.extend(holes.iter().map(|(_, expr)| expr));
            }
        }
        Kind::Flow { inputs, .. } => exprs.extend(inputs.iter().flatten()),
        Kind::Plan(planned) => {
            exprs.push(&planned.plan);
            exprs.extend(&planned.inputs);
        }
        Kind::Wait(wait) => exprs.extend(wait.shown.iter().map(|(_, expr)| expr)),
        Kind::Loop(spec) => {
            exprs.extend(&spec.first);
            read.extend(&spec.body.captures);
        }
        Kind::Each(spec) => {
            exprs.push(&spec.items);
            read.extend(&spec.body.captures);
        }
    }
    read.extend(exprs.into_iter().flat_map(|expr| expr.refs.iter().map(|reference| reference.at)));
    read
}
