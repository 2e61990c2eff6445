//! What a run leaves behind that did not simply go on to its end: a call that was cut off, and a wait for somebody.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Collector, Fake, Seen, Service, Step, service};

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_mins(1);
const ASK: &str = "flow: ask\nnodes:\n  review: { wait: { for: bool, about: Well?, deadline: 1h } }\noutputs: { well: review.value }\n";

/// The job, once it is as it should be.
async fn until(service: &Service, key: &str, id: &str, is_so: impl Fn(&Json) -> bool) -> Json {
    let until = Instant::now() + SOON;
    loop {
        let job = service.ask("GET", &format!("/v1/jobs/{id}")).key(key).send().await.json();
        if is_so(&job) {
            return job;
        }
        assert!(Instant::now() < until, "{job}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let found = spans.iter().find(|seen| seen.span.name == name);
    found.unwrap_or_else(|| panic!("no `{name}` among {:?}", spans.iter().map(|seen| &seen.span.name)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cut_off_is_seen_with_what_was_held_for_it() {
    let (collector, url) = Collector::http().await;
    let model = Fake::start(|_| vec![Step::Hang]).await;
    let (service, key) =
        service(&model, &format!("telemetry: {{ endpoint: '{url}', protocol: http }}\n")).await;
    let asked = json!({ "flow": "route", "inputs": { "text": "which?" } });
    let submitted = service.ask("POST", "/v1/jobs").key(&key).json(&asked).send().await.json();
    let id = submitted["id"].as_str().unwrap();
    let soon = Instant::now() + SOON;
    while model.requests().is_empty() {
        assert!(Instant::now() < soon, "the model is not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cancel = service.ask("POST", &format!("/v1/jobs/{id}/cancel")).key(&key);
    cancel.json(&json!({ "mode": "now" })).send().await;
    let job = until(&service, &key, id, |job| job["status"] == "cancelled").await;
    let usage = &job["usage"];
    assert_eq!((&usage["model_calls"], &usage["unanswered_calls"]), (&json!(1), &json!(1)), "{job}");
    assert!(usage["completion_tokens"].as_u64().unwrap() > 0, "what was held counts: {job}");

    let get = async |path: &str| {
        let answer = service.ask("GET", &format!("/v1/jobs/{id}{path}")).key(&key).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    };
    let node = get("/nodes/pick").await;
    assert_eq!((&node["status"], &node["attempts"]), (&json!("cancelled"), &json!(1)), "{node}");
    assert_eq!((&node["usage"], &node["inputs"]["text"]), (usage, &json!("which?")), "{node}");
    assert_eq!((&node["tries"][0]["aborted"], &node["tries"][0]["usage"]), (&json!(true), usage), "{node}");
    assert!(node["tries"][0]["ran_ms"].as_f64().unwrap() > 0.0, "{node}");
    assert!(node["ended_ms"].as_f64() > node["began_ms"].as_f64(), "{node}");
    let timeline = get("/timeline").await;
    let item = &timeline["items"][0];
    assert_eq!((&item["node"], &item["status"]), (&json!("pick"), &json!("cancelled")), "{timeline}");
    assert_eq!((&item["ended_ms"], &item["usage"]), (&node["ended_ms"], usage), "{timeline}");
    assert_eq!(get("/nodes").await["items"][0]["status"], "cancelled");
    assert_eq!(get("/graph").await["nodes"]["pick"], "cancelled");

    service.app.telemetry.close().await;
    let spans = collector.spans();
    let call = named(&spans, "chat m");
    assert_eq!(call.attributes["anabranch.usage.is_estimate"], true);
    assert_eq!(call.attributes["gen_ai.usage.input_tokens"], usage["prompt_tokens"]);
    assert_eq!(call.attributes["llm.token_count.completion"], usage["completion_tokens"]);
    assert_eq!(
        (named(&spans, "pick").text("error.type"), call.text("error.type")),
        ("cancelled", "cancelled")
    );
    let told = service.ask("GET", "/metrics").send().await.text;
    let aborted = "anabranch_node_attempts_total{op=\"route.llm\",outcome=\"aborted\"} 1";
    assert!(told.lines().any(|line| line == aborted), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_has_a_span_as_long_as_the_wait() {
    let (collector, url) = Collector::http().await;
    let model = Fake::start(|_| vec![Step::Hang]).await;
    let (service, key) =
        service(&model, &format!("telemetry: {{ endpoint: '{url}', protocol: http }}\n")).await;
    service.ask("PUT", "/v1/flows/ask").key(&key).yaml(ASK).send().await;
    let asked = json!({ "flow": "ask", "inputs": {} });
    let submitted = service.ask("POST", "/v1/jobs").key(&key).json(&asked).send().await.json();
    let id = submitted["id"].as_str().unwrap();
    let waiting = until(&service, &key, id, |job| job["status"] == "waiting").await;
    let since: jiff::Timestamp = waiting["waits"][0]["since"].as_str().unwrap().parse().unwrap();
    let answer = json!({ "wait": "review", "value": true });
    let resumed = service.ask("POST", &format!("/v1/jobs/{id}/resume")).key(&key).json(&answer).send().await;
    assert!(resumed.status.is_success(), "{}", resumed.text);
    until(&service, &key, id, |job| job["status"] == "succeeded").await;
    service.app.telemetry.close().await;
    let spans = collector.spans();
    let wait = named(&spans, "review");
    assert_eq!(wait.span.start_time_unix_nano / 1_000_000, since.as_millisecond().unsigned_abs());
    let waited = (wait.span.end_time_unix_nano - wait.span.start_time_unix_nano) as f64 / 1e6;
    assert!((wait.attributes["anabranch.waited_ms"].as_f64().unwrap() - waited).abs() < 0.01, "{wait:?}");
    assert!(waited > 0.0);
    let n_roots = spans.iter().filter(|seen| seen.span.name == "invoke_workflow ask").count();
    assert_eq!((spans.len(), n_roots), (2, 1), "what was told before the wait is not told again");
}

#[tokio::test]
async fn an_embedder_without_a_server_is_nobody_elses() {
    let (collector, url) = Collector::http().await;
    let model = Fake::start(|_| vec![Step::Hang]).await;
    let (service, key) =
        service(&model, &format!("telemetry: {{ endpoint: '{url}', protocol: http }}\n")).await;
    let near = "flow: near\nnodes:\n  find: { op: retrieve.dense, with: { index: notes }, in: { query: \"'herons'\" } }\noutputs: { found: find.chunks }\n";
    service.ask("PUT", "/v1/flows/near").key(&key).yaml(near).send().await;
    let documents = json!({ "documents": [{ "id": "a", "text": "Herons nest in trees." }] });
    service.ask("POST", "/v1/indexes/notes/documents").key(&key).json(&documents).send().await;
    let asked = json!({ "flow": "near", "inputs": {} });
    let job = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=60").json(&asked).send().await;
    assert_eq!(job.json()["status"], "succeeded", "{}", job.text);
    service.app.telemetry.close().await;
    let spans = collector.spans();
    let call = named(&spans, "embeddings hashed-384-v1");
    assert_eq!(call.text("gen_ai.provider.name"), "anabranch");
}
