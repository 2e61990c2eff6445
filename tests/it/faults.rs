//! What model servers do wrong, over real sockets: every fault ends in its typed error, in time, in bounded memory.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_backends::chat::{OpenAiChat, OpenAiSettings};
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, Error, FinishReason};
use anabranch_engine::value::{Message, Role};
use futures::future::BoxFuture;

use server::{Fake, GIGABYTE};
use table::{Outcome, Shape, faults};

mod encoders;
mod flow;
mod schema;
pub(crate) mod server;
mod table;
mod tools;

/// The time limit of calls that run into it.
const DEADLINE: Duration = Duration::from_millis(300);
/// The time limit of all others, so that a busy machine does not make them run into it, too.
const FAR_DEADLINE: Duration = Duration::from_secs(3);
/// How much later than its limit a call may end.
const GRACE: Duration = Duration::from_millis(250);
/// The size limit of every answer here.
const MAX_BYTES: usize = 64 * 1024;
/// What may be under way between two ends of a socket, on top of what was read.
const SOCKET_BYTES: u64 = 16 << 20;

/// Something that asks a server.
struct Backend {
    shape: Shape,
    ask: fn(url: String, deadline: Duration) -> BoxFuture<'static, Result<Outcome, Error>>,
}

const CALL: Call<'_> = Call::keyed("key");

/// Meets every fault with `backend`.
async fn meet(backend: Backend) {
    meet_but(backend, "").await;
}

/// Meets every fault but one, and lists what went otherwise than it should.
async fn meet_but(backend: Backend, but: &str) {
    let mut problems = String::new();
    let mut latest = Duration::ZERO;
    let mut faults = faults(&backend.shape);
    faults.retain(|fault| fault.name != but);
    for fault in &faults {
        let steps = fault.steps.clone();
        let server = Fake::start(move |_| steps.clone()).await;
        let deadline = if fault.outcome == Outcome::TimedOut { DEADLINE } else { FAR_DEADLINE };
        let start = Instant::now();
        let found = (backend.ask)(server.url.clone(), deadline).await;
        let elapsed = start.elapsed();
        if !fault.outcome.is(&found) {
            writeln!(problems, "{}: not {:?} but {found:?}", fault.name, fault.outcome).unwrap();
        }
        if elapsed > deadline + GRACE {
            writeln!(problems, "{}: took {elapsed:?}", fault.name).unwrap();
        }
        if server.sent() > MAX_BYTES as u64 + SOCKET_BYTES {
            writeln!(problems, "{}: read on for {} of {GIGABYTE} bytes", fault.name, server.sent()).unwrap();
        }
        let n_requests = server.requests().len();
        if n_requests != 1 {
            writeln!(problems, "{}: sent {n_requests} requests", fault.name).unwrap();
        }
        if fault.outcome == Outcome::TimedOut {
            latest = latest.max(elapsed.saturating_sub(deadline));
        }
    }
    assert!(problems.is_empty(), "{problems}");
    println!("{} faults; the latest answer came {latest:?} after its time limit", faults.len());
}

// --- chat ----------------------------------------------------------------------------------------------------------

fn settings(url: &str, stream: bool, timeout: Duration) -> OpenAiSettings {
    OpenAiSettings {
        model: Some("m".into()),
        stream,
        timeout,
        max_response_bytes: MAX_BYTES,
        ..OpenAiSettings::new(url)
    }
}

fn chat(url: &str, stream: bool, timeout: Duration) -> OpenAiChat {
    OpenAiChat::new(settings(url, stream, timeout)).unwrap()
}

async fn ask_chat(chat: OpenAiChat) -> Result<Outcome, Error> {
    let messages = vec![Message { role: Role::User, content: "who?".into() }];
    let request = ChatRequest { messages, ..ChatRequest::default() };
    let answer = chat.chat(&request, &CALL).await?;
    Ok(if answer.finish_reason == FinishReason::Length { Outcome::Cut } else { Outcome::Answered })
}

/// JSON that answers no question.
const NO_ANSWERS: [&str; 8] = [
    "{}",
    "[]",
    "null",
    "\"Ada\"",
    r#"{"choices": []}"#,
    r#"{"choices": "Ada"}"#,
    r#"{"choices": [{"message": {"content": 7}}]}"#,
    r#"{"hello": "world"}"#,
];

fn whole(finish_reason: &str) -> String {
    let text = "Ada Lovelace ".repeat(20);
    format!(
        r#"{{"model":"m","choices":[{{"message":{{"content":"{text}"}},"finish_reason":"{finish_reason}"}}],"usage":null}}"#
    )
}

fn streamed(finish_reason: &str) -> String {
    let words = "data: {\"choices\":[{\"delta\":{\"content\":\"Ada Lovelace \"}}]}\n\n".repeat(6);
    let end = format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{finish_reason}\"}}]}}\n\n");
    format!("{words}{end}data: [DONE]\n\n")
}

fn chat_shape(stream: bool) -> Shape {
    let answer = if stream { streamed } else { whole };
    Shape {
        content_type: if stream { "text/event-stream; charset=utf-8" } else { "application/json" },
        good: answer("stop"),
        cut_by_length: Some(answer("length")),
        wrong: NO_ANSWERS.to_vec(),
        wrap: if stream { |json| format!("data: {json}\n\ndata: [DONE]\n\n") } else { str::to_owned },
    }
}

#[tokio::test]
async fn a_chat_in_one_piece_meets_every_fault() {
    meet(Backend {
        shape: chat_shape(false),
        ask: |url, timeout| Box::pin(ask_chat(chat(&url, false, timeout))),
    })
    .await;
}

#[tokio::test]
async fn a_streamed_chat_meets_every_fault() {
    meet(Backend {
        shape: chat_shape(true),
        ask: |url, timeout| Box::pin(ask_chat(chat(&url, true, timeout))),
    })
    .await;
}

#[tokio::test]
async fn a_chat_that_asks_for_its_model_first_meets_every_fault() {
    let shape = Shape {
        good: format!(r#"{{"data":[{{"id":"{}"}}]}}"#, "m".repeat(80)),
        cut_by_length: None,
        wrong: vec!["{}", "[]", "null", r#"{"data": {}}"#, r#"{"data": [{}]}"#, r#"{"data": [{"id": 7}]}"#],
        ..chat_shape(false)
    };
    let ask = |url: String, timeout: Duration| -> BoxFuture<'static, _> {
        Box::pin(async move {
            let settings = OpenAiSettings { model: None, ..settings(&url, true, timeout) };
            ask_chat(OpenAiChat::new(settings).unwrap()).await
        })
    };
    // The list of models is a good answer to the first request only; what the second makes of it is told elsewhere.
    meet_but(Backend { shape, ask }, "a good answer").await;
}
