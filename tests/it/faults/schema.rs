//! A server that knows no schemas, asked for data by a flow.

use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::plan::{Environment, compile};
use anabranch_engine::run::{self, Options, run};
use anabranch_engine::value::{Map, Value};
use serde_json::{Value as Json, json};

use super::server::{Step, response};
use super::*;
use crate::support;

const FLOW: &str = "flow: f\ninputs: { text: text }\nnodes:\n  facts:\n    op: extract.structured\n    \
    with: { schema: { type: object, properties: { year: { type: integer } }, required: [year] } }\n    \
    in: { text: inputs.text }\noutputs: { facts: facts.data }\n";

fn answer(content: &str) -> Vec<Step> {
    let body = json!({ "choices": [{ "message": { "content": content }, "finish_reason": "stop" }] });
    vec![Step::Send(response("200 OK", &[("content-type", "application/json")], body.to_string().as_bytes()))]
}

#[tokio::test]
async fn data_comes_out_of_a_server_that_takes_no_schema_and_answers_in_prose_first() {
    let refusal = br#"{"error":{"message":"response_format.type must be text or json_object"}}"#;
    let server = Fake::start(|n| match n {
        0 => vec![Step::Send(response("400 Bad Request", &[], refusal))],
        1 => answer("It was long ago."),
        _ => answer("<think>1843?</think>```json\n{\"year\": 1843}\n```"),
    })
    .await;
    let registry = anabranch_operators::registry();
    let names = support::names();
    let environment = Environment { registry: &registry, names: Some(&names), library: &support::Repository };
    let (plan, _) = compile(&SourceFile::new("f.yaml", FLOW), &environment).unwrap_or_else(|e| panic!("{e}"));
    let model: Arc<dyn ChatModel> = Arc::new(chat(&server.url, true, FAR_DEADLINE));
    let models = [("default".to_owned(), Model::Chat(model))].into();
    let resources = Arc::new(Resources { models, ..Resources::default() });
    let inputs: Map = [("text".into(), Value::Text("Ada's notes, 1843".into()))].into_iter().collect();
    let report = run(Arc::new(plan), inputs, resources, Options::default()).await.unwrap();

    assert_eq!(report.outcome, run::Outcome::Succeeded);
    assert_eq!(serde_json::to_value(&report.outputs).unwrap(), json!({ "facts": { "year": 1843 } }));
    let requests = server.requests();
    let formats: Vec<Json> = requests
        .iter()
        .map(|request| {
            serde_json::from_str::<Json>(&request.body).unwrap()["response_format"]["type"].clone()
        })
        .collect();
    assert_eq!(formats, ["json_schema", "json_object", "json_object"]);
    // Each call of a step has a key of its own, and so has each way to ask.
    let mut keys: Vec<_> = requests.iter().filter_map(|request| request.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[1].starts_with(keys[0]) && !keys[2].starts_with(keys[0]), "{keys:?}");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}
