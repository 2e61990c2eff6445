//! The order in which the nodes of a body can be looked at, and the cycles that stand in its way.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::mentions;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span};
use crate::flow::NodeDecl;

/// Positions of `nodes`, each after those that it mentions. Cycles are reported, once each.
///
/// `shadowed` are names that mean something else than a node here: the item of an each.
pub(crate) fn order(
    file: &Arc<SourceFile>,
    nodes: &[NodeDecl],
    shadowed: &[&str],
    problems: &mut Diagnostics,
) -> Vec<usize> {
    let is_node = |name: &&str| !shadowed.contains(name);
    let position = |name: &str| {
        Some(name).filter(is_node).and_then(|name| nodes.iter().position(|node| node.name.value == name))
    };
    // An edge points from the node that reads to the node that is read.
    let mut graph: DiGraphMap<usize, ()> = DiGraphMap::new();
    let mut places: BTreeMap<(usize, usize), Span> = BTreeMap::new();
    for (reader, node) in nodes.iter().enumerate() {
        graph.add_node(reader);
        let after = node.after.iter().map(|name| (name.value.clone(), name.span));
        let mentioned = mentions::of_node(node).into_iter().map(|mention| (mention.name, mention.span));
        for (name, span) in mentioned.chain(after) {
            if let Some(read) = position(&name) {
                graph.add_edge(reader, read, ());
                places.entry((reader, read)).or_insert(span);
            }
        }
    }
    // Tarjan's algorithm gives the components with what they point to first.
    let components = tarjan_scc(&graph);
    for component in &components {
        let start = component.iter().copied().min().unwrap_or_default();
        if component.len() > 1 || graph.contains_edge(start, start) {
            let chain = shortest_cycle(&graph, component, start);
            problems.push(report(file, nodes, &chain, &places));
        }
    }
    components.into_iter().flatten().collect()
}

/// The shortest way from `start` back to itself within its component: `start` first and last.
fn shortest_cycle(graph: &DiGraphMap<usize, ()>, component: &[usize], start: usize) -> Vec<usize> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<usize> = graph.neighbors(node).filter(|next| component.contains(next)).collect();
        next.sort_unstable();
        if next.contains(&start) {
            let mut chain: Vec<usize> =
                std::iter::successors(Some(node), |at| came_from.get(at).copied()).collect();
            chain.reverse();
            chain.push(start);
            return chain;
        }
        for to in next {
            if let Entry::Vacant(entry) = came_from.entry(to) {
                entry.insert(node);
                queue.push_back(to);
            }
        }
    }
    vec![start, start]
}

fn report(
    file: &Arc<SourceFile>,
    nodes: &[NodeDecl],
    chain: &[usize],
    places: &BTreeMap<(usize, usize), Span>,
) -> Diagnostic {
    let name = |position: usize| nodes.get(position).map_or("?", |node| node.name.value.as_str());
    let printed: Vec<&str> = chain.iter().map(|&position| name(position)).collect();
    let steps: Vec<(usize, usize)> = chain.iter().copied().zip(chain.iter().copied().skip(1)).collect();
    let place = |step: &(usize, usize)| places.get(step).copied().unwrap_or_default();
    let message = match steps.as_slice() {
        [(only, _)] => format!("node `{}` waits for itself: `{}`", name(*only), printed.join(" -> ")),
        _ => format!("nodes wait for one another: `{}`", printed.join(" -> ")),
    };
    let span = steps.first().map(place).unwrap_or_default();
    let mut diagnostic = Diagnostic::new(Code::CYCLE, file, span, message)
        .hint("a flow has no cycles; to go round again, put these nodes into a `loop` with `max_turns`, `carry` and `next`");
    for step in steps.iter().skip(1) {
        let label = format!("`{}` reads `{}` here", name(step.0), name(step.1));
        diagnostic = diagnostic.label(place(step), label);
    }
    diagnostic
}
