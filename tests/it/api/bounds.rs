//! What a tenant may have: running, queued for now or later, waiting; and what is no new work.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::harness::{Answer, SOON, Service};

async fn put(service: &Service, limits: Json) -> Answer {
    let request = service.request(Method::PUT, "/v1/tenants/default").json(&limits);
    Answer::of(request.send().await.unwrap()).await
}

/// Ids of the jobs with this status.
async fn listed(service: &Service, status: &str) -> Vec<String> {
    let list = service.get(&format!("/v1/jobs?status={status}&limit=50")).await;
    let items = list.body["items"].as_array().unwrap().clone();
    items.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// The jobs with this status, once there are so many.
async fn until(service: &Service, status: &str, n: usize) -> Vec<String> {
    let until = Instant::now() + SOON;
    loop {
        let ids = listed(service, status).await;
        if ids.len() == n {
            return ids;
        }
        assert!(Instant::now() < until, "{} are {status}", ids.len());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_of_a_tenant_run_than_were_set_for_it() {
    let service = Service::start().await;
    let said = put(&service, json!({ "weight": 1, "max_running": 1 })).await;
    assert_eq!(
        (&said.body["max_running"], &said.body["max_queued"]),
        (&json!(1), &json!(10_000)),
        "{said:?}"
    );
    for _ in 0..4 {
        service.submit("slow").await;
    }
    let running = until(&service, "running", 1).await;
    assert_eq!(listed(&service, "queued").await.len(), 3);
    service.post(&format!("/v1/jobs/{}/cancel", running[0]), &json!({ "mode": "now" })).await;
    until(&service, "queued", 2).await;
    assert_eq!(listed(&service, "running").await.len(), 1, "the next one has its place");
    // Without a bound of its own it has all places.
    let said = put(&service, json!({ "weight": 1, "max_queued": 10_000 })).await;
    assert_eq!((&said.body["max_running"], &said.body["max_queued"]), (&Json::Null, &json!(10_000)));
    service.submit("slow").await;
    until(&service, "running", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_queue_is_as_long_as_it_was_set_whatever_the_configuration_says() {
    let service = Service::with(|config| config.limits.queued = 2).await;
    assert_eq!(service.get("/v1/tenants/default").await.body["max_queued"], 2);
    put(&service, json!({ "weight": 1, "max_running": 0, "max_queued": 10_000 })).await;
    assert_eq!(service.get("/v1/tenants/default").await.body["max_queued"], 10_000);
    for _ in 0..5 {
        service.submit("quick").await;
    }
    assert_eq!(listed(&service, "queued").await.len(), 5, "and none of them runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_time_has_not_come_are_in_the_queue() {
    let service = Service::with(|config| config.limits.queued = 2).await;
    let later = json!({ "flow": "quick", "run_at": "1h" });
    for _ in 0..2 {
        assert_eq!(service.post("/v1/jobs", &later).await.status, 202);
    }
    let refused = service.post("/v1/jobs", &later).await;
    assert_eq!(refused.problem(429), "queue_full");
    assert_eq!(refused.body["detail"], "2 jobs are queued, and at most 2 may be");
    assert_eq!(service.post("/v1/jobs", &json!({ "flow": "quick" })).await.status, 202, "it need not queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_answers_are_bounded() {
    let service = Service::with(|config| config.limits.waiting = 1).await;
    let asking = service.run("asking").await;
    let until = Instant::now() + SOON;
    let refused = loop {
        // A count is believed for half a second.
        let answer = service.post("/v1/jobs", &json!({ "flow": "quick" })).await;
        if answer.status != 202 {
            break answer;
        }
        assert!(Instant::now() < until, "never refused");
    };
    assert_eq!(refused.problem(429), "queue_full");
    assert_eq!(refused.body["detail"], "1 jobs wait for answers, and at most 1 may");
    let id = asking["id"].as_str().unwrap();
    service.post(&format!("/v1/jobs/{id}/resume"), &json!({ "wait": "approve", "value": true })).await;
    service.ended(id).await;
    service.run("quick").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_made_before_is_answered_even_when_new_ones_are_refused() {
    let service = Service::with(|config| (config.limits.running, config.limits.queued) = (1, 1)).await;
    let send = async |path: &str, body: &Json| {
        let request = service.request(Method::POST, path).header("idempotency-key", "once");
        Answer::of(request.json(body).send().await.unwrap()).await
    };
    let yaml =
        "flow: own\nnodes:\n  a: { op: test.work, with: { delay_ms: 30000 } }\noutputs:\n  t: a.text\n";
    let put = service.request(Method::PUT, "/v1/flows/own").header("content-type", "application/yaml");
    assert_eq!(put.body(yaml).send().await.unwrap().status(), 201);
    let (plain, typed) = (json!({ "flow": "own" }), json!({}));
    let first = send("/v1/jobs", &plain).await;
    let second = send("/v1/flows/own/jobs", &typed).await;
    assert_eq!((first.status, second.status), (202, 202), "{first:?} {second:?}");
    assert_eq!(service.request(Method::DELETE, "/v1/flows/own").send().await.unwrap().status(), 204);
    let full = service.post("/v1/jobs", &json!({ "flow": "quick" })).await;
    assert_eq!(full.problem(429), "queue_full");
    for (path, body, made) in [("/v1/jobs", &plain, &first), ("/v1/flows/own/jobs", &typed, &second)] {
        let again = send(path, body).await;
        assert_eq!((again.status, &again.body["id"]), (202, &made.body["id"]), "{again:?}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    let other = send("/v1/jobs", &json!({ "flow": "quick" })).await;
    assert_eq!(other.problem(429), "queue_full", "another request with the key");
    // During a drain, too.
    service.stop();
    service.app.stopping.cancelled().await;
    let again = send("/v1/jobs", &plain).await;
    assert_eq!((again.status, &again.body["id"]), (202, &first.body["id"]), "{again:?}");
}
