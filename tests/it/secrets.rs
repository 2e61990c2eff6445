//! A key that a backend echoes goes no further: not into the job, its events or the log, nor to whoever runs a command.

use std::fs;

use anabranch::access::Scope;
use serde_json::json;

use crate::access::service::Service;
use crate::cli::program;
use crate::faults::server::{Fake, Step, response};

/// The key of the model server: nothing about it looks like one.
const KEY: &str = "herons-nest-in-tall-trees";
/// The one that every variable of [`Service`] holds.
const SERVICE_KEY: &str = "a root key that is long enough to be one";
const FLOW: &str = "flow: ask\ninputs: { question: text }\nnodes:\n  \
                    pick: { op: route.llm, in: { text: inputs.question }, with: { routes: { left: l, right: r } } }\n\
                    outputs: { label: pick.label }\n";

/// A server that refuses, and says to whom: with the key, with one that it made up, and with the beginning of the key
/// where its words are cut (after 500 characters).
async fn echoing(key: &'static str) -> Fake {
    Fake::start(move |_| {
        let said = format!("no {key}, nor sk-0123456789abcdef0123. ");
        let said = format!("{said}{}{key}", "y".repeat(490 - said.len()));
        let body = json!({ "error": { "message": said } }).to_string();
        let headers = [("content-type", "application/json")];
        vec![Step::Send(response("400 Bad Request", &headers, body.as_bytes()))]
    })
    .await
}

fn has_none(text: &str, key: &str) {
    for secret in [key, &key[..8], "sk-0123456789abcdef0123"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
}

#[tokio::test]
async fn a_key_that_a_model_server_echoes_stays_out_of_the_job_and_its_events() {
    let model = echoing(SERVICE_KEY).await;
    let config =
        format!("models: {{ default: {{ url: '{}', model: m, api_key: '${{env:KEY}}' }} }}\n", model.url);
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    service.ask("PUT", "/v1/flows/ask").key(&key).yaml(FLOW).send().await;
    let asked = json!({ "flow": "ask", "inputs": { "question": "which?" } });
    let job = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=60").json(&asked).send().await;
    let id = job.json()["id"].as_str().unwrap().to_owned();
    let why = job.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(why.contains("rejected") && why.contains("[redacted]"), "{why}");
    let sent = model.requests();
    assert!(sent[0].header("authorization").unwrap().contains(SERVICE_KEY), "it was sent along");
    for path in ["", "/nodes", "/nodes/pick", "/events", "/export"] {
        let told = service.ask("GET", &format!("/v1/jobs/{id}{path}")).key(&key).send().await;
        assert_eq!(told.status, 200, "{path}");
        has_none(&told.text, SERVICE_KEY);
    }
    has_none(&service.ask("GET", "/v1/jobs").key(&key).send().await.text, SERVICE_KEY);
}

#[tokio::test]
async fn a_key_that_an_embedder_echoes_stays_out_of_what_indexing_says() {
    let embedder = echoing(SERVICE_KEY).await;
    let config = format!(
        "embedders: {{ default: {{ url: '{}', model: m, api_key: '${{env:KEY}}' }} }}\n",
        embedder.url
    );
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    let documents = json!({ "documents": [{ "id": "a", "text": "Herons nest in trees." }] });
    let put = service.ask("POST", "/v1/indexes/notes/documents").key(&key).json(&documents).send().await;
    assert!(put.text.contains("[redacted]"), "{}", put.text);
    has_none(&put.text, SERVICE_KEY);
    let search = json!({ "query": "herons", "by": "vectors" });
    let found = service.ask("POST", "/v1/indexes/notes/search").key(&key).json(&search).send().await;
    has_none(&found.text, SERVICE_KEY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_server_echoes_stays_out_of_what_commands_print() {
    let (model, folder) = (echoing(KEY).await, tempfile::tempdir().unwrap());
    fs::write(folder.path().join("ask.yaml"), FLOW).unwrap();
    fs::write(folder.path().join("note.md"), "Herons nest in trees.\n").unwrap();
    let server = format!("{{ url: '{}', model: m, api_key: '${{env:MODEL_KEY}}' }}", model.url);
    let config = format!("models: {{ default: {server} }}\nembedders: {{ default: {server} }}\n");
    fs::write(folder.path().join("anabranch.yaml"), config).unwrap();
    for arguments in [
        &["run", "ask.yaml", "-i", "question=which?"][..],
        &["run", "ask.yaml", "-i", "question=which?", "--json"],
        &["run", "ask.yaml", "-i", "question=which?", "--jsonl"],
        &["index", "note.md", "--into", "notes"],
        &["doctor"],
    ] {
        let mut command = tokio::process::Command::new(program());
        command.args(arguments).current_dir(folder.path()).env("MODEL_KEY", KEY).env("NO_COLOR", "1");
        let output = command.output().await.unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("[redacted]"), "{arguments:?}: {said}");
        has_none(&said, KEY);
    }
}

#[tokio::test]
async fn a_key_that_a_tool_echoes_stays_out_of_what_the_flow_is_told() {
    let tool = echoing(SERVICE_KEY).await;
    let config = format!(
        "tools: {{ look: {{ about: Looks., url: '{}/x', headers: {{ K: '${{env:KEY}}' }}, allow: ['127.0.0.1/32'] }} }}\n",
        tool.url
    );
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    let flow = "flow: look\nnodes:\n  look: { op: tool.run, with: { tool: look, effects: false }, in: { arguments: '{}' } }\n\
                outputs: { answer: look.value }\n";
    let put = service.ask("PUT", "/v1/flows/look").key(&key).yaml(flow).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    let asked = json!({ "flow": "look", "inputs": {} });
    let job = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=60").json(&asked).send().await;
    let why = job.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("[redacted]"), "{}", job.text);
    has_none(&job.text, SERVICE_KEY);
}
