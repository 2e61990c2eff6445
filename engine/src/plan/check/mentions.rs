//! Which names a node mentions, before anything is resolved: gives the order of the nodes, and finds cycles.

use std::collections::BTreeSet;

use crate::diagnostic::Span;
use crate::flow::reference::Mentions;
use crate::flow::{EachBody, Entry, ExprText, KindDecl, Late, NodeDecl, expression};
use crate::plan::build::holes;

/// A name in an expression, and where the expression stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mention {
    /// The first part of a path.
    pub(crate) name: String,
    /// Place of the expression.
    pub(crate) span: Span,
}

/// Every name that `text` begins a path with. If it cannot be read, every word in it.
pub(crate) fn of_expr(text: &ExprText) -> Vec<Mention> {
    let names = Mentions::default();
    let readable = expression::compile(&text.text, &names).is_ok();
    let mut names: BTreeSet<String> = names.0.into_inner().into_iter().collect();
    if !readable && names.is_empty() {
        let words = text.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    names.into_iter().map(|name| Mention { name, span: text.span }).collect()
}

/// Every name of the scope around that `node`, or something inside it, mentions.
pub(crate) fn of_node(node: &NodeDecl) -> Vec<Mention> {
    let mut outer: Vec<&ExprText> = node.when.iter().collect();
    // What stands on an each with `op` or `flow` belongs to the item.
    let mut own: Vec<&ExprText> = values(&node.inputs).collect();
    let holes = node.settings.as_ref().map(holes).unwrap_or_default();
    own.extend(&holes);
    own.extend([node.timeout.as_ref(), node.idle_timeout.as_ref()].into_iter().filter_map(later));
    let mut inner: Vec<Mention> = Vec::new();
    let mut shadowed: Vec<&str> = Vec::new();
    match &node.kind {
        KindDecl::Op(_) | KindDecl::Flow(_) | KindDecl::Wait(_) | KindDecl::Unknown => outer.append(&mut own),
        KindDecl::Plan(decl) => {
            outer.append(&mut own);
            outer.push(&decl.plan);
        }
        KindDecl::Loop(decl) => {
            outer.append(&mut own);
            outer.extend(values(&decl.carry));
            outer.extend(later(decl.max_turns.as_ref()));
            inner.extend(values(&decl.next).chain(values(&decl.until)).flat_map(of_expr));
            inner.extend(decl.nodes.iter().flat_map(of_node));
            shadowed.extend(decl.nodes.iter().map(|node| node.name.value.as_str()));
        }
        KindDecl::Each(decl) => {
            outer.push(&decl.items);
            outer.extend([decl.concurrency.as_ref(), decl.max_items.as_ref()].into_iter().filter_map(later));
            inner.extend(values(&decl.outputs).flat_map(of_expr));
            inner.extend(own.into_iter().flat_map(of_expr));
            shadowed.extend([decl.name.value.as_str(), "index"]);
            if let EachBody::Nodes(nodes) = &decl.body {
                inner.extend(nodes.iter().flat_map(of_node));
                shadowed.extend(nodes.iter().map(|node| node.name.value.as_str()));
            }
        }
    }
    inner.retain(|mention| !shadowed.contains(&mention.name.as_str()));
    outer.into_iter().flat_map(of_expr).chain(inner).collect()
}

fn values(entries: &[Entry<ExprText>]) -> impl Iterator<Item = &ExprText> {
    entries.iter().map(|entry| &entry.value)
}

fn later<T>(late: Option<&Late<T>>) -> Option<&ExprText> {
    if let Some(Late::Later(text)) = late { Some(text) } else { None }
}
