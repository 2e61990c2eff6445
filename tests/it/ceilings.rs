//! What tenants and keys may spend in a day: refused where a job is submitted, and in the middle of one.

use anabranch::access::Scope;
use serde_json::{Value as Json, json};

use crate::access::service::{Answer, Service};
use crate::backends::{FLOW, answer_of};
use crate::faults::server::{Fake, Step};

/// A model of which each call takes 1000 tokens, and costs 0.9 for what it reads anew and 1.0 for what it writes.
async fn model() -> Fake {
    Fake::start(|_| vec![Step::Send(answer_of(900, 100))]).await
}

/// A service with it and a flow of the tenant `acme`; a key of an admin of all, and one of the tenant.
async fn started(server: &Fake, limits: &str) -> (Service, String, String) {
    let config = format!(
        "models: {{ default: {{ url: '{}', model: m, stream: false }} }}\nprices: {{ default: {{ prompt: 1000, cached: 0, \
         completion: 10000 }} }}\nlimits: {{ {limits} }}\n",
        server.url
    );
    let service = Service::start(&config).await;
    let (root, key) = (service.key("default", &Scope::ALL).await, service.key("acme", &Scope::ALL).await);
    let put = service.ask("PUT", "/v1/flows/route").key(&key).yaml(FLOW).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    (service, root, key)
}

async fn submit(service: &Service, key: &str) -> Answer {
    let body = json!({ "flow": "route", "inputs": { "text": "left" } });
    service.ask("POST", "/v1/jobs").key(key).header("prefer", "wait=30").json(&body).send().await
}

async fn succeeds(service: &Service, key: &str) -> Json {
    let answer = submit(service, key).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (200, &json!("succeeded")),
        "{}",
        answer.text
    );
    answer.json()
}

async fn limit(service: &Service, root: &str, more: Json) -> Answer {
    let mut body = json!({ "weight": 1, "max_running": 10, "max_queued": 10 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service.ask("PUT", "/v1/tenants/acme").key(root).json(&body).send().await
}

#[tokio::test]
async fn a_tenant_that_has_spent_its_day_is_told_when_to_come_back_and_what_to_do() {
    let server = model().await;
    let (service, root, key) = started(&server, "").await;
    let put = limit(&service, &root, json!({ "tokens_per_day": 2000 })).await;
    assert_eq!((put.status.as_u16(), &put.json()["tokens_per_day"]), (200, &json!(2000)), "{}", put.text);
    for _ in 0..2 {
        let job = succeeds(&service, &key).await;
        assert_eq!(job["usage"]["prompt_tokens"], 900, "{job}");
    }
    let refused = submit(&service, &key).await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (429, "ceiling"), "{}", refused.text);
    let problem = refused.json();
    assert_eq!(problem["detail"], "the tenant `acme` has spent what it may in a day: tokens up to 2000");
    assert!(problem["hint"].as_str().unwrap().contains("`PUT /v1/tenants/acme`"), "{problem}");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let batch = service.ask("POST", "/v1/batches").key(&key);
    let lines = json!({ "flow": "route", "inputs": { "text": "x" } }).to_string();
    assert_eq!(batch.body("application/x-ndjson", lines).send().await.status, 429);
    // Others have theirs, and more is there at once when it is given.
    limit(&service, &root, json!({ "tokens_per_day": 10_000 })).await;
    succeeds(&service, &key).await;
    assert_eq!(limit(&service, &root, json!({ "cost_per_day": -1 })).await.status, 422);
}

#[tokio::test]
async fn a_call_that_could_pass_the_ceiling_is_not_sent() {
    let server = model().await;
    let (service, _, key) = started(&server, "tenant_cost_per_day: 3").await;
    // It costs 0.86 for 860 tokens read anew, and 1.00 for 100 written.
    let job = succeeds(&service, &key).await;
    assert!((job["usage"]["cost"].as_f64().unwrap() - 1.86).abs() < 1e-9, "{job}");
    let answer = submit(&service, &key).await;
    let job = answer.json();
    assert_eq!(
        (&job["status"], &job["error"]["type"]),
        (&json!("failed"), &json!("over_budget")),
        "{}",
        answer.text
    );
    let why = job["error"]["message"].as_str().unwrap();
    assert!(why.contains("the budget of `tenant acme` is used up: cost_per_day is limited to 3"), "{why}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_key_has_a_ceiling_of_its_own() {
    let server = model().await;
    let (service, _, key) = started(&server, "tokens_per_day: 100000").await;
    let wanted = json!({ "name": "small", "scopes": ["run"], "tokens_per_day": 1400 });
    let made = service.ask("POST", "/v1/keys").key(&key).json(&wanted).send().await;
    assert_eq!((made.status.as_u16(), &made.json()["tokens_per_day"]), (201, &json!(1400)), "{}", made.text);
    let (small, id) = (made.json()["key"].as_str().unwrap().to_owned(), made.json()["id"].clone());
    succeeds(&service, &small).await;
    let over = submit(&service, &small).await.json();
    assert_eq!(over["error"]["type"], "over_budget", "{over}");
    assert!(over["error"]["message"].as_str().unwrap().contains(id.as_str().unwrap()), "{over}");
    succeeds(&service, &key).await;
}

#[tokio::test]
async fn stable_parts_of_prompts_are_counted_in_the_usage_of_a_job_and_of_its_nodes() {
    let server = model().await;
    let (service, _, key) = started(&server, "").await;
    let job = succeeds(&service, &key).await;
    let shareable = job["usage"]["shareable_tokens"].as_u64().unwrap();
    // The system prompt is most of what is asked.
    assert!((450..900).contains(&shareable), "{job}");
    assert_eq!(job["usage"]["cached_tokens"], 40, "{job}");
    let nodes =
        service.ask("GET", &format!("/v1/jobs/{}/nodes", job["id"].as_str().unwrap())).key(&key).send().await;
    assert_eq!(nodes.json()["items"][0]["usage"]["shareable_tokens"], shareable, "{}", nodes.text);
}
