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
    assert_eq!(refused, 8, "one runs, three are queued");
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
        while service.app.requests.available_permits() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(service.get("/v1/jobs").await.status, 503);
        service.get("/readyz").await
    };
    let (answers, probe) = tokio::join!(answers, probe);
    let refused = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!((refused, probe.status), (4, 200), "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status == 503) {
        assert_eq!((answer.problem(503), answer.header("retry-after")), ("overloaded".to_owned(), Some("1")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_each_job_is_never_refused_while_a_place_is_free() {
    let service = Service::with(|config| (config.limits.running, config.limits.queued) = (1, 1)).await;
    for n in 0..300 {
        let request = service.request(Method::POST, "/v1/jobs").header("prefer", "wait=20");
        let answer = Answer::of(request.json(&json!({ "flow": "quick" })).send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "job {n}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_too_much_at_once_is_refused_but_for_what_there_is_room_for() {
    let service = Service::with(|config| (config.limits.running, config.limits.queued) = (4, 16)).await;
    let body = json!({ "flow": "slow" });
    let answers = join_all((0..200).map(|_| service.post("/v1/jobs", &body))).await;
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    // Submissions that race for the last place may be let in together, one a thread of this test.
    assert!((20..=28).contains(&taken), "{taken} of 200 were taken in");
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((answer.problem(429).as_str(), answer.header("retry-after")), ("queue_full", Some("5")));
    }
}
