//! A plan for machines.

use serde_json::{Value as Json, json};

use super::worst_case;
use crate::plan::{Body, Kind, Late, Node, OnError, Op, Plan};

pub(super) fn json(plan: &Plan) -> String {
    let shown = json!({
        "flow": &*plan.name,
        "hash": &*plan.hash,
        "about": plan.about.as_deref(),
        "inputs": plan.root.inputs.iter().map(|input| json!({
            "port": input.port,
            "default": input.default,
            "min": input.min,
            "max": input.max,
        })).collect::<Vec<_>>(),
        "nodes": nodes(&plan.root),
        "outputs": outputs(&plan.root),
        "indexes": plan.indexes,
        "budget": plan.budget,
        "worst_case": worst_case(plan),
    });
    format!("{shown:#}\n")
}

/// One node, without those inside it.
pub(super) fn node(body: &Body, node: &Node) -> Json {
    let mut shown = one(body, node);
    if let Some(shown) = shown.as_object_mut() {
        shown.shift_remove("nodes");
    }
    shown
}

fn nodes(body: &Body) -> Vec<Json> {
    body.nodes.iter().map(|node| one(body, node)).collect()
}

fn outputs(body: &Body) -> Vec<Json> {
    body.outputs.iter().map(|output| json!({ "port": output.port, "value": &*output.value.source })).collect()
}

fn one(body: &Body, node: &Node) -> Json {
    let needs = node.needs.iter().map(|need| {
        let name = body.nodes.get(need.node as usize).map(|node| &*node.name);
        json!({ "node": name, "strict": need.strict })
    });
    let mut shown = json!({
        "name": &*node.name,
        "about": node.about.as_deref(),
        "needs": needs.collect::<Vec<_>>(),
        "when": node.when.as_ref().map(|when| &*when.source),
        "outputs": node.outputs,
        "budget": node.budget,
        "on_error": match &node.on_error {
            OnError::Fail => json!("fail"),
            OnError::Skip => json!("skip"),
            OnError::Value(values) => json!({ "value": values }),
            OnError::Flow { body, .. } => json!({ "flow": body.flow.as_deref() }),
        },
    });
    let kind = match &node.kind {
        Kind::Op(op) => {
            json!({ "op": op.spec.name, "attempts": op.retry.attempts, "in": reads(op), "with": op.written })
        }
        Kind::Flow { body, .. } => json!({ "flow": body.flow.as_deref() }),
        Kind::Loop(turn) => json!({ "loop": {
            "max_turns": bound(&turn.max_turns),
            "carry": turn.carry,
            "until": turn.until.iter().map(|(reason, condition)| json!({
                "reason": &**reason,
                "condition": &*condition.source,
            })).collect::<Vec<_>>(),
        }}),
        Kind::Plan(planned) => {
            let kit = &planned.kit;
            let inputs = kit.inventory.inputs.iter().zip(&planned.inputs);
            json!({ "plan": {
                "plan": &*planned.plan.source,
                "inputs": inputs.map(|(port, value)| json!({ "port": port, "value": &*value.source })).collect::<Vec<_>>(),
                "allow": kit.inventory.parts.iter().map(|part| &*part.name).collect::<Vec<_>>(),
                "max_nodes": kit.inventory.max_nodes,
                "repair": kit.inventory.repair,
                "order": kit.inventory.order.iter().map(|(later, first)| (later.to_string(), json!(first))).collect::<serde_json::Map<_, _>>(),
                "must": kit.inventory.must,
                "fallback": planned.fallback.as_ref().map(|body| nodes(body)),
            }})
        }
        Kind::Wait(wait) => json!({ "wait": {
            "for": wait.ty,
            "about": wait.about,
            "shown": wait.shown.iter().map(|(name, expr)| (name.to_string(), json!(&*expr.source))).collect::<serde_json::Map<_, _>>(),
            "deadline_ms": u64::try_from(wait.deadline.as_millis()).unwrap_or(u64::MAX),
            "default": wait.default,
        }}),
        Kind::Each(item) => json!({ "each": {
            "items": &*item.items.source,
            "concurrency": bound(&item.concurrency),
            "max_items": bound(&item.max_items),
        }}),
    };
    if let (Some(shown), Json::Object(kind)) = (shown.as_object_mut(), kind) {
        shown.extend(kind);
        if let Some(inner) = node.body() {
            shown.insert("nodes".to_owned(), nodes(inner).into());
        }
    }
    shown
}

/// What each input port reads.
fn reads(op: &Op) -> serde_json::Map<String, Json> {
    let ports = op.names.iter().zip(&op.inputs);
    ports.filter_map(|(name, expr)| Some((name.to_string(), json!(&*expr.as_ref()?.source)))).collect()
}

fn bound(late: &Late<u32>) -> Json {
    match late {
        Late::Now(count) => json!(count),
        Late::Later(expr) => json!(format!("${{ {} }}", expr.source)),
    }
}
