//! What cannot be done is said in one form, with a code, at its place, all at once.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::harness::{Answer, Service};

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_a_submission_is_told_at_once() {
    let service = Service::start().await;
    let answer = service
        .post(
            "/v1/jobs",
            &json!({
                "flow": "quick",
                "inputs": { "n": "three", "m": 1 },
                "priority": 1000,
                "deadline": "yesterday",
                "run_at": "2001-01-01T00:00:00Z",
                "budget": { "wall": "3", "cost": -1 },
                "session_id": "",
                "labels": { "": "x" },
                "webhook": "ftp://host",
            }),
        )
        .await;
    assert_eq!(answer.problem(422), "invalid");
    let mut pointers = answer.pointers();
    pointers.sort();
    let expected = [
        "/budget/cost",
        "/budget/wall",
        "/deadline",
        "/inputs/m",
        "/inputs/n",
        "/labels/",
        "/priority",
        "/session_id",
        "/webhook",
    ];
    assert_eq!(pointers, expected, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_does_not_load_is_told_with_its_places() {
    let service = Service::start().await;
    let yaml = "flow: own\nnodes:\n  a: { op: test.nmbers, with: { n: 2 } }\noutputs:\n  n: a.numbers\n";
    let answer = service.post("/v1/jobs", &json!({ "flow_yaml": yaml })).await;
    assert_eq!(answer.problem(422), "invalid_flow");
    let error = &answer.body["errors"][0];
    assert!(error["code"].as_str().unwrap().starts_with("FLOW"), "{answer:?}");
    assert_eq!(
        (&error["span"]["line"], &error["hint"]),
        (&json!(3), &json!("did you mean `test.numbers`?")),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_has_a_code_and_a_place() {
    let service = Service::start().await;
    let send = async |body: &str, kind: &str| {
        let request =
            service.request(Method::POST, "/v1/jobs").header("content-type", kind).body(body.to_owned());
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(send("{\"flow\":", "application/json").await.problem(400), "bad_json");
    assert_eq!(send("{} {}", "application/json").await.problem(400), "bad_json");
    assert_eq!(send("flow: quick", "application/yaml").await.problem(415), "media_type");
    assert_eq!(
        send(&format!("\"{}\"", "x".repeat(2 << 20)), "application/json").await.problem(413),
        "too_large"
    );
    let unknown = send("{\"flow\": \"quick\", \"input\": {}}", "application/json; charset=utf-8").await;
    assert_eq!((unknown.problem(422), unknown.pointers()), ("invalid".to_owned(), vec!["/input".to_owned()]));
    let request = service.request(Method::POST, "/mcp").header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream").body("{\"jsonrpc\":");
    assert_eq!(Answer::of(request.send().await.unwrap()).await.problem(400), "bad_json");
    let nested = send("{\"flow\": \"quick\", \"labels\": {\"a\": 3}}", "application/json").await;
    assert_eq!(nested.pointers(), ["/labels/a"]);
    let near = service.post("/v1/jobs", &json!({ "flow": "quik" })).await;
    assert_eq!(
        (near.pointers(), &near.body["hint"]),
        (vec!["/flow".to_owned()], &json!("did you mean `quick`?"))
    );
    let refused = service.request(Method::PUT, "/v1/jobs").send().await.unwrap();
    let refused = Answer::of(refused).await;
    assert_eq!(refused.problem(405), "no_method");
    assert!(refused.header("allow").unwrap().contains("POST"), "{refused:?}");
    assert_eq!(service.get("/v1/nothing").await.problem(404), "no_route");
    for path in ["", "/events", "/nodes", "/nodes/a", "/graph", "/export"] {
        assert_eq!(
            service.get(&format!("/v1/jobs/job_none{path}")).await.problem(404),
            "not_found",
            "{path}"
        );
    }
    for query in ["limit=0", "limit=x", "status=done", "created_after=now", "fow=x"] {
        assert_eq!(service.get(&format!("/v1/jobs?{query}")).await.problem(400), "bad_parameter", "{query}");
    }
    let request = service.request(Method::POST, "/v1/jobs").header("accept", "text/csv");
    assert_eq!(
        Answer::of(request.json(&json!({ "flow": "quick" })).send().await.unwrap()).await.problem(406),
        "not_acceptable"
    );
    let request = service.request(Method::POST, "/v1/jobs").header("idempotency-key", "x".repeat(256));
    assert_eq!(
        Answer::of(request.json(&json!({ "flow": "quick" })).send().await.unwrap()).await.problem(400),
        "bad_header"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_trace_keep_the_names_that_the_caller_gives_them() {
    let service = Service::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = service
        .request(Method::POST, "/v1/jobs")
        .header("x-request-id", "mine-7")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = Answer::of(request.json(&json!({ "flow": "quick" })).send().await.unwrap()).await;
    assert_eq!(
        (answer.header("x-request-id"), &answer.body["trace_id"]),
        (Some("mine-7"), &json!(trace)),
        "{answer:?}"
    );
}

/// A flow of nested aliases, one of nested brackets, expressions that go on and on; `outside/bombs.rs` has more, and templates.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_end_within_bounds() {
    let service = Service::start().await;
    let aliases = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let one = format!("*a{}", n - 1);
        format!("{text}a{n}: &a{n} [{}]\n", [one.as_str(); 10].join(","))
    });
    let deep = format!("flow: deep\nnodes: {}{}", "[".repeat(50_000), "]".repeat(50_000));
    let expression = format!(
        "flow: long\nnodes:\n  a: {{ op: test.numbers, with: {{ n: 3 }} }}\noutputs:\n  n: {}1{}\n",
        "(".repeat(5_000),
        ")".repeat(5_000)
    );
    let squares = "flow: big\nnodes:\n  a: { op: test.numbers, with: { n: 5000 } }\noutputs:\n  \
                   n: a.numbers.map(x, a.numbers.map(y, a.numbers.map(z, x * y * z)))\n";
    for yaml in [aliases, deep, expression, squares.to_owned()] {
        let began = Instant::now();
        let request = service.request(Method::POST, "/v1/jobs").header("prefer", "wait=20");
        let answer = Answer::of(request.json(&json!({ "flow_yaml": yaml })).send().await.unwrap()).await;
        let is_refused = answer.status == 422 || answer.body["status"] == "failed";
        assert!(is_refused, "{}", answer.text.chars().take(500).collect::<String>());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let nested =
        format!("{{\"flow\":\"quick\",\"inputs\":{{\"n\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let request =
        service.request(Method::POST, "/v1/jobs").header("content-type", "application/json").body(nested);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert!([400, 422].contains(&answer.status), "{answer:?}");
    assert_eq!(service.run("quick").await["status"], "succeeded", "and it lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_says_how_it_is_and_documents_itself() {
    let service = Service::start().await;
    assert_eq!(service.get("/healthz").await.text, "ok\n");
    assert_eq!(service.get("/readyz").await.body["ready"], true);
    assert!(service.get("/metrics").await.text.contains("\nanabranch_build_info{version="));
    let document: Json = service.get("/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let page = service.get("/docs").await;
    assert!(
        page.header("content-security-policy").unwrap().starts_with("default-src 'none'"),
        "{:?}",
        page.headers
    );
    // The page has what holds for every flow.
    for path in anabranch::api::openapi::document()["paths"].as_object().unwrap().keys() {
        assert!(page.text.contains(&format!("<code>{path}</code>")), "`{path}` is not on the page");
    }
    for elsewhere in ["src=", "<script", "<link", "@import", "url("] {
        assert!(!page.text.contains(elsewhere), "the page asks for something: `{elsewhere}`");
    }
}
