//! Streams of events: numbers of the journal, no gap and no duplicate wherever they break off, and an end.

use futures::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::{Value as Json, json};

use super::harness::{Answer, SOON, Service};

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<u64>,
    name: String,
    data: Json,
}

/// Reads a stream until it ends, or until `enough` events with a number have come.
async fn read(response: Response, enough: usize) -> Vec<Event> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut parts = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    let reading = async {
        while let Some(part) = parts.next().await {
            text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                events.extend(event(&frame));
                if events.iter().filter(|event| event.id.is_some()).count() >= enough {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("it does not end: {events:#?}"));
    events
}

fn event(frame: &str) -> Option<Event> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(Event {
        id: field("id:").map(|id| id.parse().unwrap()),
        name: field("event:")?.to_owned(),
        data: serde_json::from_str(field("data:")?).unwrap(),
    })
}

fn numbered(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| event.id.is_some()).cloned().collect()
}

async fn follow(service: &Service, id: &str, after: Option<u64>) -> Response {
    let request =
        service.request(Method::GET, &format!("/v1/jobs/{id}/events")).header("accept", "text/event-stream");
    let request = match after {
        Some(after) => request.header("last-event-id", after.to_string()),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_answers_with_all_that_happens_up_to_the_end() {
    let service = Service::start().await;
    let request = service.request(Method::POST, "/v1/jobs").header("accept", "text/event-stream");
    let events = read(request.json(&json!({ "flow": "steps" })).send().await.unwrap(), usize::MAX).await;
    assert_eq!(events[0].name, "snapshot");
    let names: Vec<String> = numbered(&events).iter().map(|event| event.name.clone()).collect();
    assert_eq!(names, ["job_started", "node_ended", "node_ended", "node_ended", "node_ended", "job_ended"]);
    let ids: Vec<u64> = numbered(&events).iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["job"]["status"]), ("job_ended", &json!("succeeded")));
    assert!(events.iter().any(|event| event.name == "node_started" && event.id.is_none()), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_after_any_event_goes_on_without_a_gap_or_a_duplicate() {
    let service = Service::start().await;
    let whole = service.run("steps").await;
    let expected =
        numbered(&read(follow(&service, whole["id"].as_str().unwrap(), None).await, usize::MAX).await);
    let names =
        |events: &[Event]| events.iter().map(|event| (event.id, event.name.clone())).collect::<Vec<_>>();
    for cut in 1..expected.len() {
        // Both while the job runs and, if that is over sooner, from the store.
        let id = service.submit("steps").await;
        let mut seen = numbered(&read(follow(&service, &id, None).await, cut).await);
        seen.truncate(cut);
        let last = seen.last().and_then(|event| event.id);
        seen.extend(numbered(&read(follow(&service, &id, last).await, usize::MAX).await));
        assert_eq!(names(&seen), names(&expected), "cut after {cut}");
        let last = seen.last().and_then(|event| event.id);
        assert_eq!(
            follow(&service, &id, last).await.status(),
            204,
            "who has seen the end need not come back"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_what_streams_do() {
    let service = Service::start().await;
    let job = service.run("steps").await;
    let id = job["id"].as_str().unwrap();
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/v1/jobs/{id}/events?limit=2{query}")).await.body;
        seen.extend(page["events"].as_array().unwrap().clone());
        query = format!("&after={}", page["next_after"]);
        if page["done"] == true {
            break;
        }
    }
    let streamed: Vec<Json> = numbered(&read(follow(&service, id, None).await, usize::MAX).await)
        .into_iter()
        .map(|event| event.data)
        .collect();
    assert_eq!(seen, streamed);
    let after_the_end = service.get(&format!("/v1/jobs/{id}/events?limit=2{query}")).await.body;
    assert_eq!((&after_the_end["events"], &after_the_end["done"]), (&json!([]), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_goes_away_cancels_only_if_asked_to() {
    let service = Service::start().await;
    let (kept, dropped) = (service.submit("slow").await, service.submit("slow").await);
    drop(read(follow(&service, &kept, None).await, 1).await);
    let request = service
        .request(Method::GET, &format!("/v1/jobs/{dropped}/events?cancel_on_disconnect=true"))
        .header("accept", "text/event-stream");
    drop(read(request.send().await.unwrap(), 1).await);
    assert_eq!(service.ended(&dropped).await["status"], "cancelled");
    assert_eq!(service.get(&format!("/v1/jobs/{kept}")).await.body["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_there_may_be_are_refused_and_pages_are_not() {
    let service = Service::with(|config| config.limits.streams = 2).await;
    let id = service.submit("slow").await;
    let open = [follow(&service, &id, None).await, follow(&service, &id, None).await];
    let refused = Answer::of(follow(&service, &id, None).await).await;
    assert_eq!(refused.problem(503), "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(service.get(&format!("/v1/jobs/{id}/events")).await.status, 200);
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_seen_to_open_and_to_be_answered() {
    let service = Service::start().await;
    let id = service.submit("asking").await;
    let stream = follow(&service, &id, None).await;
    service.until(&id, |job| job["status"] == "waiting").await;
    service.post(&format!("/v1/jobs/{id}/resume"), &json!({ "value": false })).await;
    let events = read(stream, usize::MAX).await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    for name in ["wait_opened", "wait_answered", "job_ended"] {
        assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}: {names:?}");
    }
    let ids: Vec<u64> = numbered(&events).iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
}
