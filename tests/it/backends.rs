//! The models on servers behind the whole service: one scheduler a model for all runs, and what `/v1/backends` says of it.

use anabranch::access::Scope;
use serde_json::{Value as Json, json};

use crate::access::service::Service;
use crate::faults::server::{Fake, Step, response};

/// A flow that asks the model once a run.
pub(crate) const FLOW: &str = "flow: route\ninputs: { text: text }\nnodes:\n  pick: { op: route.llm, in: { text: inputs.text }, with: \
                    { routes: { left: to the left, right: to the right } }, retry: { attempts: 1 } }\n\
                    outputs: { label: pick.label }\n";

/// A good answer of a model that read 100 tokens and wrote 10.
fn answer() -> Vec<u8> {
    answer_of(100, 10)
}

/// A good answer of a model that read and wrote so many tokens, 40 of them from its cache.
pub(crate) fn answer_of(read: u64, written: u64) -> Vec<u8> {
    let content = json!({ "reason": "it says so", "label": "left" }).to_string();
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
        "usage": { "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
                   "prompt_tokens_details": { "cached_tokens": 40 } },
    });
    response("200 OK", &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// A service whose model has these servers, with its flow; the key of somebody who may do everything there.
async fn started(servers: &[&Fake], more: &str) -> (Service, String) {
    let urls: Vec<String> = servers.iter().map(|server| format!("{{ url: '{}' }}", server.url)).collect();
    let config = format!(
        "models: {{ default: {{ replicas: [{}], model: m, stream: false, policy: round_robin{more} }} }}\n",
        urls.join(", ")
    );
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    let put = service.ask("PUT", "/v1/flows/route").key(&key).yaml(FLOW).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    (service, key)
}

async fn job(service: &Service, key: &str, text: &str, more: Json) -> Json {
    let mut body = json!({ "flow": "route", "inputs": { "text": text } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let asked = service.ask("POST", "/v1/jobs").key(key).header("prefer", "wait=30").json(&body);
    let answer = asked.send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn backend(service: &Service, key: &str) -> Json {
    let answer = service.ask("GET", "/v1/backends").key(key).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["items"][0].clone()
}

#[tokio::test]
async fn a_server_dies_and_every_job_succeeds_on_the_other() {
    let well = Fake::start(|_| vec![Step::Send(answer())]).await;
    // It takes connections in, and breaks them off.
    let dead = Fake::start(|_| Vec::new()).await;
    let (service, key) = started(&[&dead, &well], ", breaker: { cooldown: 1h, max_cooldown: 1h }").await;
    for n in 0..20 {
        let job = job(&service, &key, &format!("text {n}"), json!({})).await;
        assert_eq!(
            (&job["status"], &job["outputs"]["label"]),
            (&json!("succeeded"), &json!("left")),
            "{job}"
        );
    }
    let seen = backend(&service, &key).await;
    assert_eq!((&seen["model"], &seen["policy"]), (&json!("default"), &json!("round_robin")), "{seen}");
    let (first, second) = (&seen["replicas"][0], &seen["replicas"][1]);
    assert_eq!(first["breaker"], "open", "it failed five times in a row: {seen}");
    assert_eq!(first["calls"]["answered"], 0, "{seen}");
    assert_eq!(first["calls"]["unavailable"], seen["retries"]["unavailable"], "{seen}");
    assert!(seen["retries"]["unavailable"].as_u64().unwrap() >= 5, "{seen}");
    assert_eq!((&second["breaker"], &second["calls"]["answered"]), (&json!("closed"), &json!(20)), "{seen}");
    assert_eq!(second["tokens"], json!({ "prompt": 2000, "cached": 800, "completion": 200 }), "{seen}");
    assert_eq!((&second["cached_share"], &seen["cached_share"]), (&json!(0.4), &json!(0.4)), "{seen}");
    assert_eq!((&second["in_flight"], &seen["queue"]["interactive"]), (&json!(0), &json!(0)), "{seen}");
    assert_eq!(seen["queue"]["wait"]["count"], 20, "{seen}");
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{seen}");
}

#[tokio::test]
async fn all_runs_share_one_queue_and_the_bound_of_the_server() {
    let well = Fake::start(|_| vec![Step::Send(answer())]).await;
    let (service, key) = started(&[&well], ", max_in_flight: 1").await;
    let jobs = (0..8).map(|n| {
        let (service, key) = (&service, &key);
        // Identical calls would be one.
        async move { job(service, key, &format!("text {n}"), json!({ "session_id": format!("s{n}") })).await }
    });
    for job in futures::future::join_all(jobs).await {
        assert_eq!(job["status"], "succeeded", "{job}");
    }
    let seen = backend(&service, &key).await;
    assert_eq!(
        (&seen["replicas"][0]["max_in_flight"], &seen["queue"]["wait"]["count"]),
        (&json!(1), &json!(8))
    );
}

#[tokio::test]
async fn answers_are_kept_below_data_where_the_configuration_says_so() {
    let well = Fake::start(|_| vec![Step::Send(answer())]).await;
    let (service, key) = started(&[&well], ", response_cache: { disk: {} }").await;
    for _ in 0..3 {
        let job = job(&service, &key, "the same", json!({})).await;
        assert_eq!(job["status"], "succeeded", "{job}");
    }
    assert_eq!(well.requests().len(), 1, "the others were answered with what was kept");
    let seen = backend(&service, &key).await;
    let cache = &seen["sharing"]["cache"];
    assert_eq!(
        (&cache["hits"], &cache["misses"], &cache["entries"]),
        (&json!(2), &json!(1), &json!(1)),
        "{seen}"
    );
    assert_eq!(
        (&seen["sharing"]["single_flight"], &seen["sharing"]["warmup"], &seen["sharing"]["hedges"]),
        (
            &json!(0),
            &json!({ "led": 0, "followed": 0, "late": 0 }),
            &json!({ "sent": 0, "won": 0, "denied": 0 })
        ),
        "{seen}"
    );
    assert!(service.data().join("responses").is_dir());
}

#[tokio::test]
async fn tenants_see_how_servers_are_and_not_where() {
    let well = Fake::start(|_| vec![Step::Send(answer())]).await;
    let (service, _) = started(&[&well], "").await;
    let key = service.key("acme", &Scope::ALL).await;
    let seen = backend(&service, &key).await;
    assert_eq!(seen["replicas"][0]["breaker"], "closed", "{seen}");
    assert!(!seen.to_string().contains("127.0.0.1"), "{seen}");
}
