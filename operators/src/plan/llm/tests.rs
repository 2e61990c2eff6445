//! Tests of the planner: what it makes of a model's words, what it says when they cannot be used, what it shows.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::testing::cx;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::{Scripted, Shelf, rendered, run_flow, validator};

/// A planner and the node that runs its plan.
const FLOW: &str = r#"
flow: planned
inputs: { question: text }
nodes:
  planner:
    op: plan.llm
    in: { question: inputs.question }
    with: { examples: "Example: Who? -> bm25, extractive" }
  work:
    plan: planner.plan
    in: { question: inputs.question, query: inputs.question }
    allow: [retrieve.bm25, retrieve.dense, fuse.rrf, read.extractive]
    outputs: { text: text }
    order: { read.extractive: retrieve.bm25 }
    must: read.extractive
    fallback:
      nodes:
        search: { op: retrieve.bm25, in: { query: inputs.query } }
        read: { op: read.extractive, in: { question: inputs.question, chunks: search.chunks } }
      outputs: { text: read.text }
outputs:
  text: work.text
  fell_back: work.fell_back
  valid: planner.valid
  problems: planner.problems
"#;

async fn planned(answers: &[&str]) -> (Json, Vec<ChatRequest>) {
    let model = Scripted::new(answers);
    let mut resources: Resources = Shelf::small().resources();
    resources.models.insert("default".to_owned(), Model::Chat(Arc::clone(&model) as _));
    let found = run_flow(FLOW, json!({ "question": "one" }), resources).await;
    (found, model.requests())
}

#[tokio::test]
async fn a_bare_list_of_names_is_a_plan() {
    let (found, requests) = planned(&[r#"{"steps": ["retrieve.bm25", "read.extractive"]}"#]).await;
    assert_eq!((&found["valid"], &found["fell_back"], requests.len()), (&json!(true), &json!(false), 1));
    assert!(found["text"].as_str().unwrap().contains("one"), "{found}");
}

#[tokio::test]
async fn steps_that_name_each_other_are_a_plan() {
    let steps = json!([
        { "name": "words", "use": "retrieve.bm25" },
        { "name": "meaning", "use": "retrieve.dense", "in": { "query": "'two'" }, "with": { "top_k": 1 } },
        { "name": "all", "use": "fuse.rrf", "in": { "rankings": "[words.chunks, meaning.chunks]" } },
        { "name": "answer", "use": "read.extractive", "in": { "chunks": "all.chunks" } },
    ]);
    let said = json!({ "reason": "Two ways.", "steps": steps, "outputs": { "text": "answer.text" } });
    let (found, _) = planned(&[&format!("Sure:\n```json\n{said}\n```")]).await;
    assert_eq!((&found["valid"], &found["fell_back"]), (&json!(true), &json!(false)), "{found}");
}

#[tokio::test]
async fn a_plan_that_cannot_be_used_is_sent_back_with_everything_that_is_wrong() {
    let bad = r#"{"steps": [{"name": "a", "use": "retrieve.bm25", "in": {"qery": "inputs.question"}},
                            {"name": "b", "use": "retrieve.dense", "with": {"index": "secrets", "namespace": "other"}}]}"#;
    let good = r#"{"steps": ["retrieve.bm25", "read.extractive"]}"#;
    let (found, requests) = planned(&[bad, good]).await;
    assert_eq!((&found["valid"], requests.len()), (&json!(true), 2));
    let asked = &requests[1].messages.last().unwrap().content;
    for said in [
        "`retrieve.bm25` has no input `qery` (did you mean `query`?",
        "step `b` sets `index`, which is not for a plan to say",
        "step `b` sets `namespace`, which is not for a plan to say",
        "no step of the plan runs `read.extractive`",
        "the plan does not give `text`",
    ] {
        assert!(asked.contains(said), "{said}: {asked}");
    }
}

#[tokio::test]
async fn what_stays_wrong_is_replaced_by_the_fallback() {
    for bad in [
        r#"{"steps": ["read.extractive"]}"#,
        r#"{"steps": []}"#,
        r#"{"steps": [{"use": "read.extractive", "loop": 3}]}"#,
        r#"{"steps": [{"name": "a", "use": "retrieve.bm25"}, {"name": "a", "use": "read.extractive"}]}"#,
        r#"["retrieve.bm25", "rm -rf"]"#,
        "I would search first.",
        "",
    ] {
        let (found, requests) = planned(&[bad, bad]).await;
        assert_eq!(
            (&found["valid"], &found["fell_back"], requests.len()),
            (&json!(false), &json!(true), 2),
            "{bad}"
        );
        assert!(!found["problems"].as_array().unwrap().is_empty(), "{bad}");
        assert!(found["text"].as_str().unwrap().contains("one"), "{bad}: {found}");
    }
}

#[tokio::test]
async fn the_prompt_shows_the_inventory_and_fences_the_question() {
    let (_, requests) = planned(&[r#"{"steps": ["retrieve.bm25", "read.extractive"]}"#]).await;
    insta::assert_snapshot!(rendered(&requests[0]));
}

#[tokio::test]
async fn without_a_node_that_runs_the_plan_there_is_nothing_to_plan_with() {
    let input = In { question: "Who?".to_owned(), notes: None };
    let error = Llm::default().run(&cx(), input).await.unwrap_err();
    assert!(error.to_string().starts_with("no node with `plan` runs this plan"), "{error}");
    assert_eq!(Llm::default().model_calls_max(), 4);
}

#[test]
fn no_tokens_at_all_are_refused() {
    assert!(!validator("plan.llm").is_valid(&json!({ "max_tokens": 0 })));
}
