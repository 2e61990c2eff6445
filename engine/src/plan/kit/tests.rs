//! Tests of plans that are made at run time: which are taken, and what is said of the others.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::diagnostic::Diagnostics;
use crate::plan::{Kind, Kit};
use crate::testing::{MapLibrary, plan};

const PART: &str = "flow: part\nabout: Doubles.\ninputs: { n: int, m: { type: int, default: 1 } }\nnodes:\n  \
    w: { op: test.work, in: { a: inputs.n, b: inputs.m } }\noutputs: { value: w.value }\n";
const ASKS: &str = "flow: asks\nnodes:\n  w: { wait: { for: int } }\noutputs: { value: w.value }\n";

fn library() -> MapLibrary {
    MapLibrary([("part", PART), ("asks", ASKS)].map(|(name, text)| (name.to_owned(), text.to_owned())).into())
}

/// The node `run` in a flow, with these keys more.
fn flow(more: &str) -> String {
    format!(
        "flow: f\ninputs: {{ n: int, plan: plan, words: \"list<text>?\" }}\nnodes:\n  run:\n    plan: inputs.plan\n    \
         in: {{ n: inputs.n, words: inputs.words }}\n    allow: [test.work, test.ask, part]\n    \
         outputs: {{ value: int, text: \"text?\" }}\n{more}outputs: {{ value: run.value }}\n"
    )
}

fn kit(more: &str) -> Arc<Kit> {
    let yaml = flow(more);
    let plan = plan(&yaml, &library()).unwrap_or_else(|problems| panic!("{problems}"));
    match &plan.root.nodes[0].kind {
        Kind::Plan(planned) => planned.kit.clone(),
        other => panic!("{other:?}"),
    }
}

fn lines(problems: &Diagnostics) -> String {
    problems
        .iter()
        .fold(String::new(), |lines, problem| lines + &format!("{} {}\n", problem.code, problem.message))
}

/// What is said of a plan, a line a problem; nothing if it is taken.
fn said(kit: &Kit, plan: &Json) -> String {
    let Err(problems) = kit.compile(plan) else { return String::new() };
    lines(&problems)
}

fn good() -> Json {
    json!({
        "nodes": {
            "a": { "op": "test.work", "in": { "x": "inputs.n" } },
            "b": { "flow": "part", "in": { "n": "a.value" } },
        },
        "outputs": { "value": "b.value" },
    })
}

#[test]
fn a_plan_is_checked_like_any_flow() {
    let kit = kit("");
    assert_eq!(said(&kit, &good()), "");
    for (pointer, value, expected) in [
        (
            "/nodes/a/in/x",
            json!("inputs.m"),
            "FLOW0024 node `a` reads `inputs.m`, but the flow has no input `m`",
        ),
        (
            "/nodes/b/in/n",
            json!("a.valeu"),
            "FLOW0023 node `b` reads `a.valeu`, but `a` has no output `valeu`",
        ),
        ("/nodes/b/in/n", json!("a.text"), "FLOW0026 port `n` of `b` takes `int`, but `a.text` is `text`"),
        ("/nodes/a/in/x", json!("b.value"), "FLOW0031 "),
        ("/nodes/a", json!({ "op": "test.work", "with": { "salt": "x" } }), "FLOW0020 "),
        ("/nodes/a", json!(7), "FLOW0011 "),
        ("/nodes", json!({}), "FLOW0010 `nodes` has no node"),
        ("/outputs/value", json!("c.value"), "FLOW0022 "),
    ] {
        let mut plan = good();
        *plan.pointer_mut(pointer).unwrap() = value;
        let found = said(&kit, &plan);
        assert!(found.contains(expected), "{pointer}: {found}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_with_what_is() {
    let kit = kit("");
    let mut plan = good();
    plan["nodes"]["c"] = json!({ "op": "test.numbers", "with": { "n": 3 } });
    plan["nodes"]["d"] = json!({ "flow": "asks" });
    assert_eq!(
        said(&kit, &plan),
        "FLOW0058 step `c` runs `test.numbers`, which is not allowed\n\
         FLOW0058 step `d` runs `asks`, which is not allowed\n"
    );
    let problems = kit.compile(&plan).unwrap_err();
    let hints: Vec<&str> = problems.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    assert_eq!(hints[0], "allowed are: `part`, `test.ask`, `test.work`");
}

#[test]
fn a_step_says_nothing_that_is_its_authors_to_say() {
    let kit = kit("");
    for (key, value) in [
        ("retry", json!({})),
        ("timeout", json!("1s")),
        ("on_error", json!("skip")),
        ("cache", json!(true)),
        ("budget", json!({ "model_calls": 1 })),
    ] {
        let mut plan = good();
        plan["nodes"]["a"][key] = value;
        let expected = format!("FLOW0058 step `a` has `{key}`, which is not for a plan to say\n");
        assert_eq!(said(&kit, &plan), expected);
    }
    let mut plan = good();
    plan["nodes"]["c"] = json!({ "loop": { "max_turns": 2, "nodes": { "d": { "op": "test.work" } } } });
    assert!(said(&kit, &plan).contains("step `c` runs neither an operator nor a flow"));
}

#[test]
fn a_plan_has_bounds() {
    let kit = kit("    max_nodes: 2\n");
    let mut plan = good();
    plan["nodes"]["c"] = json!({ "op": "test.work" });
    assert_eq!(said(&kit, &plan), "FLOW0058 the plan has 3 steps, at most 2 are allowed\n");
    let long = json!({ "nodes": {}, "about": "x".repeat(crate::limits::PLAN_BYTES) });
    assert!(said(&kit, &long).starts_with("FLOW0004 the plan has "));
}

#[test]
fn what_is_no_plan_is_refused() {
    let kit = kit("");
    for (plan, expected) in [
        (json!(null), "FLOW0011 the plan is no mapping\n"),
        (json!([]), "FLOW0011 the plan is no mapping\n"),
        (json!({ "steps": [] }), "FLOW0009 a plan has no key `steps`\n"),
        (json!({ "nodes": {}, "inputs": {} }), "FLOW0009 a plan has no key `inputs`\n"),
    ] {
        assert_eq!(said(&kit, &plan), expected);
    }
}

#[test]
fn a_plan_gives_what_it_is_asked_for() {
    let kit = kit("");
    let mut plan = good();
    plan["outputs"] = json!({ "valeu": "b.value", "text": "a.value" });
    assert_eq!(
        said(&kit, &plan),
        "FLOW0058 the plan does not give `value`, which must be `int`\n\
         FLOW0058 the plan gives `valeu`, which is none of the outputs asked for\n\
         FLOW0026 the plan gives `text` as `int`, and it must be `text`\n"
    );
}

#[test]
fn order_holds_over_any_distance_and_some_steps_must_be_there() {
    let kit = kit("    order: { part: test.ask }\n    must: [test.ask]\n");
    assert_eq!(
        said(&kit, &good()),
        "FLOW0058 no step of the plan runs `test.ask`\n\
         FLOW0058 step `b` runs `part` before any step that runs `test.ask`\n"
    );
    let mut plan = good();
    // Before it is not enough: nothing says that it has ended when the other begins.
    plan["nodes"]["ask"] = json!({ "op": "test.ask", "in": { "question": "'x'" }, "with": {} });
    assert!(said(&kit, &plan).contains("step `b` runs `part` before"));
    plan["nodes"]["a"]["after"] = json!("ask");
    assert_eq!(said(&kit, &plan), "");
}

#[test]
fn the_inventory_tells_what_there_is() {
    let kit = kit("");
    let inventory = &kit.inventory;
    let inputs: Vec<String> =
        inventory.inputs.iter().map(|port| format!("{}: {}", port.name, port.ty)).collect();
    assert_eq!(inputs, ["n: int", "words: list<text>?"]);
    let part = &inventory.parts[2];
    assert_eq!((&*part.name, &*part.about, part.is_operator()), ("part", "Doubles.", false));
    let takes: Vec<String> = part.inputs.iter().map(|port| port.ty.to_string()).collect();
    assert_eq!(takes, ["int", "int?"]);
    assert_eq!((inventory.max_nodes, inventory.repair), (12, 1));
}

#[test]
fn a_node_that_contradicts_itself_is_refused() {
    let problems = |yaml: &str| {
        let problems = plan(yaml, &library()).unwrap_err();
        lines(&problems)
    };
    let more = "    order: { part: tset.ask }\n    must: asks\n    fallback:\n      nodes:\n        \
                w: { op: test.work, in: { a: inputs.q } }\n      outputs: { value: w.text }\n";
    assert_eq!(
        problems(&flow(more)),
        "FLOW0058 `order` speaks of `tset.ask`, which is not under `allow`\n\
         FLOW0058 `must` speaks of `asks`, which is not under `allow`\n\
         FLOW0024 node `w` reads `inputs.q`, but the flow has no input `q`\n\
         FLOW0026 the fallback gives `value` as `text`, and it must be `int`\n"
    );
    let waits = flow("").replace("part]", "asks]");
    assert_eq!(problems(&waits), "FLOW0058 `asks` waits for an answer, at `w`, and a step cannot\n");
    let typed = flow("").replace("plan: inputs.plan", "plan: inputs.n");
    assert_eq!(problems(&typed), "FLOW0029 `plan` of node `run` must be `plan`, but `inputs.n` is `int`\n");
    let taken = flow("").replace("text: \"text?\"", "fell_back: bool");
    assert_eq!(problems(&taken), "FLOW0058 `fell_back` is an output that every plan has\n");
}
