//! Streams of events: numbers of the journal, no gap and no duplicate wherever they break off, and an end.

use std::sync::Arc;

use anabranch_engine::backend::{self, Call, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::cx::{Model, Resources};
use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

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
    for node in ["a", "b", "c", "d"] {
        let at = |name| events.iter().position(|event| event.name == name && event.data["node"] == node);
        assert!(at("node_started").is_some() && at("node_started") < at("node_ended"), "{node}: {events:#?}");
    }
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

/// A model that writes a word for each permit that it gets, eight in all.
#[derive(Debug)]
struct Writer {
    may_write: Semaphore,
    has_written: Semaphore,
}

#[async_trait]
impl ChatModel for Writer {
    fn name(&self) -> &'static str {
        "writer"
    }

    async fn chat(&self, _: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, backend::Error> {
        let mut text = String::new();
        for n in 0..8 {
            self.may_write.acquire().await.unwrap().forget();
            let word = format!("word{n} ");
            (call.on_delta)(&word);
            text.push_str(&word);
            self.has_written.add_permits(1);
        }
        let usage = Usage { model_calls: 1, ..Usage::default() };
        Ok(ChatResponse {
            text,
            finish_reason: FinishReason::Stop,
            usage,
            model: "writer".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_in_the_middle_of_a_text_reads_all_of_it_once() {
    let writer = Arc::new(Writer { may_write: Semaphore::new(0), has_written: Semaphore::new(0) });
    let model = Model::Chat(writer.clone());
    let resources = Resources { models: [("default".to_owned(), model)].into(), ..Resources::default() };
    let yaml = "flow: writes\ninputs: { question: text }\nnodes:\n  \
                a: { op: test.ask, in: { question: inputs.question } }\noutputs: { text: a.text }\n";
    let service = Service::with_flow("writes", yaml, resources).await;
    let body = json!({ "flow": "writes", "inputs": { "question": "write" } });
    let id = service.post("/v1/jobs", &body).await.body["id"].as_str().unwrap().to_owned();
    let mut readers = Vec::new();
    // The last word ends the node: those who come later have its result.
    for n_written in 0..7 {
        writer.may_write.add_permits(1);
        writer.has_written.acquire().await.unwrap().forget();
        let stream = follow(&service, &id, None).await;
        readers.push((n_written, tokio::spawn(read(stream, usize::MAX))));
    }
    writer.may_write.add_permits(1);
    let whole = "word0 word1 word2 word3 word4 word5 word6 word7 ";
    assert_eq!(service.ended(&id).await["outputs"]["text"], whole);
    for (n_written, reader) in readers {
        let events = reader.await.unwrap();
        let before = &events[0].data["texts"];
        assert_eq!((&before[0]["node"], &before[0]["left_out"]), (&json!("a"), &json!(0)), "{before}");
        let mut text = before[0]["text"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("word{n_written} ")), "{text}");
        for event in events.iter().filter(|event| event.name == "delta") {
            text.push_str(event.data["text"].as_str().unwrap());
        }
        assert_eq!(text, whole);
    }
    let late = read(follow(&service, &id, None).await, usize::MAX).await;
    assert_eq!(late[0].data["texts"], Json::Null, "what has ended is in the journal");
}
