//! A plan for reading in a terminal: an indented tree.

use super::{on_failure, what, worst_case};
use crate::budget::Budget;
use crate::flow::Need;
use crate::plan::{Body, Kind, Node, Plan};

pub(super) fn text(plan: &Plan) -> String {
    let mut out = String::new();
    line(&mut out, 0, &format!("flow {}", plan.name));
    if let Some(about) = &plan.about {
        line(&mut out, 1, about.trim());
    }
    if !plan.root.inputs.is_empty() {
        line(&mut out, 1, "inputs");
        for input in &plan.root.inputs {
            let default = input.default.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
            line(&mut out, 2, &format!("{}: {}{default}", input.port.name, input.port.ty));
        }
    }
    line(&mut out, 1, "nodes");
    nodes(&mut out, &plan.root, 2);
    if !plan.root.outputs.is_empty() {
        line(&mut out, 1, "outputs");
        for output in &plan.root.outputs {
            line(&mut out, 2, &format!("{}: {} = {}", output.port.name, output.port.ty, output.value.source));
        }
    }
    let cost = worst_case(plan);
    line(
        &mut out,
        0,
        &format!(
            "at most {} and {}, attempts included; budget: {}",
            counted(cost.executions, "operator execution"),
            counted(cost.model_calls, "model call"),
            budget(&plan.budget).unwrap_or_else(|| "none".to_owned())
        ),
    );
    out
}

fn nodes(out: &mut String, body: &Body, depth: usize) {
    let width = body.nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or_default();
    for node in &body.nodes {
        line(out, depth, &format!("{:width$}  {}", node.name, what(node)));
        for detail in details(body, node) {
            line(out, depth, &format!("{:width$}    {detail}", ""));
        }
        if let Some(inner) = node.body() {
            nodes(out, inner, depth + 1);
        }
        if let Kind::Plan(planned) = &node.kind
            && let Some(fallback) = &planned.fallback
        {
            line(out, depth + 1, "falls back to");
            nodes(out, fallback, depth + 2);
        }
    }
}

fn details(body: &Body, node: &Node) -> Vec<String> {
    let mut details = Vec::new();
    if !node.needs.is_empty() {
        let name = |at: u32| body.nodes.get(at as usize).map_or("?", |node| &*node.name);
        let waits: Vec<String> = node
            .needs
            .iter()
            .map(|need| format!("{}{}", name(need.node), if need.strict { "" } else { " (or not)" }))
            .collect();
        let join = match node.join.need {
            Need::All => "waits for",
            Need::Any => "waits for any of",
            Need::AtLeast(least) => &format!("waits for {least} of"),
        };
        details.push(format!("{join} {}", waits.join(", ")));
    }
    details.extend(node.when.as_ref().map(|when| format!("when {}", when.source)));
    if let Kind::Loop(inner) = &node.kind {
        for (reason, condition) in &inner.until {
            details.push(format!("until {reason}: {}", condition.source));
        }
    }
    if let Kind::Plan(planned) = &node.kind {
        let kit = &planned.kit;
        details.extend(
            kit.inventory
                .order
                .iter()
                .map(|(later, first)| format!("order: {later} after {}", first.join(", "))),
        );
        details.extend(
            (!kit.inventory.must.is_empty()).then(|| format!("must run {}", kit.inventory.must.join(", "))),
        );
    }
    if let Kind::Op(op) = &node.kind
        && op.retry.attempts > 1
    {
        details.push(format!("tried up to {} times", op.retry.attempts));
    }
    details.extend(on_failure(node));
    details.extend(node.budget.as_ref().and_then(budget).map(|budget| format!("budget: {budget}")));
    details
}

fn budget(budget: &Budget) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(budget.model_calls.map(|calls| counted(calls, "model call")));
    parts.extend(budget.model_tokens.map(|tokens| counted(tokens, "token")));
    parts.extend(budget.cost.map(|cost| format!("cost {cost}")));
    parts.extend(budget.wall.map(|wall| format!("{wall:?}")));
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn line(out: &mut String, depth: usize, text: &str) {
    out.extend([&"  ".repeat(depth), text.trim_end(), "\n"]);
}
