//! U+0000, which `PostgreSQL` cannot keep: refused where requests are read, kept where a flow has made it.

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::on_postgres;
use super::service::Service;

#[tokio::test]
async fn a_request_with_u0000_is_refused_with_its_place_on_postgresql() {
    on_postgres(async |service| it_is_refused(service).await).await;
}

#[tokio::test]
async fn a_request_with_u0000_is_refused_with_its_place_on_sqlite() {
    it_is_refused(&Service::start("")).await;
}

async fn it_is_refused(service: &Service) {
    for group in ["jobs", "flows", "batches", "webhooks", "schedules", "keys"] {
        let (status, problem) = service.ask(Method::GET, &format!("/v1/{group}/a%00"), None).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_parameter")), "{group}: {problem}");
    }
    for name in ["q", "label.a", "session_id", "cursor", "flow", "batch_id"] {
        let (status, problem) = service.ask(Method::GET, &format!("/v1/jobs?{name}=a%00b"), None).await;
        assert_eq!(status, 400, "{name}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{problem}");
    }
    let job = service.submit("larger", json!({ "n": 7 })).await;
    let feedback = format!("/v1/jobs/{job}/feedback");
    let bodies = [
        ("/v1/jobs", json!({ "flow": "larger", "labels": { "a": "x\0" } }), "/labels/a"),
        ("/v1/jobs", json!({ "flow": "larger", "session_id": "\0" }), "/session_id"),
        ("/v1/jobs", json!({ "flow": "larger", "inputs": { "n": ["\0"] } }), "/inputs/n/0"),
        ("/v1/schedules", json!({ "name": "a\0", "cron": "@daily", "job": { "flow": "larger" } }), "/name"),
        ("/v1/webhooks", json!({ "url": "https://example.org", "about": "\0" }), "/about"),
        ("/v1/keys", json!({ "name": "\0", "scopes": ["read"] }), "/name"),
        ("/v1/flows/check", json!({ "flow": "flow: a", "prompts": { "p\0": "" } }), "/prompts/p\0"),
        (
            "/mcp",
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "\0" } }),
            "/params/name",
        ),
        (&feedback, json!({ "comment": "\0" }), "/comment"),
    ];
    for (path, body, pointer) in bodies {
        let (status, problem) = service.ask(Method::POST, path, Some(&body)).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid")), "{path}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{path}: {problem}");
    }
    // As an escape of the YAML: only the reader of flows sees it.
    let flow = json!({ "flow": "flow: a\nabout: \"x\\0\"\nnodes:\n  b: { wait: { for: bool } }\noutputs: { c: b.value }\n" });
    let (status, problem) = service.ask(Method::PUT, "/v1/flows/a", Some(&flow)).await;
    assert_eq!((status, &problem["errors"][0]["code"]), (422, &json!("FLOW0001")), "{problem}");
    assert_eq!(problem["errors"][0]["span"]["line"], 2, "{problem}");
}

/// A flow whose expressions make U+0000, in what it shows to whoever answers, in what it reads, and in what it gives.
const FLOW: &str = "flow: makes
inputs: { said: text }
nodes:
  approve: { wait: { for: text, about: May it go on? }, in: { shown: 'inputs.said + \"\\u0000\"' } }
  compare: { op: judge.rule, in: { n: 'approve.value + \"\\u0000\"' }, with: { pass: n == 'x' } }
outputs:
  said: 'inputs.said + \"\\u0000\"'
  larger: compare.pass
";

#[tokio::test]
async fn what_a_flow_makes_may_hold_u0000_on_postgresql() {
    on_postgres(async |service| it_is_kept(service).await).await;
}

#[tokio::test]
async fn what_a_flow_makes_may_hold_u0000_on_sqlite() {
    it_is_kept(&Service::start("")).await;
}

async fn it_is_kept(service: &Service) {
    let job = service.post("/v1/jobs", &json!({ "flow_yaml": FLOW, "inputs": { "said": "yes" } })).await;
    let id = job["id"].as_str().unwrap();
    let waiting = service.job(id, "waiting").await;
    assert_eq!(waiting["waits"][0]["shown"]["shown"], "yes\0", "{waiting}");
    service.post(&format!("/v1/jobs/{id}/resume"), &json!({ "wait": "approve", "value": "x" })).await;
    let job = service.job(id, "succeeded").await;
    assert_eq!(job["outputs"], json!({ "said": "yes\0", "larger": false }), "{job}");
    for path in ["/events?after=0", "/nodes", "/export"] {
        let found = service.get(&format!("/v1/jobs/{id}{path}")).await;
        assert_ne!(found, Json::Null, "{path}");
    }
    let found = service.get("/v1/jobs?q=makes").await;
    assert_eq!(found["items"][0]["id"], id, "{found}");
}
