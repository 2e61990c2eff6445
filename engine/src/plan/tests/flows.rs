//! Flows that tests start from.

pub(super) const LINEAR: &str = "\
flow: linear
inputs: { question: text }
nodes:
  search: { op: retrieve.bm25, in: { query: inputs.question }, with: { index: docs, top_k: 8 } }
  answer: { op: read.answer, in: { question: inputs.question, chunks: search.chunks } }
outputs:
  answer: answer.text
  chunks: search.chunks
";

pub(super) const MULTIHOP: &str = "\
flow: multihop
inputs:
  question: text
  hops: { type: int, default: 4, max: 8 }
nodes:
  triage:
    op: route.semantic
    in: { text: inputs.question }
    with: { routes: { simple: [a], multihop: [b] } }
  once:
    when: triage.label == \"simple\"
    flow: linear
    in: { question: inputs.question }
  hop:
    when: triage.label == \"multihop\"
    loop:
      max_turns: ${ inputs.hops }
      carry: { chunks: \"[]\", query: inputs.question }
      nodes:
        search: { op: retrieve.bm25, in: { query: carry.query } }
        think: { op: query.next_hop, in: { question: inputs.question, chunks: search.chunks } }
      next: { chunks: search.chunks, query: think.query }
      until: { done: think.done }
  answer:
    op: read.answer
    in: { question: inputs.question, chunks: \"first(once.chunks, hop.chunks)\" }
outputs:
  answer: answer.text
  why: first(hop.stopped_because, \"answered at once\")
tests:
  - name: names what is there
    inputs: { question: Who? }
    stub: { answer: { text: none, confidence: 0.5 }, hop/search: { chunks: [], scores: [] } }
    expect: { ran: [triage, once, once/search, answer], skipped: [hop], outputs: { answer: none } }
";

pub(super) const FAN: &str = "\
flow: fan
inputs: { queries: list<text>, question: text }
nodes:
  fan:
    each: inputs.queries
    as: query
    concurrency: 4
    on_item_error: skip
    op: retrieve.bm25
    in: { query: query + inputs.question }
  read:
    each: fan.chunks
    as: found
    nodes:
      answer: { op: read.answer, in: { question: inputs.question, chunks: found } }
    outputs: { text: answer.text, place: index }
outputs:
  texts: read.text
  failed: size(fan.errors)
";
