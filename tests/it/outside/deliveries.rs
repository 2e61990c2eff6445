//! Webhooks: what is sent, signed by whom, how often, and what a crash leaves of it.

use serde_json::{Value as Json, json};

use super::receiver::Receiver;
use super::service::Service;
use super::{ALLOWED, on_postgres};

/// Makes a webhook; it, and its secret.
async fn hook(service: &Service, receiver: &Receiver, events: &[&str]) -> (String, String) {
    let made = service.post("/v1/webhooks", &json!({ "url": receiver.url, "events": events })).await;
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    (field("id"), field("secret"))
}

/// The deliveries of a webhook, newest first, once `is_so` says so of all.
async fn deliveries(service: &Service, hook: &str, is_so: impl Fn(&Json) -> bool) -> Vec<Json> {
    let path = format!("/v1/webhooks/{hook}/deliveries");
    let all = |page: &Json| page["items"].as_array().unwrap().iter().all(&is_so);
    let page = service.until(&path, |page| page["items"][0].is_object() && all(page)).await;
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_end_of_a_job_and_every_wait_is_told_and_signed() {
    let (service, receiver) = (Service::start(ALLOWED), Receiver::start().await);
    every_end_is_told(&service, &receiver).await;
}

#[tokio::test]
async fn the_same_holds_on_postgresql() {
    on_postgres(async |service| every_end_is_told(service, &Receiver::start().await).await).await;
}

async fn every_end_is_told(service: &Service, receiver: &Receiver) {
    let events = ["job.succeeded", "job.failed", "job.cancelled", "job.waiting"];
    let (id, secret) = hook(service, receiver, &events).await;
    let mut expected = Vec::new();
    let succeeded = service.submit("larger", json!({ "n": 7 })).await;
    service.job(&succeeded, "succeeded").await;
    expected.push(("job.succeeded", succeeded.clone()));
    let failed = service.submit("few", json!({ "items": [1, 2] })).await;
    service.job(&failed, "failed").await;
    expected.push(("job.failed", failed));
    let waiting = service.submit("asks", json!({})).await;
    service.job(&waiting, "waiting").await;
    receiver.until(3).await;
    expected.push(("job.waiting", waiting.clone()));
    service.post(&format!("/v1/jobs/{waiting}/cancel"), &json!({})).await;
    service.job(&waiting, "cancelled").await;
    expected.push(("job.cancelled", waiting));

    let came = receiver.until(4).await;
    for message in &came {
        assert!(message.is_signed_with(&secret), "{message:?}");
        assert!(!message.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "another secret");
        let body = message.json();
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
        let event = body["type"].as_str().unwrap();
        let job = body["data"]["id"].as_str().unwrap();
        assert!(expected.iter().any(|(told, id)| (*told, id.as_str()) == (event, job)), "{body}");
        match event {
            "job.succeeded" => assert_eq!(body["data"]["outputs"], json!({ "larger": true })),
            "job.failed" => assert!(body["data"]["error"]["message"].is_string(), "{body}"),
            "job.waiting" => {
                assert_eq!(body["data"]["waits"][0]["about"], "May it go on?", "{body}");
                assert!(body["data"]["waits"][0]["until"].is_string(), "{body}");
            }
            _ => assert_eq!(body["data"]["status"], "cancelled"),
        }
    }
    let found = deliveries(service, &id, |delivery| delivery["status"] == "delivered").await;
    let mut ids: Vec<&str> = found.iter().map(|delivery| delivery["id"].as_str().unwrap()).collect();
    let mut sent: Vec<&str> = came.iter().map(super::receiver::Came::id).collect();
    ids.sort_unstable();
    sent.sort_unstable();
    assert_eq!(ids, sent, "a delivery is known to its receiver by its id");
    let one = service.get(&format!("/v1/webhooks/{id}/deliveries/{}", ids[0])).await;
    assert!(one["body"]["type"].is_string(), "{one}");
}

#[tokio::test]
async fn a_kill_between_the_end_of_a_job_and_its_delivery_loses_nothing() {
    let (mut service, receiver) = (Service::start(ALLOWED), Receiver::start().await);
    a_kill_loses_nothing(&mut service, &receiver).await;
}

#[tokio::test]
async fn a_kill_loses_nothing_on_postgresql() {
    on_postgres(async |service| a_kill_loses_nothing(service, &Receiver::start().await).await).await;
}

async fn a_kill_loses_nothing(service: &mut Service, receiver: &Receiver) {
    let (id, secret) = hook(service, receiver, &["job.cancelled"]).await;
    let job = service.submit("asks", json!({})).await;
    service.job(&job, "waiting").await;
    // A process that only answers requests sends nothing: the job ends here, and its delivery waits.
    service.again("api");
    service.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await;
    service.job(&job, "cancelled").await;
    let kept = deliveries(service, &id, |delivery| delivery["status"] == "pending").await;
    // The first attempt of the next process fails; that one is killed, too.
    receiver.answer_next(503);
    service.again("api,worker");
    let first = receiver.until(1).await;
    deliveries(service, &id, |delivery| delivery["last_status"] == 503).await;
    service.again("api,worker");
    let came = receiver.until(2).await;
    assert_eq!(kept[0]["id"], first[0].id());
    assert_eq!(came[1].id(), first[0].id(), "the same message, whoever sends it");
    assert_eq!(came[1].json(), first[0].json());
    assert!(came[1].is_signed_with(&secret));
    let done = deliveries(service, &id, |delivery| delivery["status"] == "delivered").await;
    assert_eq!((done.len(), &done[0]["attempts"]), (1, &json!(2)));
}

#[tokio::test]
async fn a_delivery_is_sent_again_on_request_under_its_own_id() {
    let (service, receiver) = (Service::start(ALLOWED), Receiver::start().await);
    let (id, _) = hook(&service, &receiver, &["job.succeeded"]).await;
    let tried = service.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await;
    let first = receiver.until(1).await;
    assert_eq!(first[0].json()["type"], "webhook.test");
    assert_eq!(tried["id"], first[0].id());
    deliveries(&service, &id, |delivery| delivery["status"] == "delivered").await;
    service.post(&format!("/v1/webhooks/{id}/deliveries/{}/redeliver", first[0].id()), &json!({})).await;
    let came = receiver.until(2).await;
    assert_eq!((came[1].id(), came[1].json()), (first[0].id(), first[0].json()));
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign_and_afterwards_only_the_new_one() {
    let (service, receiver) = (Service::start(ALLOWED), Receiver::start().await);
    let (id, old) = hook(&service, &receiver, &[]).await;
    let test = format!("/v1/webhooks/{id}/test");
    let rotated = service.post(&format!("/v1/webhooks/{id}/rotate"), &json!({})).await;
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    service.post(&test, &json!({})).await;
    let both = receiver.until(1).await.remove(0);
    assert_eq!(both.n_signatures(), 2);
    assert!(both.is_signed_with(&old) && both.is_signed_with(new));

    let rotated = service.post(&format!("/v1/webhooks/{id}/rotate"), &json!({ "keep_old": "0s" })).await;
    let newest = rotated["secret"].as_str().unwrap();
    service.post(&test, &json!({})).await;
    let one = receiver.until(2).await.remove(1);
    assert!(one.is_signed_with(newest) && !one.is_signed_with(new) && !one.is_signed_with(&old));
    let shown = service.get(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(shown.get("secret"), None, "a secret is shown once: {shown}");
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_switched_off() {
    let (service, receiver) = (Service::start(ALLOWED), Receiver::start().await);
    let (id, _) = hook(&service, &receiver, &[]).await;
    receiver.answer_next(410);
    service.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await;
    let found = deliveries(&service, &id, |delivery| delivery["status"] == "given_up").await;
    assert_eq!((&found[0]["attempts"], &found[0]["last_status"]), (&json!(1), &json!(410)));
    let hook = service.get(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(hook["enabled"], false, "{hook}");
}

#[tokio::test]
async fn a_job_that_names_a_webhook_tells_it_and_no_other() {
    let service = Service::start(ALLOWED);
    let (named, other) = (Receiver::start().await, Receiver::start().await);
    let (id, secret) = hook(&service, &named, &[]).await;
    let (other_id, _) = hook(&service, &other, &["job.failed"]).await;
    let body = json!({ "flow": "larger", "inputs": { "n": 1 }, "webhook": id });
    let job = service.post("/v1/jobs", &body).await;
    let came = named.until(1).await;
    assert!(came[0].is_signed_with(&secret));
    assert_eq!(came[0].json()["data"]["id"], job["id"]);
    let none = service.get(&format!("/v1/webhooks/{other_id}/deliveries")).await;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn receivers_inside_are_refused_unless_they_are_listed() {
    let (closed, receiver) = (Service::start(""), Receiver::start().await);
    for url in [&receiver.url, "https://localhost/hook", "https://[::1]/", "http://169.254.169.254/latest"] {
        let (status, problem) =
            closed.ask(reqwest::Method::POST, "/v1/webhooks", Some(&json!({ "url": url }))).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/url")), "{url}: {problem}");
    }
    let private = json!({ "url": "https://10.0.0.1/" });
    let (_, problem) = closed.ask(reqwest::Method::POST, "/v1/webhooks", Some(&private)).await;
    assert!(problem["hint"].as_str().unwrap().contains("server.webhook_allow"), "{problem}");
    // What was listed when the webhook was made, and is not any more, gets nothing.
    let mut service = Service::start(ALLOWED);
    let (id, _) = hook(&service, &receiver, &[]).await;
    std::fs::write(service.folder().join("anabranch.yaml"), "").unwrap();
    service.again("api,worker");
    service.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await;
    let refused = deliveries(&service, &id, |delivery| delivery["last_error"].is_string()).await;
    let why = refused[0]["last_error"].as_str().unwrap();
    assert!(why.contains("not a public address") || why.contains("not https"), "{why}");
    assert!(receiver.until(0).await.is_empty());
}
