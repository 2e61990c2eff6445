//! Batches: all of their jobs or none, results in the order of the lines, whatever ends in the middle.

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::harness::{Answer, Service};
use crate::served::{Place, ROOT_KEY, Served};
use crate::support::client;

impl Service {
    async fn batch(&self, path: &str, body: &str, key: Option<&str>) -> Answer {
        let mut request = self.request(Method::POST, path).header("content-type", "application/jsonl");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
    }

    async fn results(&self, id: &str) -> Vec<Json> {
        let text = self.get(&format!("/v1/batches/{id}/results")).await.text;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn batch_ended(&self, id: &str) -> Json {
        let mut batch = Json::Null;
        for _ in 0..2_000 {
            batch = self.get(&format!("/v1/batches/{id}")).await.body;
            if batch["ended"] == true {
                return batch;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it does not end: {batch}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_its_results_in_the_order_of_its_lines() {
    let service = Service::start().await;
    let lines: Vec<String> = (1..=40)
        .map(|n| {
            let flow = if n % 10 == 0 { "broken" } else { "quick" };
            json!({ "flow": flow, "inputs": { "n": n }, "labels": { "n": n.to_string() } }).to_string()
        })
        .collect();
    let answer =
        service.batch("/v1/batches?label.all=yes&label.n=0&session_id=s1", &lines.join("\n"), None).await;
    assert_eq!((answer.status, &answer.body["jobs"]), (202, &json!(40)), "{answer:?}");
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/v1/batches/{id}").as_str()));
    let batch = service.batch_ended(id).await;
    assert_eq!(batch["counts"], json!({ "succeeded": 36, "failed": 4 }));
    let results = service.results(id).await;
    assert_eq!(results.len(), 40);
    for (n, result) in (1..).zip(&results) {
        assert_eq!((&result["line"], &result["ended"]), (&json!(n), &json!(true)), "{result}");
        assert_eq!(result["labels"], json!({ "n": n.to_string(), "all": "yes" }));
        let expected = if n % 10 == 0 { "failed" } else { "succeeded" };
        assert_eq!(result["status"], expected, "{result}");
        assert_eq!(
            (result["outputs"]["text"].is_string(), result["error"].is_object()),
            (n % 10 != 0, n % 10 == 0)
        );
    }
    let job = service.get(&format!("/v1/jobs/{}", results[6]["job_id"].as_str().unwrap())).await.body;
    assert_eq!(
        (&job["inputs"]["n"], &job["batch_id"], &job["session_id"]),
        (&json!(7), &json!(id), &json!("s1"))
    );
    // What was forgotten leaves its line.
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    let results = service.results(id).await;
    assert_eq!((results.len(), &results[6]["status"], &results[7]["line"]), (40, &Json::Null, &json!(8)));
    let list = service.get("/v1/batches").await.body;
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]["id"]), (1, &json!(id)), "{list}");
    assert_eq!(list["items"][0]["labels"], json!({ "all": "yes", "n": "0" }));
    for path in ["/v1/batches/bat_none", "/v1/batches/bat_none/results"] {
        assert_eq!(service.get(path).await.problem(404), "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_line_is_told_and_then_nothing_is_submitted() {
    let service = Service::with(|config| config.limits.batch = 6).await;
    let body = [
        r#"{"flow": "quick"}"#,
        r#"{"flow": "quick", "inputs": {"n": "three"}, "priority": 1000}"#,
        "",
        r#"{"flow": "quick""#,
        r#"{"flow": "quik"}"#,
    ];
    let answer = service.batch("/v1/batches", &body.join("\n"), None).await;
    assert_eq!(answer.problem(422), "invalid", "{answer:?}");
    let errors = answer.body["errors"].as_array().unwrap();
    let mut places: Vec<(u64, &str)> = errors
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["pointer"].as_str().unwrap_or_default()))
        .collect();
    places.sort_unstable();
    assert_eq!(places, [(2, "/inputs/n"), (2, "/priority"), (3, ""), (4, ""), (5, "/flow")], "{answer:?}");
    assert_eq!(service.get("/v1/jobs").await.body["items"], json!([]));
    assert_eq!(service.get("/v1/batches").await.body["items"], json!([]));
    let many = [body[0]; 7].join("\n");
    assert_eq!(service.batch("/v1/batches", &many, None).await.problem(413), "too_large");
    assert_eq!(service.batch("/v1/batches", "", None).await.problem(422), "invalid");
    assert_eq!(service.batch("/v1/batches?labels.a=b", body[0], None).await.problem(400), "bad_parameter");
    let request = service.request(Method::POST, "/v1/batches").json(&json!({ "flow": "quick" }));
    assert_eq!(Answer::of(request.send().await.unwrap()).await.problem(415), "media_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_of_a_batch_are_one_and_another_body_is_refused() {
    let service = Service::start().await;
    let body = [r#"{"flow": "quick"}"#; 5].join("\n");
    let twins =
        futures::future::join_all((0..20).map(|_| service.batch("/v1/batches", &body, Some("b-1")))).await;
    let first = &twins[0].body["id"];
    assert!(twins.iter().all(|twin| twin.status == 202 && twin.body["id"] == *first), "{twins:?}");
    assert_eq!(twins.iter().filter(|twin| twin.header("idempotency-replayed").is_none()).count(), 1);
    let other = service.batch("/v1/batches", r#"{"flow": "quick"}"#, Some("b-1")).await;
    assert_eq!(other.problem(422), "key_reused");
    assert_eq!(service.get("/v1/jobs").await.body["items"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_cancelled_whole_and_says_so_of_jobs_that_have_not_ended() {
    let service = Service::with(|config| config.limits.running = 2).await;
    let body = vec![r#"{"flow": "slow"}"#; 30].join("\n");
    let answer = service.batch("/v1/batches", &body, None).await;
    let id = answer.body["id"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    let results = service.results(id).await;
    assert_eq!((results.len(), &results[29]["ended"]), (30, &json!(false)), "{results:?}");
    assert!(["queued", "running"].contains(&results[29]["status"].as_str().unwrap()));
    let path = format!("/v1/batches/{id}/cancel");
    let cancelled = service.post(&path, &json!({ "mode": "now" })).await;
    assert!([200, 202].contains(&cancelled.status), "{cancelled:?}");
    let batch = service.batch_ended(id).await;
    assert_eq!(batch["counts"], json!({ "cancelled": 30 }), "{batch}");
    assert!(batch["cancelled_at"].is_string());
    assert_eq!(service.post(&path, &json!({ "mode": "now" })).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_queue_has_no_room_for_is_refused_whole() {
    let service = Service::with(|config| (config.limits.running, config.limits.queued) = (1, 10)).await;
    let lines = |n| vec![r#"{"flow": "slow"}"#; n].join("\n");
    assert_eq!(service.batch("/v1/batches", &lines(100), None).await.problem(429), "queue_full");
    assert_eq!(service.batch("/v1/batches", &lines(9), None).await.status, 202);
    let full = service.batch("/v1/batches", &lines(9), None).await;
    assert_eq!((full.problem(429).as_str(), full.header("retry-after")), ("queue_full", Some("5")));
    assert_eq!(service.get("/v1/jobs").await.body["items"].as_array().unwrap().len(), 9);
}

/// Wherever a process is killed, there is the whole batch or none of it, and the same request makes it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_never_half_there_after_a_kill() {
    const LINES: usize = 3_000;
    let body =
        vec![r#"{"flow": "quick", "inputs": {"question": "where?"}, "run_at": "1d"}"#; LINES].join("\n");
    let send = async |url: &str| {
        let request = client().post(format!("{url}/v1/batches")).bearer_auth(ROOT_KEY);
        let request = request.header("content-type", "application/jsonl");
        request.header("idempotency-key", "k").body(body.clone()).send().await
    };
    let count = async |url: &str| {
        let get = async |path: &str| {
            client()
                .get(format!("{url}{path}"))
                .bearer_auth(ROOT_KEY)
                .send()
                .await
                .unwrap()
                .json::<Json>()
                .await
                .unwrap()
        };
        let list = get("/v1/batches").await;
        let batches = list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
        let Some(batch) = batches.first() else {
            assert_eq!(get("/v1/jobs").await["items"], json!([]), "jobs without their batch");
            return 0;
        };
        assert_eq!(batches.len(), 1, "{batches:?}");
        let batch = get(&format!("/v1/batches/{}", batch["id"].as_str().unwrap())).await;
        batch["counts"]["queued"].as_u64().unwrap()
    };
    let mut found = Vec::new();
    for round in 0..6 {
        let place = Place::new();
        let served = Served::start(&place);
        let url = served.url.clone();
        let sent = send(&url);
        let kill = async {
            tokio::time::sleep(std::time::Duration::from_millis(round * 150)).await;
            drop(served);
        };
        let (sent, ()) = tokio::join!(sent, kill);
        let served = Served::start(&place);
        let n = count(&served.url).await;
        assert!(n == 0 || n == LINES as u64, "{n} of {LINES}");
        let is_answered = sent.is_ok_and(|answer| answer.status() == 202);
        assert!(!is_answered || n > 0, "what was answered is there");
        assert_eq!(send(&served.url).await.unwrap().status(), 202);
        assert_eq!(count(&served.url).await, LINES as u64);
        found.push(n);
    }
    println!("jobs found after each kill: {found:?}");
}
