//! What a plan holds.

use std::sync::Arc;

use super::flows::{FAN, LINEAR, MULTIHOP};
use super::{plan, plan_with};
use crate::flow::expression::Reference;
use crate::plan::{Body, Dependency, Kind, Late, Node, Ref, Settings};
use crate::types::Type;

fn node<'a>(body: &'a Body, name: &str) -> &'a Node {
    body.nodes.iter().find(|node| &*node.name == name).unwrap()
}

#[test]
fn a_linear_flow_becomes_positions() {
    let plan = plan(LINEAR);
    let answer = node(&plan.root, "answer");
    assert_eq!(answer.needs, [Dependency { node: 0, strict: true }]);
    assert_eq!(plan.root.nodes[0].dependents, [1]);
    let Kind::Op(op) = &answer.kind else { panic!() };
    assert_eq!(
        op.inputs[1].as_ref().unwrap().refs,
        [Reference { at: Ref::Port { node: 0, port: 0 }, strict: true }]
    );
    assert_eq!(op.inputs[0].as_ref().unwrap().refs, [Reference { at: Ref::Input(0), strict: true }]);
    assert!(matches!(op.settings, Settings::Ready(_)));
    assert_eq!(op.retry.attempts, 1);
    assert_eq!(&*plan.indexes[0], "docs");
    let Kind::Op(search) = &plan.root.nodes[0].kind else { panic!() };
    assert_eq!(search.inputs.len(), 2, "an optional port that is not connected has its place");
    assert!(search.inputs[1].is_none());
}

#[test]
fn a_loop_captures_what_it_reads_from_outside() {
    let plan = plan_with(MULTIHOP, &[("linear", LINEAR)]);
    let hop = node(&plan.root, "hop");
    let Kind::Loop(inner) = &hop.kind else { panic!() };
    assert_eq!(inner.body.captures, [Ref::Input(0)], "`inputs.question`, once");
    assert!(matches!(inner.max_turns, Late::Later(_)));
    assert_eq!(inner.carry[0].ty, Type::list(Type::Chunk), "`[]` takes the type of what comes next");
    let names: Vec<&str> = hop.outputs.iter().map(|port| &*port.name).collect();
    assert_eq!(names, ["chunks", "query", "turns", "stopped_because"]);
    let answer = node(&plan.root, "answer");
    assert!(answer.needs.iter().all(|need| !need.strict), "both come through `first`");
    let Kind::Flow { body, inputs } = &node(&plan.root, "once").kind else { panic!() };
    assert_eq!((body.inputs.len(), inputs.len()), (1, 1));
}

#[test]
fn an_each_gives_lists_and_its_items_know_their_index() {
    let plan = plan(FAN);
    let fan = node(&plan.root, "fan");
    assert_eq!(fan.outputs[0].ty, Type::list(Type::list(Type::Chunk)));
    assert_eq!(&*fan.outputs[2].name, "errors");
    let Kind::Each(inner) = &fan.kind else { panic!() };
    let Kind::Op(op) = &inner.body.nodes[0].kind else { panic!() };
    let refs: Vec<Ref> = op.inputs[0].as_ref().unwrap().refs.iter().map(|reference| reference.at).collect();
    assert_eq!(refs, [Ref::Input(0), Ref::Capture(0)]);
    let read = node(&plan.root, "read");
    assert_eq!(read.needs, [Dependency { node: 0, strict: true }]);
    let Kind::Each(inner) = &read.kind else { panic!() };
    assert_eq!(inner.body.outputs[1].value.refs[0].at, Ref::Input(1));
}

#[test]
fn the_item_of_an_each_may_be_called_like_its_node() {
    let plan = plan(&FAN.replace("as: query", "as: bm25").replace("query: query +", "query: bm25 +"));
    let Kind::Each(inner) = &node(&plan.root, "fan").kind else { panic!() };
    assert_eq!(&*inner.body.nodes[0].name, "bm25", "its only node has the last name of the operator");
}

#[test]
fn captures_go_through_every_level() {
    let plan = plan(
        "flow: deep
inputs: { question: text, lists: list<list<text>> }
nodes:
  seek: { op: retrieve.bm25, in: { query: inputs.question } }
  outer:
    each: inputs.lists
    as: list
    nodes:
      inner:
        each: list
        nodes:
          answer: { op: read.answer, in: { question: item, chunks: seek.chunks } }
        outputs: { text: answer.text }
    outputs: { texts: inner.text }
outputs: { texts: outer.texts }
",
    );
    let outer = node(&plan.root, "outer");
    assert_eq!(outer.needs, [Dependency { node: 0, strict: true }]);
    let Kind::Each(outer) = &outer.kind else { panic!() };
    assert_eq!(outer.body.captures, [Ref::Port { node: 0, port: 0 }]);
    let Kind::Each(inner) = &outer.body.nodes[0].kind else { panic!() };
    assert_eq!(inner.body.captures, [Ref::Capture(0)]);
    assert!(outer.body.nodes[0].needs.is_empty());
}

#[test]
fn a_sub_flow_is_compiled_once() {
    let plan = plan_with(
        "flow: twice
inputs: { q: text }
nodes:
  a: { flow: linear, in: { question: inputs.q } }
  b: { flow: linear, in: { question: a.answer } }
outputs: { answer: b.answer }
",
        &[("linear", LINEAR)],
    );
    let bodies: Vec<&Arc<Body>> = plan
        .root
        .nodes
        .iter()
        .map(|node| if let Kind::Flow { body, .. } = &node.kind { body } else { panic!() })
        .collect();
    assert!(Arc::ptr_eq(bodies[0], bodies[1]));
}

#[test]
fn the_hash_changes_with_a_prompt_and_with_a_sub_flow_only() {
    let yaml = "flow: f
inputs: { q: text }
nodes:
  a: { flow: linear, in: { question: inputs.q } }
  b: { op: read.answer, in: { question: inputs.q, chunks: a.chunks }, with: { prompt: p.md } }
outputs: { answer: b.text }
";
    let hash = |prompt: &str, linear: &str| plan_with(yaml, &[("p.md", prompt), ("linear", linear)]).hash;
    let base = hash("{{ question }}", LINEAR);
    assert_eq!(base, hash("{{ question }}", LINEAR));
    assert_ne!(base, hash("{{ question }}!", LINEAR));
    assert_ne!(base, hash("{{ question }}", &LINEAR.replace("top_k: 8", "top_k: 9")));
}

#[test]
fn expressions_in_settings_become_holes() {
    let plan = plan(&LINEAR.replace("top_k: 8", "top_k: \"${ size(inputs.question) }\""));
    let Kind::Op(op) = &plan.root.nodes[0].kind else { panic!() };
    let Settings::Late { template, holes } = &op.settings else { panic!() };
    assert_eq!(holes[0].0, "/top_k");
    assert!(template["top_k"].is_null() && template["index"] == "docs");
}
