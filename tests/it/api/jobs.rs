//! Jobs: submitted in every way, looked at, stopped, answered, repeated, compared.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::harness::{Answer, Service};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_taken_in_at_once_and_found_where_the_answer_says() {
    let service = Service::start().await;
    let answer = service
        .post(
            "/v1/jobs",
            &json!({ "flow": "quick", "inputs": { "n": 3 }, "labels": { "team": "a" }, "priority": 5 }),
        )
        .await;
    // A job that is over by the time of the answer is nothing to come back for.
    let again = (answer.body["status"] != "succeeded").then_some("1");
    assert_eq!((answer.status, answer.header("retry-after")), (202, again), "{answer:?}");
    let location = answer.header("location").unwrap();
    let job = service.ended(answer.body["id"].as_str().unwrap()).await;
    assert_eq!(location, job["links"]["self"]);
    assert_eq!(
        (&job["status"], &job["outcome"], &job["flow"]),
        (&json!("succeeded"), &json!("succeeded"), &json!("quick"))
    );
    assert_eq!((&job["inputs"], &job["labels"]), (&json!({ "n": 3 }), &json!({ "team": "a" })));
    assert!(job["outputs"]["text"].is_string(), "{job}");
    for key in [
        "version",
        "usage",
        "priority",
        "trace_id",
        "created_at",
        "started_at",
        "finished_at",
        "queue_wait_ms",
        "progress",
        "links",
    ] {
        assert!(!job[key].is_null(), "`{key}` of {job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_waits_gets_the_end_and_one_who_waits_too_short_gets_the_job() {
    let service = Service::start().await;
    let wait = |flow: &'static str, seconds: &'static str| {
        let request = service.request(Method::POST, "/v1/jobs").header("prefer", seconds);
        async move { Answer::of(request.json(&json!({ "flow": flow })).send().await.unwrap()).await }
    };
    let ended = wait("quick", "respond-async, wait=20").await;
    assert_eq!((ended.status, ended.header("preference-applied")), (200, Some("wait=20")), "{ended:?}");
    assert_eq!(ended.body["status"], "succeeded");
    let not_yet = wait("slow", "wait=1").await;
    assert_eq!((not_yet.status, &not_yet.body["status"]), (202, &json!("running")), "{not_yet:?}");
    assert_eq!(not_yet.header("retry-after"), Some("1"), "{not_yet:?}");
    let nonsense = wait("quick", "wait=soon").await;
    assert_eq!((nonsense.status, nonsense.header("preference-applied")), (202, None), "{nonsense:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_a_job_can_wait_for_its_end_or_for_its_question() {
    let service = Service::start().await;
    let look = async |id: &str, wait: &str| {
        let request = service.request(Method::GET, &format!("/v1/jobs/{id}")).header("prefer", wait);
        Answer::of(request.send().await.unwrap()).await
    };
    let slow = service.submit("slow").await;
    let not_yet = look(&slow, "wait=1").await;
    assert_eq!((not_yet.status, &not_yet.body["status"]), (200, &json!("running")), "{not_yet:?}");
    assert_eq!(
        (not_yet.header("preference-applied"), not_yet.header("vary")),
        (Some("wait=1"), Some("Prefer"))
    );
    let (ended, _) = tokio::join!(look(&slow, "wait=300"), async {
        service.post(&format!("/v1/jobs/{slow}/cancel"), &json!({ "mode": "now" })).await
    });
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("cancelled")), "{ended:?}");
    let asking = look(&service.submit("asking").await, "wait=300").await;
    assert_eq!(asking.body["status"], "waiting", "{asking:?}");
    assert_eq!(look("job_none", "wait=300").await.problem(404), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_can_be_named_with_its_version_or_sent_along_or_stand_in_the_path() {
    let service = Service::start().await;
    for body in [json!({ "flow": "quick@1" }), json!({ "flow": "quick", "version": 1 })] {
        assert_eq!(service.post("/v1/jobs", &body).await.body["version"], 1);
    }
    let yaml = "flow: own\nnodes:\n  a: { op: test.numbers, with: { n: 2 } }\noutputs:\n  n: a.numbers\n";
    let request = service.request(Method::POST, "/v1/jobs").header("prefer", "wait=20");
    let own = Answer::of(request.json(&json!({ "flow_yaml": yaml })).send().await.unwrap()).await;
    assert_eq!(
        (&own.body["outputs"], &own.body["version"]),
        (&json!({ "n": [0, 1] }), &json!(null)),
        "{own:?}"
    );
    let typed = service.post("/v1/flows/quick/jobs", &json!({ "inputs": { "n": 2 } })).await;
    assert_eq!((typed.status, &typed.body["flow"]), (202, &json!("quick")), "{typed:?}");
    assert_eq!(service.post("/v1/flows/quack/jobs", &json!({})).await.problem(404), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_twins_with_each_of_a_hundred_keys_are_one_job_each() {
    let service = Service::start().await;
    let mut jobs = BTreeSet::new();
    for key in 0..100 {
        let twins =
            join_all(
                (0..100).map(|_| {
                    let request = service
                        .request(Method::POST, "/v1/jobs")
                        .header("idempotency-key", format!("key-{key}"));
                    async move {
                        Answer::of(request.json(&json!({ "flow": "quick" })).send().await.unwrap()).await
                    }
                }),
            )
            .await;
        let ids: BTreeSet<String> = twins
            .iter()
            .map(|twin| twin.body["id"].as_str().unwrap_or_else(|| panic!("{twin:?}")).to_owned())
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let first = twins.iter().filter(|twin| twin.header("idempotency-replayed").is_none()).count();
        assert_eq!(first, 1, "one of them made it");
        jobs.extend(ids);
    }
    assert_eq!(jobs.len(), 100);
    let request = service.request(Method::POST, "/v1/jobs").header("idempotency-key", "key-0");
    let other = request.json(&json!({ "flow": "quick", "inputs": { "n": 9 } })).send().await.unwrap();
    assert_eq!(Answer::of(other).await.problem(422), "key_reused");
    let elsewhere = service.request(Method::POST, "/v1/flows/quick/jobs").header("idempotency-key", "key-0");
    assert_eq!(
        elsewhere.json(&json!({})).send().await.unwrap().status(),
        202,
        "a key belongs to an endpoint"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_newest_first_by_what_they_are() {
    let service = Service::start().await;
    for n in 0..5 {
        let body =
            json!({ "flow": "quick", "labels": { "n": n.to_string(), "all": "yes" }, "session_id": "s1" });
        service.ended(service.post("/v1/jobs", &body).await.body["id"].as_str().unwrap()).await;
    }
    service.run("broken").await;
    let count = async |query: &str| {
        service.get(&format!("/v1/jobs?{query}")).await.body["items"].as_array().unwrap().len()
    };
    for (query, expected) in [
        ("", 6),
        ("flow=quick", 5),
        ("status=failed", 1),
        ("status=failed,succeeded", 6),
        ("label.n=3&label.all=yes", 1),
        ("label.n=9", 0),
        ("session_id=s1", 5),
        ("q=broken", 1),
        ("created_after=2999-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/v1/jobs?limit=4&cursor={cursor}")).await.body;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    let mut newest_first = seen.clone();
    newest_first.sort_by(|a, b| b.cmp(a));
    newest_first.dedup();
    assert_eq!((seen.len(), &seen), (6, &newest_first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_shows_its_nodes_its_graph_and_all_of_itself() {
    let service = Service::start().await;
    let job = service.run("quick").await;
    let id = job["id"].as_str().unwrap();
    let nodes = service.get(&format!("/v1/jobs/{id}/nodes")).await.body;
    let names: Vec<&str> =
        nodes["items"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    let node = service.get(&format!("/v1/jobs/{id}/nodes/b")).await.body;
    assert_eq!(
        (&node["status"], &node["op"], &node["attempts"]),
        (&json!("succeeded"), &json!("test.work"), &json!(1))
    );
    assert_eq!(node["outputs"]["text"], job["outputs"]["text"]);
    assert_eq!(service.get(&format!("/v1/jobs/{id}/nodes/z")).await.problem(404), "not_found");
    let whole = service.get(&format!("/v1/jobs/{id}?include=nodes,usage")).await.body;
    assert_eq!(whole["nodes"], nodes["items"]);
    assert!(whole["usage_by_op"]["test.work"].is_object(), "{whole}");
    let graph = service.get(&format!("/v1/jobs/{id}/graph")).await.body;
    assert_eq!(graph["nodes"], json!({ "a": "succeeded", "b": "succeeded" }));
    assert!(service.get(&format!("/v1/jobs/{id}/graph?format=mermaid")).await.text.starts_with("flowchart"));
    let export = service.get(&format!("/v1/jobs/{id}/export")).await.body;
    assert_eq!((export["records"].as_array().unwrap().len(), &export["flow"]["name"]), (3, &json!("quick")));
    assert_eq!(export["job"]["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_once_and_for_all() {
    let service = Service::start().await;
    let id = service.submit("slow").await;
    assert_eq!(
        service.request(Method::DELETE, &format!("/v1/jobs/{id}")).send().await.unwrap().status(),
        409
    );
    let cancelled = service.post(&format!("/v1/jobs/{id}/cancel"), &json!({ "mode": "now" })).await;
    assert!([200, 202].contains(&cancelled.status), "{cancelled:?}");
    assert_eq!(service.ended(&id).await["status"], "cancelled");
    let again = service.request(Method::POST, &format!("/v1/jobs/{id}/cancel")).send().await.unwrap();
    assert_eq!(again.status(), 200, "asked again, it is what it is");
    let done = service.run("quick").await;
    let late = service.post(&format!("/v1/jobs/{}/cancel", done["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(late.problem(409), "conflict");
    assert_eq!(
        service.request(Method::DELETE, &format!("/v1/jobs/{id}")).send().await.unwrap().status(),
        204
    );
    assert_eq!(service.get(&format!("/v1/jobs/{id}")).await.problem(404), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_by_what_they_are_after_a_look_at_how_many() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(service.submit("slow").await);
    }
    assert_eq!(service.post("/v1/jobs:cancel", &json!({})).await.pointers(), ["/filter"]);
    let filter = json!({ "flow": "slow" });
    let dry = service.post("/v1/jobs:cancel", &json!({ "filter": filter, "dry_run": true })).await;
    assert_eq!((&dry.body["matched"], &dry.body["cancelled"]), (&json!(5), &json!(0)), "{dry:?}");
    let done = service.post("/v1/jobs:cancel", &json!({ "filter": filter, "mode": "now" })).await;
    assert_eq!(done.body["cancelled"], 5, "{done:?}");
    for id in ids {
        assert_eq!(service.ended(&id).await["status"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_answered_once_with_a_value_of_its_type() {
    let service = Service::start().await;
    let id = service.submit("asking").await;
    let job = service.until(&id, |job| job["status"] == "waiting").await;
    assert_eq!(
        (&job["waits"][0]["wait"], &job["waits"][0]["type"]),
        (&json!("approve"), &json!("bool")),
        "{job}"
    );
    assert!(job["waits"][0]["shown"]["draft"].is_string(), "{job}");
    let path = format!("/v1/jobs/{id}/resume");
    assert_eq!(
        service.post(&path, &json!({ "wait": "approve", "value": "maybe" })).await.pointers(),
        ["/value"]
    );
    assert_eq!(service.post(&path, &json!({ "wait": "aprove", "value": true })).await.pointers(), ["/wait"]);
    assert_eq!(service.post(&path, &json!({ "wait": "approve", "value": true })).await.status, 200);
    let again = service.post(&path, &json!({ "wait": "approve", "value": false })).await;
    assert!(["answered", "conflict"].contains(&again.problem(409).as_str()), "{again:?}");
    let job = service.ended(&id).await;
    assert!(job["outputs"]["text"].is_string(), "the first answer counts: {job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_outlives_the_process() {
    let service = Service::start().await;
    let id = service.submit("asking").await;
    service.until(&id, |job| job["status"] == "waiting").await;
    let service = service.restarted().await;
    let answered = service.post(&format!("/v1/jobs/{id}/resume"), &json!({ "value": true })).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert_eq!(service.ended(&id).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_repeated_from_where_it_failed_with_results_put_right() {
    let service = Service::start().await;
    let failed = service.run("broken").await;
    assert_eq!(
        (&failed["status"], &failed["error"]["scope"], &failed["error"]["code"]),
        (&json!("failed"), &json!("b"), &json!("rejected"))
    );
    let path = format!("/v1/jobs/{}/retry", failed["id"].as_str().unwrap());
    let again = service.request(Method::POST, &path).header("prefer", "wait=20").send().await.unwrap();
    let again = Answer::of(again).await;
    assert_eq!(
        (again.status, &again.body["status"], &again.body["retry_of"]),
        (200, &json!("failed"), &failed["id"]),
        "{again:?}"
    );
    let patched = service.post(&path, &json!({ "patch": { "b": { "text": "by hand", "value": 1 } } })).await;
    let patched = service.ended(patched.body["id"].as_str().unwrap_or_else(|| panic!("{patched:?}"))).await;
    assert_eq!(patched["outputs"], json!({ "text": "by hand" }));
    let wrong = service.post(&path, &json!({ "from": "c" })).await;
    assert_eq!((wrong.problem(422), wrong.pointers()), ("invalid".to_owned(), vec!["/from".to_owned()]));
    let diff = service
        .get(&format!(
            "/v1/jobs/diff?a={}&b={}",
            failed["id"].as_str().unwrap(),
            patched["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (&diff.body["same_flow"], &diff.body["nodes"][0]["node"]),
        (&json!(true), &json!("b")),
        "{diff:?}"
    );
    assert_eq!(diff.body["outputs"][0]["name"], "text", "{diff:?}");
}
