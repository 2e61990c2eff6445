//! Flows of papers whose turns only a model that changes its mind can test: what stubs, which always give the same,
//! cannot show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::plan::{Environment, compile};
use anabranch_engine::run::{Options, Outcome, Report, Stub, run};
use anabranch_engine::value::{Map, Value};
use async_trait::async_trait;
use serde_json::{Value as Json, json};

use crate::support::{Repository, names, source};

/// Answers in turn, for each operator on its own: told apart by what its system prompt begins with. The last answer of
/// an operator stays.
#[derive(Debug)]
struct Script(Mutex<Vec<(&'static str, VecDeque<String>)>>);

impl Script {
    fn new(answers: &[(&'static str, &[&str])]) -> Arc<Self> {
        let answers = answers.iter().map(|(task, answers)| {
            (*task, answers.iter().map(|answer| (*answer).to_owned()).collect::<VecDeque<_>>())
        });
        Arc::new(Self(Mutex::new(answers.collect())))
    }
}

#[async_trait]
impl ChatModel for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let system = request.messages.first().map(|message| message.content.clone()).unwrap_or_default();
        let mut all = self.0.lock().unwrap();
        let found = all.iter_mut().find(|(task, _)| system.starts_with(task));
        let Some((_, answers)) = found else {
            return Err(Error::Rejected {
                backend: "script".to_owned(),
                message: format!("nobody knows {system}"),
            });
        };
        let text = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(ChatResponse {
            text: text.unwrap_or_default(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "script".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

const READER: &str = "You answer a question from numbered passages";
const JUDGE: &str = "You judge what the request quotes";
const PLANNER: &str = "You plan how a question is answered";

fn said(label: &str, score: f64) -> String {
    json!({ "reason": "so it is", "label": label, "score": score }).to_string()
}

fn chunk(doc: &str, text: &str, score: f64) -> Json {
    json!({
        "id": format!("{doc}#0-{}", text.len()), "doc": doc, "text": text, "score": score, "tokens": 8,
        "range": { "start": 0, "end": text.len() }, "lines": { "first": 1, "last": 1 },
    })
}

fn stub(outputs: Json) -> Stub {
    let Value::Map(outputs) = Value::from_json(outputs) else { panic!("outputs are a map") };
    Stub::Outputs(Map::clone(&outputs))
}

/// Runs a flow of `flows/` with this model.
async fn run_flow(flow: &str, inputs: Json, stubs: &[(&str, Json)], model: Arc<Script>) -> Report {
    let registry = anabranch_operators::registry();
    let names = names();
    let environment = Environment { registry: &registry, names: Some(&names), library: &Repository };
    let (plan, _) = compile(&source(&format!("flows/{flow}.yaml")), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let mut resources = Resources::default();
    resources.models.insert("default".to_owned(), Model::Chat(model));
    let stubs: BTreeMap<String, Stub> =
        stubs.iter().map(|(node, outputs)| ((*node).to_owned(), stub(outputs.clone()))).collect();
    let Value::Map(inputs) = Value::from_json(inputs) else { panic!("inputs are a map") };
    let options = Options { stubs, ..Options::default() };
    run(Arc::new(plan), Map::clone(&inputs), Arc::new(resources), options).await.unwrap()
}

fn outputs(report: &Report) -> Json {
    assert_eq!(report.outcome, Outcome::Succeeded);
    serde_json::to_value(&report.outputs).unwrap()
}

#[tokio::test]
async fn sage_stops_when_it_would_try_a_number_of_chunks_again() {
    let ranked = json!({ "scores": [0.9, 0.8, 0.7], "chunks": [
        chunk("a.md", "Herons nest in trees.", 0.9),
        chunk("b.md", "Herons fish in lakes.", 0.8),
        chunk("c.md", "Ships carry freight.", 0.7),
    ]});
    let stubs = [("search", json!({ "chunks": [], "scores": [] })), ("rank", ranked)];
    // One more, one fewer, one more: without a memory this would never end.
    let (lacking, excess) = (said("lacking", 0.2), said("excess", 0.3));
    let model = Script::new(&[
        (READER, &["Herons nest in trees [1]."]),
        (JUDGE, &[&lacking, &excess, &lacking, &excess]),
    ]);
    let inputs = json!({ "question": "Where do herons nest?", "k": 2, "rounds": 8 });
    let found = outputs(&run_flow("sage", inputs, &stubs, model).await);
    assert_eq!((&found["tried"], &found["stopped_because"]), (&json!([2, 3]), &json!("repeated")));
    assert_eq!(found["passed"], json!(false));
}

#[tokio::test]
async fn plan_and_execute_plans_again_with_what_it_learned() {
    let plan = r#"{"reason": "one look-up", "steps": ["retrieve.bm25", "read.answer"]}"#;
    let (open, answered) = (said("open", 0.1), said("answered", 1.0));
    let model = Script::new(&[
        (PLANNER, &["I would rather not.", "Still not.", plan]),
        (READER, &["Herons nest in trees [1]."]),
        (JUDGE, &[&open, &answered]),
    ]);
    let found = json!({ "chunks": [chunk("a.md", "Herons nest in trees.", 1.0)], "scores": [1.0] });
    // The fallback searches with `search`, the plan with a step called after its operator.
    let stubs = [("work/run/search", found.clone()), ("work/run/bm25", found)];
    let report =
        run_flow("plan_and_execute", json!({ "question": "Where do herons nest?" }), &stubs, model).await;
    let found = outputs(&report);
    assert_eq!((&found["plans"], &found["answered"]), (&json!(2), &json!(true)));
    let ran: Vec<String> = report.nodes.iter().map(|node| node.scope.to_string()).collect();
    for scope in ["work[1]/run/search", "work[2]/run/bm25", "work[2]/run/answer"] {
        assert!(ran.iter().any(|ran| ran == scope), "{scope}: {ran:?}");
    }
}

#[tokio::test]
async fn chameleon_repairs_a_plan_once() {
    let model = Script::new(&[
        (
            PLANNER,
            &[
                r#"{"steps": ["retrieve.bm25", "shell.run"]}"#,
                r#"{"reason": "Words will do.", "steps": ["retrieve.bm25", "read.answer"]}"#,
            ],
        ),
        (READER, &["Herons nest in trees [1]."]),
    ]);
    let stubs =
        [("work/bm25", json!({ "chunks": [chunk("a.md", "Herons nest in trees.", 1.0)], "scores": [1.0] }))];
    let found =
        outputs(&run_flow("chameleon", json!({ "question": "Where do herons nest?" }), &stubs, model).await);
    assert_eq!((&found["fell_back"], &found["reason"]), (&json!(false), &json!("Words will do.")));
    assert_eq!(found["answer"]["grounded"], json!(true));
}
