//! Shared by the tests of this module: a flow in, its problems out.

use crate::diagnostic::{Diagnostics, SourceFile};
use crate::flow::Flow;

use super::parse;

/// The flow and the problems of `text`, sorted.
pub(super) fn read(text: &str) -> (Option<Flow>, Diagnostics) {
    let file = SourceFile::new("test.yaml", text);
    let mut problems = Diagnostics::default();
    let flow = parse(&file, &mut problems);
    problems.sort();
    (flow, problems)
}

/// The flow of a text without problems.
pub(super) fn good(text: &str) -> Flow {
    let (flow, problems) = read(text);
    assert!(problems.is_empty(), "{problems}");
    flow.unwrap()
}

/// Each problem as `CODE line:column `text there` message | hint`, one a line.
pub(super) fn problems(text: &str) -> String {
    let (_, problems) = read(text);
    let lines = problems.iter().map(|problem| {
        let (line, column) = problem.file.place(problem.span.start);
        let there = problem.file.text.get(problem.span.start..problem.span.end).unwrap();
        let hint = problem.hint.as_ref().map(|hint| format!("\n    {hint}")).unwrap_or_default();
        format!("{} {line}:{column} «{there}» {}{hint}", problem.code, problem.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The flow at a glance, with most constructs in it.
pub(super) const GLANCE: &str = r#"
flow: multihop
about: Answers a question that needs several documents, one hop at a time.
inputs:
  question: text
  hops: { type: int, default: 4, max: 8, about: Most hops to take. }
budget: { model_calls: 20, model_tokens: 40000, wall: 90s }
nodes:
  triage:
    op: route.semantic
    in: { text: inputs.question }
    with: { routes: { simple: [what], multihop: [who then] } }
    retry: { attempts: 3, backoff: 200ms, on: [overloaded] }
    timeout: '${ inputs.hops > 2 ? "5s" : "1s" }'
    cache: { ttl: 10m }
  once:
    when: triage.label == "simple"
    flow: linear
    in: { question: inputs.question }
    on_error: skip
  hop:
    when: triage.label == "multihop"
    loop:
      max_turns: ${ inputs.hops }
      carry: { chunks: "[]", query: inputs.question }
      nodes:
        search: { op: retrieve.hybrid, in: { query: carry.query }, with: { index: docs, top_k: 8 } }
        think:  { op: query.next_hop, in: { question: inputs.question, chunks: search.chunks }, after: search }
      next:  { chunks: search.chunks, query: think.query }
      until: { done: think.done, no_new_evidence: size(search.chunks) == 0 }
  check:
    each: hop.chunks
    as: chunk
    op: filter.llm
    in: { query: inputs.question, chunk: chunk }
    concurrency: 4
    on_item_error: keep
    min_success: 0.5
    stop_when: { quorum: { of: verdict, agree: 2 } }
  answer:
    op: read.answer
    in: { question: inputs.question, chunks: "first(once.chunks, hop.chunks)" }
    join: { at_least: 2, deadline: 5s, cancel_losers: true }
    on_error: { value: { text: no answer } }
outputs:
  answer: answer.text
  turns: 3
tests:
  - name: says so when nothing is relevant
    inputs: { question: Who wrote it? }
    stub: { answer: { text: I do not know. } }
    expect: { ran: [triage, once, answer], outputs: { answer: { contains: do not know } } }
"#;
