//! Schedules act for whoever made them: with the key's scopes, and no longer than the key is good.

use anabranch::access::Scope;
use anabranch::api::schedules::Submitter;
use anabranch::schedules::{Refused, Submit as _};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::service::Service;

const FLOW: &str = "flow: larger\ninputs: { n: int }\nnodes:\n  compare: { op: judge.rule, in: { n: inputs.n }, with: \
                    { pass: n > 5 } }\noutputs: { larger: compare.pass }\n";

fn yearly() -> Json {
    json!({ "name": "yearly", "cron": "0 0 1 1 *", "job": { "flow": "larger", "inputs": { "n": 9 } } })
}

/// Fires the schedule as the clock would.
async fn fired(service: &Service, id: &str, key: &str) -> Result<String, Refused> {
    let schedule = service.app.store.schedule("acme", id).await.unwrap().unwrap();
    Submitter(service.app.clone()).submit(&schedule, key).await
}

#[tokio::test]
async fn who_may_only_edit_cannot_run_jobs_by_the_clock_either() {
    let service = Service::start("").await;
    let (edits, both) =
        (service.key("acme", &[Scope::Edit]).await, service.key("acme", &[Scope::Edit, Scope::Run]).await);
    service.ask("PUT", "/v1/flows/larger").key(&edits).yaml(FLOW).send().await;
    let ask = async |method: &str, path: &str, key: &str, body: Json| {
        service.ask(method, path).key(key).json(&body).send().await
    };
    let refused = ask("POST", "/v1/schedules", &edits, yearly()).await;
    assert_eq!((refused.status, &*refused.code()), (StatusCode::FORBIDDEN, "no_scope"));
    let made = ask("POST", "/v1/schedules", &both, yearly()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let path = format!("/v1/schedules/{}", made.json()["id"].as_str().unwrap());
    for action in ["run", "resume"] {
        let refused = ask("POST", &format!("{path}/{action}"), &edits, json!({})).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{action}: {}", refused.text);
    }
    assert_eq!(ask("PATCH", &path, &edits, json!({ "cron": "@daily" })).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask("POST", &format!("{path}/run"), &both, json!({})).await.status, StatusCode::ACCEPTED);
    // Stopping it is no work.
    assert_eq!(ask("POST", &format!("{path}/pause"), &edits, json!({})).await.status, StatusCode::OK);
    assert_eq!(ask("DELETE", &path, &edits, json!({})).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_schedule_submits_nothing_with_a_key_that_is_no_longer_good() {
    let service = Service::start("").await;
    let admin = service.key("acme", &Scope::ALL).await;
    service.ask("PUT", "/v1/flows/larger").key(&admin).yaml(FLOW).send().await;
    let key = async |name: &str| {
        let body = json!({ "name": name, "scopes": ["edit", "run"] });
        let made = service.ask("POST", "/v1/keys").key(&admin).json(&body).send().await.json();
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        (field("id"), field("key"))
    };
    let (old, other) = (key("old").await, key("other").await);
    let made = service.ask("POST", "/v1/schedules").key(&old.1).json(&yearly()).send().await.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["created_by"], old.0);
    fired(&service, id, "1").await.unwrap();

    // A key that takes the place of another takes its schedules along.
    let rotate = format!("/v1/keys/{}/rotate", old.0);
    let rotated = service.ask("POST", &rotate).key(&admin).json(&json!({})).send().await.json();
    let new = rotated["id"].as_str().unwrap();
    service.ask("DELETE", &format!("/v1/keys/{}", old.0)).key(&admin).send().await;
    fired(&service, id, "2").await.unwrap();

    service.ask("DELETE", &format!("/v1/keys/{new}")).key(&admin).send().await;
    let refused = fired(&service, id, "3").await.unwrap_err();
    assert!(!refused.is_passing && refused.why.contains(new), "{}", refused.why);
    assert!(refused.why.contains("was revoked"), "{}", refused.why);

    let resume = format!("/v1/schedules/{id}/resume");
    let resumed = service.ask("POST", &resume).key(&other.1).send().await.json();
    assert_eq!(resumed["created_by"], other.0, "{resumed}");
    fired(&service, id, "4").await.unwrap();
}
