//! Too much: new work is refused in time, with a word on when to come back; what was accepted goes on.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::harness::{Answer, Service};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_a_time_to_come_back() {
    let service = Service::with(|config| {
        config.limits.running = 1;
        config.limits.queued = 3;
    })
    .await;
    let mut refused = 0;
    for _ in 0..12 {
        let answer = service.post("/v1/jobs", &json!({ "flow": "slow" })).await;
        if answer.status == 202 {
            continue;
        }
        assert_eq!(answer.problem(429), "queue_full");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        refused += 1;
    }
    assert!((7..=9).contains(&refused), "one runs, three are queued: {refused} were refused");
    assert_eq!(
        service.get("/v1/jobs?status=running,queued&limit=50").await.body["items"].as_array().unwrap().len(),
        12 - refused
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_there_may_be_are_refused_and_probes_are_not() {
    let service = Service::with(|config| config.limits.requests = 2).await;
    let waiting = || {
        let request = service.request(Method::POST, "/v1/jobs").header("prefer", "wait=3");
        async move { Answer::of(request.json(&json!({ "flow": "slow" })).send().await.unwrap()).await }
    };
    let answers = join_all((0..6).map(|_| waiting()));
    let probe = async {
        // Once two wait, everything else is refused.
        loop {
            if service.get("/v1/jobs").await.status == 503 {
                return service.get("/readyz").await;
            }
        }
    };
    let (answers, probe) = tokio::join!(answers, probe);
    let refused = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!((refused, probe.status), (4, 200), "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status == 503) {
        assert_eq!((answer.problem(503), answer.header("retry-after")), ("overloaded".to_owned(), Some("1")));
    }
}
