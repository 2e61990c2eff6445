//! Tests of the memory: what is written into it, what is refused, and what replays.

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::operator::ModelName;

use super::log::Entry;
use super::revision::Revision;
use super::*;
use crate::read::window::Window;
use crate::testing::{ByRule, Shelf, broken, document, numbered as lines, problems, rendered, validator};

fn asked(request: &ChatRequest) -> &str {
    &request.messages.last().unwrap().content
}

fn is_last(request: &ChatRequest) -> bool {
    asked(request).contains("\nThe notes:\n")
}

fn revisions(revisions: &Json) -> String {
    json!({ "revisions": revisions }).to_string()
}

/// The part of the text in a request.
fn part(request: &ChatRequest) -> &str {
    asked(request).split("The next part of the text:\n").nth(1).unwrap_or_default()
}

async fn read(model: &Arc<ByRule>, with: Json, text: &str) -> Result<Out, OpError> {
    go_on(model, with, text, None).await
}

async fn go_on(model: &Arc<ByRule>, with: Json, text: &str, memory: Option<Json>) -> Result<Out, OpError> {
    let settings: Memory = serde_json::from_value(with).unwrap();
    let document = Some(Arc::new(document("a.md", "text", text)));
    let input = In { question: "What is there?".to_owned(), document, text: None, chunks: None, memory };
    settings.run(&model.cx(), input).await
}

/// Keeps every line of a part under its number; answers with the memory.
fn keeps(request: &ChatRequest) -> String {
    if is_last(request) {
        let memory = asked(request).lines().find(|line| line.starts_with('{')).unwrap();
        return json!({ "rationale": "", "answer": memory }).to_string();
    }
    let lines = part(request).lines().filter(|line| line.starts_with("Line "));
    let add = |line: &str| {
        let number = line.split(' ').nth(1).unwrap();
        json!({ "op": "add", "path": format!("/facts/line {number}"), "value": [line] })
    };
    revisions(&lines.map(add).collect())
}

fn portions_of(n: usize) -> Json {
    json!({ "portion_tokens": n, "memory_max_tokens": 4000 })
}

#[tokio::test]
async fn what_is_kept_is_answered_from_and_cited() {
    let model = ByRule::new(keeps);
    let out = read(&model, portions_of(40), &lines(9)).await.unwrap();
    assert_eq!(out.memory["facts"]["line 7"], json!(["Line 7 says that its number is 7."]));
    assert_eq!(out.text, out.memory.to_string());
    assert_eq!((out.stats.accepted, out.stats.rejected, out.revisions.len()), (9, 0, 9));
    assert_eq!(out.answer.citations.len(), out.stats.portions);
    assert_eq!(model.requests().len(), out.stats.portions + 1);
    assert_eq!((out.answer.grounded, &*out.answer.by), (true, "by rule"));
}

/// The memory that the accepted revisions make, applied one after the other.
fn replayed(entries: &[Entry]) -> Json {
    let mut memory = json!({ "facts": {} });
    for entry in entries.iter().filter(|entry| entry.accepted) {
        let revision = json!({ "op": entry.op, "path": entry.path, "value": entry.value });
        serde_json::from_value::<Revision>(revision).unwrap().apply(&mut memory).unwrap();
    }
    memory
}

/// Proposes, for each part, one revision that can be and many that cannot.
fn quarrels(request: &ChatRequest) -> String {
    if is_last(request) {
        return "done".to_owned();
    }
    let number =
        part(request).lines().find_map(|line| line.strip_prefix("Line ")?.split(' ').next()).unwrap();
    revisions(&json!([
        { "op": "add", "path": format!("/facts/{number}"), "value": ["a"] },
        { "op": "add", "path": format!("/facts/{number}"), "value": ["twice"] },
        { "op": "add", "path": "/facts/x", "value": "no list" },
        { "op": "add", "path": "/other", "value": 1 },
        { "op": "update", "path": "/facts/never", "value": ["b"] },
        { "op": "update", "path": format!("/facts/{number}/0"), "value": "b" },
        { "op": "add", "path": "/facts/long", "value": ["word ".repeat(5000)] },
        { "op": "remove", "path": "/facts", "value": 0 },
    ]))
}

#[tokio::test]
async fn what_cannot_be_is_rejected_with_its_reason_and_changes_nothing() {
    let out = read(&ByRule::new(quarrels), portions_of(40), &lines(20)).await.unwrap();
    let n = out.stats.portions;
    assert_eq!((out.stats.accepted, out.stats.rejected), (2 * n, 6 * n));
    let schema = Json::Object(Memory::default().schema);
    assert!(jsonschema::is_valid(&schema, &out.memory));
    assert_eq!(out.memory, replayed(&out.revisions));
    let why: Vec<&str> =
        out.revisions.iter().take(8).map(|entry| entry.why.as_deref().unwrap_or("")).collect();
    for (at, expected) in [
        (0, ""),
        (1, "there already"),
        (2, "would not satisfy the schema"),
        (3, "would not satisfy"),
        (4, "no `/facts/never` to update"),
        (5, ""),
        (6, "more than `memory_max_tokens` (4000)"),
        (7, "it is no revision"),
    ] {
        assert!(if expected.is_empty() { why[at].is_empty() } else { why[at].contains(expected) }, "{why:?}");
    }
}

#[tokio::test]
async fn ops_can_be_limited() {
    let out = read(&ByRule::new(quarrels), json!({ "ops": ["add"] }), &lines(2)).await.unwrap();
    assert!(out.revisions[5].why.as_deref().unwrap().contains("`update` is not among `ops`"));
}

#[tokio::test]
async fn every_prompt_fits_the_memory_never_grows_too_long_and_all_is_read() {
    for memory_max_tokens in [60, 200, 1000] {
        let model = ByRule::new(keeps);
        let settings = json!({
            "context_tokens": 2000, "reserve_output": 100, "portion_tokens": 60, "compact_every": 3,
            "memory_max_tokens": memory_max_tokens,
        });
        let text = lines(60);
        let out = read(&model, settings, &text).await.unwrap();
        let window = Window::of(&model.cx(), &ModelName::default(), 2000, 100).unwrap();
        let requests = model.requests();
        assert!(requests.iter().all(|request| window.fits(&request.messages)));
        assert!(out.stats.memory_tokens <= memory_max_tokens);
        assert_eq!(out.stats.memory_tokens, window.counter().count(&out.memory.to_string()));
        let read: Vec<&str> = requests
            .iter()
            .flat_map(|request| part(request).lines())
            .filter(|line| line.starts_with("Line"))
            .collect();
        assert_eq!(read.len(), 60);
        assert_eq!(out.memory, replayed(&out.revisions));
        assert_eq!(
            out.stats.prompt_tokens,
            requests.iter().map(|r| window.tokens(&r.messages)).sum::<usize>()
        );
    }
}

#[tokio::test]
async fn prompts_begin_as_the_one_before_until_the_memory_is_written_anew() {
    let model = ByRule::new(keeps);
    let settings = json!({ "portion_tokens": 20, "compact_every": 4, "memory_max_tokens": 4000 });
    let out = read(&model, settings, &lines(9)).await.unwrap();
    let requests = model.requests();
    let before_part = |at: usize| {
        let asked = asked(&requests[at]);
        // Without the fence that ends the revisions.
        let end = asked.find("\n\nThe next part").unwrap();
        let without_fence = asked[..end].rfind('\n').unwrap();
        asked[..without_fence].to_owned()
    };
    let n_grown =
        (1..out.stats.portions).filter(|at| before_part(*at).starts_with(&before_part(at - 1))).count();
    assert_eq!(out.stats.compactions, (out.stats.portions - 1) / 4);
    assert_eq!(n_grown, out.stats.portions - 1 - out.stats.compactions);
}

#[tokio::test]
async fn reading_can_stop_and_go_on() {
    let settings = |answer: bool| json!({ "portion_tokens": 40, "memory_max_tokens": 4000, "answer": answer, "compact_every": 1 });
    let whole = read(&ByRule::new(keeps), settings(true), &lines(8)).await.unwrap();
    let half = lines(4);
    let first = read(&ByRule::new(keeps), settings(false), &half).await.unwrap();
    assert_eq!((first.text.as_str(), first.answer.grounded), ("", false));
    let rest = lines(8).replace(&half, "");
    let second = go_on(&ByRule::new(keeps), settings(false), &rest, Some(first.memory)).await.unwrap();
    assert_eq!(second.memory, whole.memory);
    // With nothing more to read it only answers.
    let model = ByRule::new(keeps);
    let input = In {
        question: "What is there?".to_owned(),
        document: None,
        text: None,
        chunks: None,
        memory: Some(second.memory),
    };
    let last = Memory::default().run(&model.cx(), input).await.unwrap();
    assert_eq!((last.text, model.requests().len()), (whole.text, 1));
}

#[tokio::test]
async fn a_memory_that_does_not_belong_here_is_refused() {
    let model = ByRule::new(keeps);
    let error = go_on(&model, json!({}), "a", Some(json!({ "facts": 1 }))).await.unwrap_err().to_string();
    assert!(error.starts_with("the memory to go on from does not satisfy the schema"), "{error}");
    let long = json!({ "facts": { "a": ["word ".repeat(2000)] } });
    let error = go_on(&model, json!({}), "a", Some(long)).await.unwrap_err().to_string();
    assert!(error.contains("more than `memory_max_tokens` (1000)"), "{error}");
    assert!(model.requests().is_empty());
}

#[tokio::test]
async fn revisions_that_cannot_be_read_are_counted_and_a_failure_fails_the_step() {
    let model =
        ByRule::new(|request| Ok(if is_last(request) { "done" } else { "I would add a fact." }.to_owned()));
    let out = read(&model, portions_of(40), &lines(4)).await.unwrap();
    assert_eq!(
        (out.stats.unread, out.text.as_str(), out.answer.grounded),
        (out.stats.portions, "done", false)
    );
    let listed = ByRule::new(|request| {
        Ok(if is_last(request) { "done" } else { r#"[{"op": "add", "path": "/facts/a", "value": []}]"# }
            .to_owned())
    });
    assert_eq!(read(&listed, json!({}), "a").await.unwrap().stats.accepted, 1);
    let error = read(&ByRule::new(|_| Err(broken())), json!({}), "a").await.unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    let input = In {
        question: "q".to_owned(),
        document: None,
        text: Some("a".to_owned()),
        chunks: None,
        memory: None,
    };
    let error = Memory::default().run(&Shelf::small().cx(), input).await.unwrap_err();
    assert!(error.to_string().contains("`extractive`"), "{error}");
}

#[tokio::test]
async fn the_prompts_fence_memory_and_text() {
    let model = ByRule::new(keeps);
    read(&model, portions_of(20), &lines(2)).await.unwrap();
    let requests = model.requests();
    insta::assert_snapshot!("second", rendered(&requests[1]));
    insta::assert_snapshot!("answer", rendered(&requests[2]));
}

#[test]
fn a_schema_that_is_none_and_a_memory_that_does_not_satisfy_it_are_refused() {
    let inputs = "{ question: inputs.query, chunks: inputs.chunks }";
    let found = problems("read.memory", inputs, "{ schema: { type: text } }");
    assert!(found.contains("the schema is no JSON Schema"), "{found}");
    let found = problems("read.memory", inputs, "{ initial: { facts: 3 } }");
    assert!(found.contains("does not satisfy the schema"), "{found}");
    let found = problems("read.memory", inputs, "{ schema: { type: object, required: [a] } }");
    assert!(found.contains("give one under `initial`"), "{found}");
    assert!(problems("read.memory", "{ question: inputs.query }", "{}").contains("it reads none of"));
    assert!(!validator("read.memory").is_valid(&json!({"ops": []})));
    assert!(!validator("read.memory").is_valid(&json!({"ops": ["remove"]})));
    assert_eq!(Memory { answer: false, max_portions: 3, ..Memory::default() }.model_calls_max(), 3);
}
