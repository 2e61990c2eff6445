//! Checks that need more than one node: order and cycles, joins, absence, what is used nowhere, tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span, nearest};
use crate::flow::{ExprText, Flow, JoinDecl, Need, NodeDecl};
use crate::plan::Dependency;
use crate::plan::build::Built;

mod absence;
mod cycles;
mod labels;
mod mentions;
mod stand_in;
mod tests;

pub(crate) use absence::Absence;
pub(crate) use cycles::order;
pub(crate) use labels::impossible_labels;
pub(crate) use stand_in::stand_ins;
pub(crate) use tests::tests;

/// Whether a join can be met by a node that reads these nodes.
pub(crate) fn join(
    file: &Arc<SourceFile>,
    decl: &NodeDecl,
    span: Span,
    join: &JoinDecl,
    reads: &[Dependency],
    problems: &mut Diagnostics,
) {
    let node = &decl.name.value;
    let (word, least) = match join.need {
        Need::All => return,
        Need::Any => ("any".to_owned(), 2),
        Need::AtLeast(least) => (format!("at_least: {least}"), least.max(2) as usize),
    };
    let n_reads = reads.len();
    let nodes = if n_reads == 1 { "1 node".to_owned() } else { format!("{n_reads} nodes") };
    let (message, hint) = if n_reads < least {
        (
            format!("`join: {word}` of `{node}` can never be met: it reads {nodes}"),
            "a join counts the nodes that `in` and `when` read; read more of them, or leave `join` out",
        )
    } else if reads.iter().all(|read| read.strict) {
        (
            format!(
                "`join: {word}` of `{node}` has no effect: it cannot do without any of the {nodes} it reads"
            ),
            "take them through `first(...)` or `all_present([...])`, which can do without some",
        )
    } else {
        return;
    };
    problems.push(Diagnostic::new(Code::JOIN, file, span, message).hint(hint));
}

/// Whether a node of `flow` was dropped because its name stands twice: who is not there may be the one.
pub(crate) fn has_gaps(flow: &Flow, problems: &Diagnostics) -> bool {
    let twice = problems.iter().filter(|problem| problem.code == Code::DUPLICATE_KEY);
    let firsts: Vec<Span> = twice.flat_map(|problem| &problem.labels).map(|label| label.span).collect();
    flow.nodes.is_empty() || flow.nodes.iter().any(|node| firsts.contains(&node.name.span))
}

/// Nodes whose outputs nobody reads: no other node, and none of `readers`.
pub(crate) fn unused<'a>(
    file: &Arc<SourceFile>,
    decls: &[NodeDecl],
    built: &Built,
    readers: impl Iterator<Item = &'a ExprText>,
    problems: &mut Diagnostics,
) {
    let mut used: BTreeSet<String> =
        readers.flat_map(mentions::of_expr).map(|mention| mention.name).collect();
    for decl in decls {
        let own = mentions::of_node(decl).into_iter().map(|mention| mention.name);
        let after = decl.after.iter().map(|name| name.value.clone());
        used.extend(own.chain(after).filter(|name| *name != decl.name.value));
    }
    // Who is meant by a name that is not there is used: the name is reported where it stands.
    let names = || decls.iter().map(|decl| decl.name.value.as_str());
    let misspelt = used.iter().filter(|name| names().all(|known| known != name.as_str()));
    let meant: Vec<String> = misspelt.filter_map(|name| nearest(name, names())).map(str::to_owned).collect();
    used.extend(meant);
    for (decl, node) in decls.iter().zip(&built.nodes) {
        if used.contains(&decl.name.value) || node.outputs.is_empty() {
            continue;
        }
        let message = format!("nothing uses the outputs of node `{}`", decl.name.value);
        let hint = "read one of them in another node or in `outputs`, or take the node out";
        problems.push(Diagnostic::new(Code::UNUSED, file, decl.name.span, message).hint(hint));
    }
}
