//! What `explain` shows.

use super::flows::{FAN, LINEAR, MULTIHOP};
use super::{plan, plan_with};
use crate::plan::explain::{Cost, Format, explain, worst_case};

#[test]
fn a_plan_reads_as_a_tree() {
    let shown = explain(&plan_with(MULTIHOP, &[("linear", LINEAR)]), Format::Text);
    assert_eq!(
        shown,
        "flow multihop
  inputs
    question: text
    hops: int = 4
  nodes
    triage  op route.semantic
    once    flow linear
              waits for triage
              when triage.label == \"simple\"
      search  op retrieve.bm25
      answer  op read.answer
                waits for search
    hop     loop, at most ${ inputs.hops } turns
              waits for triage
              when triage.label == \"multihop\"
              until done: think.done
      search  op retrieve.bm25
      think   op query.next_hop
                waits for search
    answer  op read.answer
              waits for once (or not), hop (or not)
  outputs
    answer: text = answer.text
    why: text = first(hop.stopped_because, \"answered at once\")
at most 20 operator executions and 2 model calls, attempts included; budget: none
"
    );
}

#[test]
fn the_worst_case_multiplies_turns_items_and_attempts() {
    // triage + linear (2, one of them asks a model) + 8 turns of 2 + answer (asks a model).
    let multihop = plan_with(MULTIHOP, &[("linear", LINEAR)]);
    assert_eq!(worst_case(&multihop), Cost { executions: 1 + 2 + 8 * 2 + 1, model_calls: 2 });
    let retried = plan(&LINEAR.replace("answer: { op", "answer: { retry: { attempts: 3 }, op"));
    assert_eq!(worst_case(&retried), Cost { executions: 4, model_calls: 3 });
    let fan = plan(&FAN.replace("concurrency: 4", "max_items: 50"));
    assert_eq!(worst_case(&fan), Cost { executions: 50 + 10_000, model_calls: 10_000 });
}

#[test]
fn drawings_have_a_frame_for_each_scope() {
    let plan = plan_with(MULTIHOP, &[("linear", LINEAR)]);
    let mermaid = explain(&plan, Format::Mermaid);
    assert!(mermaid.starts_with("flowchart TD\n") && mermaid.matches("subgraph").count() == 2, "{mermaid}");
    assert!(mermaid.contains("n0 --> n1") && mermaid.contains("n1 -.-> n3"), "{mermaid}");
    assert!(mermaid.contains("#quot;simple#quot;"), "{mermaid}");
    let dot = explain(&plan, Format::Dot);
    assert_eq!(dot.matches('{').count(), dot.matches('}').count(), "{dot}");
    assert!(dot.contains("n2_0 -> n2_1;"), "{dot}");
}

#[test]
fn json_holds_the_whole_tree() {
    let shown: serde_json::Value =
        serde_json::from_str(&explain(&plan_with(MULTIHOP, &[("linear", LINEAR)]), Format::Json)).unwrap();
    assert_eq!(shown["nodes"][2]["nodes"][1]["op"], "query.next_hop");
    assert_eq!(shown["nodes"][2]["loop"]["max_turns"], "${ inputs.hops }");
    assert_eq!(shown["worst_case"]["model_calls"], 2);
}
