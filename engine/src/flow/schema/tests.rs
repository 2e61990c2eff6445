//! The schema is valid, agrees with the reader, and takes what the reader takes.

use serde::Deserialize;

use super::constructs::objects;
use super::schema;
use crate::cx::Cx;
use crate::diagnostic::{Diagnostics, SourceFile};
use crate::flow::parse::fields::CONSTRUCTS;
use crate::flow::{parse, yaml};
use crate::operator::{OpError, Operator, Registry};
use crate::value::Chunk;

crate::ports! {
    /// What it reads.
    pub(super) struct In {
        /// What to look for.
        pub query: String,
        /// What to look in, where it is not the whole index.
        pub within: Option<Vec<std::sync::Arc<Chunk>>>,
    }
}

crate::ports! {
    /// What it gives.
    pub(super) struct Out {
        /// What was found.
        pub chunks: Vec<std::sync::Arc<Chunk>>,
    }
}

/// Looks something up.
///
/// More about it.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// Name of the index.
    #[expect(dead_code, reason = "only its schema matters")]
    index: String,
    /// How many.
    #[expect(dead_code, reason = "only its schema matters")]
    top_k: Option<u32>,
}

#[async_trait::async_trait]
impl Operator for Search {
    const NAME: &'static str = "retrieve.test";
    type In = In;
    type Out = Out;

    async fn run(&self, _: &Cx, _: In) -> Result<Out, OpError> {
        Ok(Out { chunks: Vec::new() })
    }
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&schema(&Registry::default().with::<Search>())).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    let mut problems = Diagnostics::default();
    yaml::read(&SourceFile::new("test.yaml", text), &mut problems).unwrap().to_json()
}

const GOOD: &str = r"
flow: f
inputs: { q: text, n: { type: 'list<int>?', default: [1], max: 3 } }
budget: { wall: 1m30s, cost: 0.5 }
nodes:
  a:
    op: retrieve.test
    in: { query: inputs.q }
    with: { index: docs, top_k: '${ size(inputs.n) }' }
    timeout: 3s
    cache: true
    on_error: { value: { chunks: [] } }
    join: { any: true, deadline: 200ms }
  b:
    loop:
      max_turns: ${ 3 }
      carry: { x: 1 }
      nodes: { s: { op: retrieve.test, in: { query: carry.x }, with: { index: docs } } }
      next: { x: carry.x }
      until: { found: true }
  c: { each: a.chunks, as: chunk, op: retrieve.test, in: { query: chunk.text }, with: { index: i }, concurrency: 2 }
  d: { each: a.chunks, nodes: { e: { flow: other } }, outputs: { t: e.t }, stop_when: { quorum: { of: t, agree: 2 } } }
  e:
    plan: a.plan
    in: { q: inputs.q }
    allow: [retrieve.test, other]
    outputs: { chunks: list<chunk> }
    max_nodes: 4
    repair: 0
    order: { other: retrieve.test }
    must: other
    fallback: { nodes: { f: { flow: other } }, outputs: { chunks: f.chunks } }
outputs: { chunks: a.chunks, n: 3 }
tests:
  - { name: t, inputs: { q: x }, expect: { ran: [a], outputs: { n: 3 } } }
";

#[test]
fn the_schema_is_a_valid_schema() {
    let schema = schema(&Registry::default().with::<Search>());
    assert!(jsonschema::meta::is_valid(&schema));
    assert!(jsonschema::meta::is_valid(&super::schema(&Registry::default())));
}

#[test]
fn the_schema_has_the_keys_that_the_reader_has() {
    let objects = objects();
    assert_eq!(objects.len(), CONSTRUCTS.len());
    for (object, construct) in objects.iter().zip(CONSTRUCTS) {
        let described: Vec<&str> = object.properties.iter().map(|(key, ..)| *key).collect();
        assert_eq!(described, construct.keys, "{}", construct.what);
    }
}

#[test]
fn a_flow_that_the_reader_takes_fits_the_schema() {
    let mut problems = Diagnostics::default();
    parse::parse(&SourceFile::new("good.yaml", GOOD), &mut problems).unwrap();
    assert!(problems.is_empty(), "{problems}");
    let validator = validator();
    let flow = json(GOOD);
    let errors: Vec<String> =
        validator.iter_errors(&flow).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn what_is_wrong_does_not_fit_the_schema() {
    let validator = validator();
    let node = |node: &str| json(&format!("flow: f\nnodes:\n  a: {node}\n"));
    assert!(validator.is_valid(&node("{ op: retrieve.test, in: { query: x }, with: { index: i } }")));
    for wrong in [
        "{ op: retrieve.tset, in: { query: x }, with: { index: i } }",
        "{ op: retrieve.test, in: { query: x } }",
        "{ op: retrieve.test, with: { index: i } }",
        "{ op: retrieve.test, in: { qery: x }, with: { index: i } }",
        "{ op: retrieve.test, in: { query: x }, with: { index: i, top: 3 } }",
        "{ op: retrieve.test, in: { query: x }, with: { index: i, top_k: many } }",
        "{ op: retrieve.test, flow: f, in: { query: x }, with: { index: i } }",
        "{ flow: f, retry: {} }",
        "{ flow: f, budget: { wall: 90 } }",
        "{ flow: f, wen: x }",
        "{ loop: { nodes: { b: { flow: f } } } }",
        "{ each: x }",
        "{}",
    ] {
        assert!(!validator.is_valid(&node(wrong)), "{wrong}");
    }
}
