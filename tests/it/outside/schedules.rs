//! Schedules over the API: made, paused, resumed, run at once, fired by the clock.

use anabranch::store::{At, Options, Store};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::service::Service;
use super::{ALLOWED, on_postgres};

/// Every day at half past six, so that the clock does not interfere.
fn daily(name: &str) -> Json {
    json!({ "name": name, "cron": "30 6 * * *", "zone": "Europe/Berlin",
            "job": { "flow": "larger", "inputs": { "n": 9 }, "labels": { "from": name } } })
}

#[tokio::test]
async fn a_schedule_is_made_paused_resumed_run_and_deleted() {
    its_whole_life(&Service::start(ALLOWED)).await;
}

#[tokio::test]
async fn a_schedule_lives_the_same_on_postgresql() {
    on_postgres(async |service| its_whole_life(service).await).await;
}

async fn its_whole_life(service: &Service) {
    let made = service.post("/v1/schedules", &daily("morning")).await;
    let path = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    assert_eq!((&made["paused"], made["upcoming"].as_array().unwrap().len()), (&json!(false), 4), "{made}");
    let next: jiff::Timestamp = made["next_at"].as_str().unwrap().parse().unwrap();
    let there = next.in_tz("Europe/Berlin").unwrap();
    assert_eq!((there.hour(), there.minute()), (6, 30));

    let (status, problem) = service.ask(Method::POST, "/v1/schedules", Some(&daily("morning"))).await;
    assert_eq!(status, 409, "two of a name: {problem}");
    let wrong = json!({ "name": "x", "cron": "61 * * * *", "job": { "flow": "larger" } });
    let (status, problem) = service.ask(Method::POST, "/v1/schedules", Some(&wrong)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/cron")), "{problem}");
    let wrong = json!({ "name": "x", "cron": "@daily", "job": { "flow": "larger", "inputs": { "n": "x" } } });
    let (status, problem) = service.ask(Method::POST, "/v1/schedules", Some(&wrong)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/job/inputs/n")), "{problem}");

    let paused = service.post(&format!("{path}/pause"), &json!({})).await;
    assert_eq!((&paused["paused"], &paused["next_at"]), (&json!(true), &Json::Null));
    let job = service.post(&format!("{path}/run"), &json!({})).await;
    let job = service.job(job["id"].as_str().unwrap(), "succeeded").await;
    assert_eq!((&job["outputs"]["larger"], &job["labels"]["from"]), (&json!(true), &json!("morning")));
    let resumed = service.post(&format!("{path}/resume"), &json!({})).await;
    assert_eq!((&resumed["paused"], &resumed["next_at"]), (&json!(false), &made["next_at"]));
    let (status, changed) = service.ask(Method::PATCH, &path, Some(&json!({ "cron": "@hourly" }))).await;
    assert_eq!(status, 200, "{changed}");
    assert_ne!(changed["next_at"], made["next_at"]);
    let listed = service.get("/v1/schedules").await;
    assert_eq!(listed["items"][0]["id"], made["id"]);
    assert_eq!(service.ask(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(service.ask(Method::GET, &path, None).await.0, 404);
}

#[tokio::test]
async fn a_schedule_that_was_missed_fires_once_when_a_process_is_back() {
    let mut service = Service::start(ALLOWED);
    let store = At::Sqlite(service.folder().join(".anabranch/anabranch.db"));
    missed(&mut service, store).await;
}

#[tokio::test]
async fn a_schedule_that_was_missed_fires_once_on_postgresql() {
    super::on_postgres_at(async |service, url| missed(service, At::Postgres(url.into())).await).await;
}

#[tokio::test]
async fn a_schedule_that_is_due_fires_once_though_two_processes_begin_together() {
    super::on_postgres_at(async |service, url| {
        let mut made = Vec::new();
        for n in 0..10 {
            made.push(service.post("/v1/schedules", &daily(&format!("due-{n}"))).await);
        }
        service.kill();
        let store = Store::open(Options::new(At::Postgres(url.into())), false).await.unwrap();
        for schedule in &made {
            due_long_ago(&store, schedule["id"].as_str().unwrap()).await;
        }
        store.close().await;
        let (one, two) = (service.beside("api,worker"), service.beside("api,worker"));
        for schedule in &made {
            let path = format!("/v1/schedules/{}", schedule["id"].as_str().unwrap());
            let fired = one.until(&path, |schedule| schedule["last_job"].is_string()).await;
            two.job(fired["last_job"].as_str().unwrap(), "succeeded").await;
            assert_eq!(fired["next_at"], schedule["next_at"]);
        }
        let jobs = two.get("/v1/jobs?limit=100").await;
        assert_eq!(jobs["items"].as_array().unwrap().len(), made.len(), "each fired once: {jobs}");
    })
    .await;
}

async fn due_long_ago(store: &Store, schedule: &str) {
    let long_ago = anabranch::store::ScheduleChange { next_ms: Some(Some(1_000_000)), ..Default::default() };
    store.change_schedule("default", schedule, &long_ago).await.unwrap();
}

/// Two schedules that were due long ago while nothing ran; one of them is not to be made up for.
async fn missed(service: &mut Service, at: At) {
    let made = service.post("/v1/schedules", &daily("missed")).await;
    let mut strict = daily("strict");
    strict["catch_up"] = json!(false);
    let strict = service.post("/v1/schedules", &strict).await;
    service.kill();
    let store = Store::open(Options::new(at), false).await.unwrap();
    for id in [&made["id"], &strict["id"]] {
        due_long_ago(&store, id.as_str().unwrap()).await;
    }
    store.close().await;
    service.again("api,worker");
    let path = |made: &Json| format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    let fired = service.until(&path(&made), |schedule| schedule["last_job"].is_string()).await;
    service.job(fired["last_job"].as_str().unwrap(), "succeeded").await;
    assert_eq!(fired["next_at"], made["next_at"], "from now on it fires as before");
    let left_out = service.until(&path(&strict), |schedule| schedule["last_error"].is_string()).await;
    assert_eq!(left_out["last_job"], Json::Null, "{left_out}");
    let jobs = service.get("/v1/jobs?label.from=missed").await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "of many that were missed, one: {jobs}");
    assert_eq!(service.get("/v1/jobs?label.from=strict").await["items"], json!([]));
}
