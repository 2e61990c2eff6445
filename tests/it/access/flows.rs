//! Flows over the API: checked, put, tagged, gone back to.

use anabranch::access::Scope;
use axum::http::StatusCode;
use serde_json::json;

use super::service::Service;

const ECHO: &str = "flow: echo\nabout: Says what it is told.\ninputs: { said: { type: text, min: 1 } }\nnodes:\n  \
                    search: { op: retrieve.bm25, with: { index: notes }, in: { query: inputs.said } }\n\
                    outputs: { chunks: search.chunks }\n";

async fn started() -> (Service, String) {
    let service = Service::start("").await;
    let key = service.key("acme", &Scope::ALL).await;
    (service, key)
}

#[tokio::test]
async fn checking_tells_every_problem_with_its_place_and_keeps_nothing() {
    let (service, key) = started().await;
    let broken = "flow: broken\ninputs: { q: text }\nnodes:\n  a: { op: retrieve.bm26, in: { query: inputs.q } }\n  \
                  b: { op: read.answer, in: { question: inputs.qq } }\noutputs: { x: b.answer }\n";
    let answer = service.ask("POST", "/v1/flows/check").key(&key).yaml(broken).send().await;
    let found = answer.json();
    assert_eq!((answer.status, &found["valid"]), (StatusCode::OK, &json!(false)));
    let first = &found["diagnostics"][0];
    assert_eq!(first["code"], "FLOW0014");
    assert_eq!(
        first["span"],
        json!({ "file": "broken.yaml", "line": 4, "column": 12, "end_line": 4, "end_column": 25 })
    );
    assert!(first["hint"].as_str().unwrap().contains("retrieve.bm25"), "{first}");
    assert!(found["diagnostics"].as_array().unwrap().len() > 1);
    let put = service.ask("PUT", "/v1/flows/broken").key(&key).yaml(broken).send().await;
    assert_eq!((put.status, &*put.code()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_flow"));
    assert_eq!(put.json()["errors"], found["diagnostics"]);
    let fine = service.ask("POST", "/v1/flows/check").key(&key).yaml(ECHO).send().await.json();
    assert_eq!(
        (&fine["valid"], &fine["name"], &fine["diagnostics"]),
        (&json!(true), &json!("echo"), &json!([]))
    );
    assert_eq!(service.ask("GET", "/v1/flows").key(&key).send().await.json()["items"], json!([]));
}

#[tokio::test]
async fn what_was_put_is_found_with_its_tag_and_not_sent_twice() {
    let (service, key) = started().await;
    let put = service.ask("PUT", "/v1/flows/echo").key(&key).yaml(ECHO).send().await;
    assert_eq!((put.status, put.header("location")), (StatusCode::CREATED, "/v1/flows/echo"));
    assert_eq!(put.json()["version"], 1);
    let tag = put.header("etag").to_owned();
    let again = service.ask("PUT", "/v1/flows/echo").key(&key).yaml(ECHO).send().await;
    assert_eq!((again.status, &again.json()["changed"]), (StatusCode::OK, &json!(false)));
    let found = service.ask("GET", "/v1/flows/echo").key(&key).send().await;
    assert_eq!((&*found.text, found.header("content-type")), (ECHO, "application/yaml"));
    assert_eq!(found.header("etag"), tag);
    let known = service.ask("GET", "/v1/flows/echo").key(&key).header("if-none-match", &tag).send().await;
    assert_eq!((known.status, &*known.text), (StatusCode::NOT_MODIFIED, ""));
    let parts =
        service.ask("GET", "/v1/flows/echo").key(&key).header("accept", "application/json").send().await;
    assert_eq!((&parts.json()["flow"], &parts.json()["flows"]), (&json!(ECHO), &json!({})));
    let other = service.ask("PUT", "/v1/flows/other").key(&key).yaml(ECHO).send().await;
    assert_eq!(
        (other.status, &other.json()["errors"][0]["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("flow_name"))
    );
    let kind = service.ask("PUT", "/v1/flows/echo").key(&key).body("image/png", "x".into()).send().await;
    assert_eq!(kind.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let (service, key) = started().await;
    let put = async |text: &str, name: &str, value: &str| {
        service.ask("PUT", "/v1/flows/echo").key(&key).yaml(text).header(name, value).send().await
    };
    assert_eq!(put(ECHO, "if-match", "*").await.status, StatusCode::PRECONDITION_FAILED);
    let first = put(ECHO, "if-none-match", "*").await;
    assert_eq!(first.status, StatusCode::CREATED);
    let newer = ECHO.replace("Says", "Repeats");
    assert_eq!(put(&newer, "if-none-match", "*").await.status, StatusCode::PRECONDITION_FAILED);
    let second = put(&newer, "if-match", first.header("etag")).await;
    assert_eq!((second.status, &second.json()["version"]), (StatusCode::OK, &json!(2)));
    let late = put(&ECHO.replace("Says", "Writes"), "if-match", first.header("etag")).await;
    assert_eq!((late.status, &*late.code()), (StatusCode::PRECONDITION_FAILED, "changed"));
    assert_eq!(put(ECHO, "if-match", "no-quotes").await.status, StatusCode::BAD_REQUEST);
    let dry = service.ask("PUT", "/v1/flows/echo?dry_run=true").key(&key).yaml(ECHO).send().await.json();
    assert_eq!((&dry["dry_run"], &dry["changed"], dry.get("version")), (&json!(true), &json!(true), None));
    let versions = service.ask("GET", "/v1/flows/echo/versions").key(&key).send().await.json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn going_back_to_a_version_counts_what_still_runs() {
    let (service, key) = started().await;
    let asking = "flow: echo\ninputs: { said: text }\nnodes:\n  ok: { wait: { for: bool }, in: { said: inputs.said } }\n\
                  outputs: { ok: ok.value }\n";
    service.ask("PUT", "/v1/flows/echo").key(&key).yaml(asking).send().await;
    let job = json!({ "flow": "echo", "inputs": { "said": "?" } });
    let job = service.ask("POST", "/v1/jobs").key(&key).json(&job).send().await;
    assert_eq!(job.status, StatusCode::ACCEPTED, "{}", job.text);
    let draft = service.ask("PUT", "/v1/flows/echo?activate=false").key(&key).yaml(ECHO).send().await.json();
    assert_eq!((&draft["version"], &draft["active"]), (&json!(2), &json!(false)));
    let active =
        async || service.ask("GET", "/v1/flows").key(&key).send().await.json()["items"][0]["version"].clone();
    assert_eq!(active().await, 1);
    let activate = async |version: i32| {
        let body = json!({ "version": version });
        service.ask("POST", "/v1/flows/echo/activate").key(&key).json(&body).send().await
    };
    let forward = activate(2).await.json();
    assert_eq!(forward, json!({ "name": "echo", "active": 2, "before": 1, "in_flight": { "1": 1 } }));
    assert_eq!(active().await, 2);
    assert_eq!(activate(1).await.json()["before"], 2);
    assert_eq!(active().await, 1);
    assert_eq!(activate(7).await.status, StatusCode::NOT_FOUND);
    let gone = service.ask("DELETE", "/v1/flows/echo").key(&key).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(service.ask("GET", "/v1/flows/echo").key(&key).send().await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_flow_is_drawn_explained_and_described() {
    let (service, key) = started().await;
    service.ask("PUT", "/v1/flows/echo").key(&key).yaml(ECHO).send().await;
    let get = async |path: &str| service.ask("GET", path).key(&key).send().await;
    let schema = get("/v1/flows/echo/schema").await.json();
    assert_eq!(schema["inputs"]["properties"]["said"], json!({ "type": "string", "minLength": 1 }));
    assert_eq!(schema["inputs"]["required"], json!(["said"]));
    let valid = jsonschema::validator_for(&schema["inputs"]).unwrap();
    assert!(valid.is_valid(&json!({ "said": "x" })) && !valid.is_valid(&json!({ "said": "" })));
    assert_eq!(schema["outputs"]["properties"]["chunks"]["items"]["title"], "chunk");
    let graph = get("/v1/flows/echo/graph").await.json();
    assert_eq!(graph["nodes"][0]["runs"], "retrieve.bm25");
    assert!(get("/v1/flows/echo/graph?format=mermaid").await.text.starts_with("flowchart"));
    assert_eq!(get("/v1/flows/echo/graph?format=png").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(get("/v1/flows/echo/explain").await.json()["flow"], "echo");
    assert_eq!(get("/v1/flows/ech").await.json()["hint"], "did you mean `echo`?");
    let operator = get("/v1/operators/retrieve.bm25").await.json();
    assert_eq!(operator["inputs"][0]["name"], "query");
    assert_eq!(get("/v1/operators/retrieve.bm26").await.status, StatusCode::NOT_FOUND);
    assert!(get("/v1/operators").await.json()["items"].as_array().unwrap().len() > 20);
}
