//! Stopping: no new work, nothing lost, streams and waiting callers get their answer, the next process goes on.

use reqwest::Method;
use serde_json::json;

use super::harness::{Answer, Service};

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_when_the_process_stops_is_finished_by_the_next() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(service.submit("steps").await);
    }
    let service = service.restarted().await;
    for id in ids {
        let job = service.ended(&id).await;
        assert_eq!(job["status"], "succeeded", "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_process_refuses_new_work_and_says_so_to_those_who_wait() {
    let service = Service::with(|config| config.server.drain = std::time::Duration::from_secs(2)).await;
    let id = service.submit("slow").await;
    let stream = service
        .request(Method::GET, &format!("/v1/jobs/{id}/events"))
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    let waiting = service
        .request(Method::POST, "/v1/jobs")
        .header("prefer", "wait=300")
        .json(&json!({ "flow": "slow" }));
    let waiting = tokio::spawn(waiting.send());
    // Both are in flight before it stops.
    while service.get("/v1/jobs").await.body["items"].as_array().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    service.stop();
    service.app.stopping.cancelled().await;
    let refused = service.post("/v1/jobs", &json!({ "flow": "quick" })).await;
    assert_eq!(refused.problem(503), "stopping");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let not_ready = service.get("/readyz").await;
    assert_eq!(not_ready.problem(503), "stopping");
    assert!(not_ready.header("retry-after").is_some(), "{not_ready:?}");
    assert_eq!(
        (&not_ready.body["ready"], &not_ready.body["checks"]["process"]),
        (&json!(false), &json!("it is stopping"))
    );
    assert_eq!(service.get("/healthz").await.status, 200);
    let text = stream.text().await.unwrap();
    assert!(text.trim_end().ends_with("{\"type\":\"interrupted\"}"), "{text}");
    let waited = Answer::of(waiting.await.unwrap().unwrap()).await;
    assert_eq!(waited.status, 202, "its job is kept and goes on elsewhere: {waited:?}");
}
