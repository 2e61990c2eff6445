//! What the reader of flows takes and refuses, and where it points.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::{GLANCE, good, problems, read};
use crate::diagnostic::Code;
use crate::flow::{EachBody, KindDecl, Late, Need, OnErrorDecl, OnItemError};

#[test]
fn a_whole_flow_is_read_without_problems() {
    let flow = good(GLANCE);
    assert_eq!(flow.name.value, "multihop");
    let names: Vec<_> = flow.nodes.iter().map(|node| node.name.value.as_str()).collect();
    assert_eq!(names, ["triage", "once", "hop", "check", "answer"]);
    assert_eq!(flow.budget.unwrap().value.wall, Some(Duration::from_secs(90)));
    let [triage, once, hop, check, answer] = &flow.nodes[..] else { panic!("five nodes") };
    assert!(matches!(&triage.timeout, Some(Late::Later(text)) if text.text.starts_with("inputs.hops > 2")));
    assert_eq!(triage.cache.as_ref().unwrap().value, Duration::from_mins(10));
    assert!(matches!(once.on_error.as_ref().unwrap().value, OnErrorDecl::Skip));
    let KindDecl::Loop(hop) = &hop.kind else { panic!("wrong kind") };
    assert!(matches!(&hop.max_turns, Some(Late::Later(text)) if text.text == "inputs.hops"));
    assert_eq!(hop.carry[0].value.text, "[]");
    assert_eq!(hop.until[1].key.value, "no_new_evidence");
    let KindDecl::Each(check) = &check.kind else { panic!("wrong kind") };
    assert!(matches!(&check.body, EachBody::Op(op) if op.value == "filter.llm"));
    assert_eq!(check.on_item_error, OnItemError::Keep);
    assert_eq!(answer.join.as_ref().unwrap().value.need, Need::AtLeast(2));
    assert_eq!(flow.outputs[1].value.text, "3", "a plain number is the expression of that number");
    assert_eq!(flow.tests[0].expect.ran.as_ref().unwrap().len(), 3);
}

#[test]
fn unknown_keys_are_reported_at_every_level() {
    insta::assert_snapshot!(problems(
        r"
flow: f
nodez: {}
version: 1
inputs:
  q: { type: text, defualt: x }
budget: { tokens: 3 }
nodes:
  a:
    op: x.y
    retri: 1
    if: true
    inputs: { q: 1 }
    retry: { max_attempts: 3 }
    on_error: { valu: {} }
    cache: { tll: 1h }
    join: { cancel: true }
    zzzzzz: 1
  b:
    loop: { max_turn: 2, nodes: { c: { op: x.y } } }
  c:
    each: inputs.q
    op: x.y
    stop_when: { quorun: { of: a } }
  d: { each: inputs.q, op: x.y, stop_when: { quorum: { of: a, agrees: 2 } } }
tests:
  - name: t
    stubs: {}
    expect: { output: {} }
"
    ));
}

#[test]
fn missing_keys_come_with_the_line_to_add() {
    insta::assert_snapshot!(problems(
        "
inputs: { q: { about: x } }
nodes:
  a:
    loop: {}
    on_error: {}
  d: { op: x.y, cache: {} }
  b:
    each: inputs.q
    op: x.y
    stop_when: { quorum: {} }
  c: { each: inputs.q, op: x.y, stop_when: {} }
tests:
  - {}
"
    ));
    insta::assert_snapshot!(problems("about: nothing else\n"));
    insta::assert_snapshot!(problems("flow: f\nnodes: {}\n"));
}

#[test]
fn values_of_the_wrong_kind_are_named_with_what_is_expected() {
    insta::assert_snapshot!(problems(
        r#"
flow: 12
about: [a]
inputs: { q: 3, r: [text] }
budget: 20
nodes:
  a:
    op: [x.y]
    in: [q]
    with: 3
    when:
    after: { b: c }
    retry: 3
    timeout: [1s]
    on_error: retry
    cache: [1h]
    join: some
    about: true
  b: hello
  c: { op: x.y, in: { a: [], b: { c: d }, c: }, retry: { on: overloaded }, on_error: { value: 3 }, join: [all] }
  d: { op: x.y, retry: { on: [overloded, 3], attempts: "3", backoff: {} }, on_error: { value: {}, flow: f } }
  e: { op: x.y, on_error: [], cache: , join: { all: true, any: true }, after: [1, b] }
  f: { op: x.y, join: { any: false, cancel_losers: maybe } }
  g: { loop: [], when: x }
  h: { loop: { max_turns: many, nodes: [a], carry: 3, next: 4, until: inputs.done } }
  i: { each: [1, 2], op: x.y, on_item_error: ignore, min_success: most, concurrency: 2.5 }
outputs: a.text
tests:
  name: x
"#
    ));
    insta::assert_snapshot!(problems(
        "
flow: f
nodes:
  - { op: x.y }
outputs: [a]
tests:
  - hello
  - name: 3
    inputs: 3
    stub: [a]
    expect: { ran: a, absent: {}, fails: a }
  - name: x
    expect: yes
"
    ));
}

#[test]
fn names_that_cannot_be_said_are_refused_with_one_that_can() {
    insta::assert_snapshot!(problems(
        "
flow: My-Flow
inputs: { Question: text, in: text, index: int, 3: text }
nodes:
  reRank: { op: x.y }
  inputs: { op: x.y }
  2nd: { op: x.y }
  l:
    loop:
      max_turns: 2
      carry: { turns: 1, Q: 2 }
      nodes: { first: { op: x.y } }
      next: { turns: 1, Q: 2 }
      until: { max_turns: x, not good: y }
  e: { each: inputs.index, as: carry, op: x.y }
  ok: { each: inputs.index, as: item, op: x.y }
outputs: { in: a, 'ok then': b }
tests:
  - { name: t, expect: {} }
  - { name: t, expect: {} }
"
    ));
}

#[test]
fn a_node_is_exactly_one_thing() {
    insta::assert_snapshot!(problems(
        "
flow: f
nodes:
  none: { in: { a: b } }
  several: { op: x.y, flow: g }
  three: { op: x.y, flow: g, each: a, nodes: {} }
  body_less: { each: a }
  two_bodies: { each: a, op: x.y, nodes: { b: { op: x.y } } }
  no_each: { nodes: { b: { op: x.y } } }
  plan: { plan: planner.plan, allow: [] }
  wait: { wait: { for: an answer }, when: a }
  empty: {}
"
    ));
}

#[test]
fn keys_of_another_kind_of_node_are_refused_with_whose_they_are() {
    insta::assert_snapshot!(problems(
        "
flow: f
nodes:
  call: { flow: g, with: { a: 1 }, retry: { attempts: 2 }, timeout: 3s, as: x, outputs: { a: b }, nodes: {} }
  op: { op: x.y, concurrency: 3, max_items: 2, min_success: 1 }
  turn: { loop: { max_turns: 1, nodes: { a: { op: x.y } } }, in: { a: b }, cache: true, idle_timeout: 1s }
  items: { each: a, nodes: { a: { op: x.y } }, in: { a: b }, with: {} }
  each_op: { each: a, op: x.y, outputs: { a: b } }
"
    ));
}

#[test]
fn a_loop_without_a_bound_is_refused_and_so_is_what_does_not_match() {
    insta::assert_snapshot!(problems(
        "
flow: f
nodes:
  a: { loop: { nodes: { b: { op: x.y } }, carry: { query: 1, kept: 2 }, next: { qery: 1 } } }
  b: { loop: { max_turns: 2, nodes: { b: { op: x.y } }, carry: { query: 1 } } }
  c: { loop: { max_turns: 2, nodes: { b: { op: x.y } }, next: { other: 1 } } }
"
    ));
}

#[test]
fn numbers_outside_their_limits_are_refused_with_the_limits() {
    insta::assert_snapshot!(problems(
        "
flow: f
budget: { model_calls: -1, model_tokens: -5, cost: -0.5, wall: 25h }
nodes:
  a: { loop: { max_turns: 0, nodes: { b: { op: x.y } } } }
  b: { loop: { max_turns: 1001, nodes: { b: { op: x.y } } } }
  c: { each: a, op: x.y, concurrency: 65, max_items: 10001, min_success: 1.1 }
  d: { each: a, op: x.y, stop_when: { quorum: { of: a, agree: 0 } } }
  e: { op: x.y, retry: { attempts: 21 }, join: { at_least: 0, deadline: 0s }, timeout: 0ms }
"
    ));
}

#[test]
fn durations_need_a_unit() {
    insta::assert_snapshot!(problems(
        "
flow: f
budget: { wall: 90 }
nodes:
  a: { op: x.y, timeout: 2 minutes, idle_timeout: 1.5, cache: soon, retry: { backoff: 1.5s, max_backoff: -1s } }
"
    ));
}

#[test]
fn types_and_inputs_that_contradict_themselves_are_refused() {
    insta::assert_snapshot!(problems(
        "
flow: f
inputs:
  a: string
  b: list[chunk]
  c: lst<chunk>
  d: wibble
  e: { type: int, default: four }
  f: { type: int, default: 9, max: 8 }
  g: { type: text, default: abc, min: 4 }
  h: { type: int, min: 3, max: 2 }
  i: { type: bool, min: 1 }
  j: { type: text, default: }
  k: { type: 'chunk[]', default: [] }
  l: { type: list<text>, default: [a, 3] }
  ok: { type: 'text?', default: }
  fine: { type: float, default: 3, min: 3, max: 3 }
nodes: { a: { op: x.y } }
"
    ));
}

#[test]
fn late_values_are_expressions_in_braces() {
    let flow = good(
        "
flow: f
nodes:
  a: { op: x.y, timeout: '${  inputs.t }', idle_timeout: 2s }
  b: { each: inputs.l, op: x.y, concurrency: '${ inputs.n }', max_items: \"${ inputs.\\x6d }\" }
",
    );
    let Some(Late::Later(timeout)) = &flow.nodes[0].timeout else { panic!("late") };
    assert_eq!(flow.file.text.get(timeout.span.start..timeout.span.end), Some("inputs.t"));
    assert!(timeout.exact);
    let KindDecl::Each(each) = &flow.nodes[1].kind else { panic!("each") };
    let Some(Late::Later(items)) = &each.max_items else { panic!("late") };
    assert_eq!(
        (items.text.as_str(), items.exact),
        ("inputs.m", false),
        "an escape moves every place after it"
    );
    insta::assert_snapshot!(problems("flow: f\nnodes: {a: {op: x.y, timeout: '${ inputs.t } s'}}\n"));
}

#[test]
fn the_place_of_an_expression_is_without_its_quotes() {
    let text = "flow: f\nnodes: {a: {op: x.y, in: {a: 'b.c', b: \" d \", c: 'it''s', d: 3}}}\n";
    let flow = good(text);
    let shown: Vec<_> = flow.nodes[0]
        .inputs
        .iter()
        .map(|entry| {
            let span = entry.value.span;
            (entry.value.text.as_str(), &text[span.start..span.end], entry.value.exact)
        })
        .collect();
    assert_eq!(shown, [("b.c", "b.c", true), ("d", "d", true), ("it's", "'it''s'", false), ("3", "3", true)]);
}

#[test]
fn what_can_be_read_is_given_back_with_the_problems() {
    let (flow, problems) =
        read("flow: f\nnodes:\n  a: {op: x.y, retry: 3, in: {a: []}}\n  b: {each: p}\n  c: 3\n");
    assert_eq!(problems.len(), 4, "{problems}");
    let flow = flow.unwrap();
    assert!(matches!(&flow.nodes[0].kind, KindDecl::Op(op) if op.value == "x.y"));
    assert!(matches!(flow.nodes[1].kind, KindDecl::Unknown));
    assert!(matches!(flow.nodes[2].kind, KindDecl::Unknown), "references to it are no problems of their own");
}

#[test]
fn a_problem_in_an_aliased_value_is_shown_where_it_is_written() {
    insta::assert_snapshot!(problems(
        "
flow: f
nodes:
  a: &a { op: x.y, retri: { attempts: 2 } }
  b: *a
  c: { op: x.y, retry: *a }
"
    ));
}

/// The examples of a page, made whole where they leave out what goes without saying.
fn examples(code: Code) -> Vec<String> {
    let whole = |example: &str| {
        let mut text = example.to_owned();
        if code != Code::MISSING_KEY && code != Code::NOT_A_FLOW && !text.contains("flow: ask") {
            text.insert_str(0, "flow: f\n");
            if !text.contains("\nnodes:") {
                text.push_str("nodes: { a: { op: x.y } }\n");
            }
        }
        text
    };
    let blocks = code.page().split("```yaml\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).map(whole).collect()
}

#[test]
fn the_pages_of_this_module_show_the_problem_and_then_none() {
    // What takes a megabyte, or thousands of values, is elided.
    let elided = [Code::TOO_LARGE, Code::TOO_DEEP, Code::TOO_MANY_VALUES];
    for number in (1..=13).chain([32, 33, 34, 44, 45, 46]) {
        let id = format!("FLOW{number:04}");
        let code = Code::find(&id).unwrap();
        assert!(code.page().starts_with(&format!("# {id}: {}\n", code.title())), "{id}");
        let examples = examples(code);
        let [wrong, right] = &examples[..] else { panic!("{id} has no wrong and right example") };
        if !elided.contains(&code) {
            let (_, problems) = read(wrong);
            assert!(problems.iter().any(|problem| problem.code == code), "{id}: {problems}");
        }
        good(right);
    }
}

/// A flow with some bytes put in, taken out or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (0..GLANCE.len(), 0_usize..12, "[\\[\\]{}:,&*#|>'\"\t\n $ -]{0,3}|.{0,4}|- |<<: |é|\r\n");
    proptest::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text = GLANCE.to_owned();
        for (at, cut, put) in edits {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((at + cut).min(text.len())).max(start);
            text.replace_range(start..end, &put);
        }
        text
    })
}

fn check_spans(text: &str) {
    let (_, problems) = read(text);
    for problem in &problems {
        let spans = std::iter::once(problem.span).chain(problem.labels.iter().map(|label| label.span));
        for span in spans {
            assert!(text.get(span.start..span.end).is_some(), "{span:?} of {text:?}: {}", problem.message);
        }
    }
    // What a user sees must hold for every span, too.
    let _ = problems.to_string();
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_at_a_place_within_it(text in "\\PC{0,200}|[a-z:\\-\\[\\]{}&*'\"|>#!%@ \\t\\n\u{feff}é]{0,120}") {
        check_spans(&text);
    }

    #[test]
    fn a_damaged_flow_is_read_or_refused_at_a_place_within_it(text in mutated()) {
        check_spans(&text);
    }
}
