//! A plan as a drawing, for Mermaid and Graphviz: a box a node, a frame around what a node opens, an arrow a need.

use super::what;
use crate::plan::{Body, Node, Plan};

/// How a format writes things.
struct Style {
    open: fn(id: &str, label: &str) -> String,
    close: &'static str,
    node: fn(id: &str, label: &str) -> String,
    edge: fn(from: &str, to: &str, strict: bool) -> String,
    escape: fn(&str) -> String,
    line_break: &'static str,
}

const MERMAID: Style = Style {
    open: |id, label| format!("subgraph {id}[\"{label}\"]"),
    close: "end",
    node: |id, label| format!("{id}[\"{label}\"]"),
    edge: |from, to, strict| format!("{from} {} {to}", if strict { "-->" } else { "-.->" }),
    escape: |text| {
        text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
    },
    line_break: "<br/>",
};

const DOT: Style = Style {
    // Graphviz draws no arrows to frames; the frame's own box inside it takes them.
    open: |id, label| format!("subgraph cluster_{id} {{\n{id} [shape=plaintext label=\"{label}\"];"),
    close: "}",
    node: |id, label| format!("{id} [label=\"{label}\"];"),
    edge: |from, to, strict| format!("{from} -> {to}{};", if strict { "" } else { " [style=dashed]" }),
    escape: |text| text.replace('\\', "\\\\").replace('"', "\\\""),
    line_break: "\\n",
};

pub(super) fn mermaid(plan: &Plan) -> String {
    let mut out = "flowchart TD\n".to_owned();
    body(&mut out, &MERMAID, &plan.root, "n", 1);
    out
}

pub(super) fn dot(plan: &Plan) -> String {
    let mut out =
        format!("digraph \"{}\" {{\n  node [shape=box fontname=\"sans-serif\"];\n", (DOT.escape)(&plan.name));
    body(&mut out, &DOT, &plan.root, "n", 1);
    out.push_str("}\n");
    out
}

fn body(out: &mut String, style: &Style, of: &Body, prefix: &str, depth: usize) {
    let id = |position: usize| format!("{prefix}{position}");
    for (position, node) in of.nodes.iter().enumerate() {
        let label = label(style, node);
        if let Some(inner) = node.body() {
            write(out, depth, &(style.open)(&id(position), &label));
            body(out, style, inner, &format!("{prefix}{position}_"), depth + 1);
            write(out, depth, style.close);
        } else {
            write(out, depth, &(style.node)(&id(position), &label));
        }
    }
    for (position, node) in of.nodes.iter().enumerate() {
        for need in &node.needs {
            write(out, depth, &(style.edge)(&id(need.node as usize), &id(position), need.strict));
        }
    }
}

fn label(style: &Style, node: &Node) -> String {
    let mut lines = vec![node.name.to_string(), what(node)];
    lines.extend(node.when.as_ref().map(|when| format!("when {}", when.source)));
    lines
        .iter()
        .map(|line| (style.escape)(&line.replace('\n', " ")))
        .collect::<Vec<_>>()
        .join(style.line_break)
}

fn write(out: &mut String, depth: usize, text: &str) {
    for line in text.lines() {
        out.extend([&"  ".repeat(depth), line, "\n"]);
    }
}
