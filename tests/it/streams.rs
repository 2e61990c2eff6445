//! What happens in a job is told live to the readers of any process, not only of the one that has it: real processes on
//! a real `PostgreSQL`, with a model that writes a word when it is allowed to.

mod model;
mod processes;
mod reader;

use std::net::TcpListener;

use reqwest::Method;
use serde_json::json;

use model::{WHOLE, WORDS};
use processes::World;
use reader::Reader;

/// The texts of the `delta`s, from the last beginning of the node on.
fn written(events: &[reader::Event]) -> String {
    let from = events.iter().rposition(|event| event.name == "node_started").unwrap_or(0);
    events[from..]
        .iter()
        .filter(|event| event.name == "delta")
        .map(|event| event.data["text"].as_str().unwrap())
        .collect()
}

/// Without a gap or a duplicate, from the first to the end of a job that succeeded.
fn is_whole(events: &[reader::Event]) {
    let ids: Vec<u64> = events.iter().filter_map(|event| event.id).collect();
    assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>(), "{events:#?}");
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["job"]["status"]), ("job_ended", &json!("succeeded")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_process_without_workers_read_a_text_while_it_is_written() {
    let world = World::new("").await;
    let (api, _worker) =
        (world.start(&["serve", "--role", "api", "--listen", "127.0.0.1:0"]), world.start(&["worker"]));
    let mut submitted = api.submit().await;
    world.model.write(1);
    let mut events = submitted.until("delta").await;
    assert_eq!(written(&events), "word0 ");
    assert!(events.iter().any(|event| event.name == "node_started"), "{events:#?}");
    let id = events[0].data["job"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}/events");
    let mut late = Reader::of(api.request(Method::GET, &path).header("accept", "text/event-stream")).await;
    let snapshot = late.until("snapshot").await.remove(0);
    assert_eq!(snapshot.data["texts"], json!([{ "node": "a", "text": "word0 ", "left_out": 0 }]));
    world.model.write(WORDS - 1);
    events.extend(submitted.until("job_ended").await);
    is_whole(&events);
    assert_eq!(written(&events), WHOLE);
    assert_eq!(format!("word0 {}", written(&late.until("job_ended").await)), WHOLE);

    let mut chat = api.chat().await;
    world.model.write(1);
    let mut text = chat.until_text().await;
    assert_eq!(text.trim(), "word0");
    world.model.write(WORDS - 1);
    text.push_str(&chat.rest_of_text().await);
    assert_eq!(text.trim(), WHOLE.trim());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_job_whose_owner_is_killed_read_on_with_the_next() {
    let world = World::new("lease: 2s").await;
    let api = world.start(&["serve", "--role", "api", "--listen", "127.0.0.1:0"]);
    let owner = world.start(&["worker"]);
    let (mut submitted, mut chat) = (api.submit().await, api.chat().await);
    world.model.write_to_each(1, 2).await;
    let mut events = submitted.until("delta").await;
    let mut text = chat.until_text().await;
    owner.kill();
    let _next = world.start(&["worker"]);
    world.model.write(100);
    events.extend(submitted.until("job_ended").await);
    is_whole(&events);
    for name in ["job_taken_up", "job_started", "node_ended", "job_ended"] {
        assert_eq!(events.iter().filter(|event| event.name == name).count(), 1, "{name}: {events:#?}");
    }
    text.push_str(&chat.rest_of_text().await);
    assert_eq!(text.trim(), WHOLE.trim());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_an_owner_that_cannot_be_reached_have_what_the_journal_has_and_the_end() {
    let world = World::new("").await;
    let api = world.start(&["serve", "--role", "api", "--listen", "127.0.0.1:0"]);
    // Takes connections in, and says nothing on them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let worker = world.start(&["worker", "--listen", "127.0.0.1:0", "--advertise", &address]);
    world.model.write(2 * WORDS);
    is_whole(&api.submit().await.until("job_ended").await);
    assert_eq!(api.chat().await.rest_of_text().await.trim(), WHOLE.trim());
    // Who has no pass does not learn that there is anything.
    let answer =
        worker.request(Method::GET, "/internal/jobs/job_1/live").bearer_auth("guessed").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("no_route"));
}
