//! A model server that answers what can be worked out from the question, and counts how often it was asked what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json as Body, Router};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

/// A running server; stops when dropped.
pub(super) struct Model {
    pub(super) url: String,
    calls: Arc<Calls>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Calls {
    delay: Duration,
    /// By `Idempotency-Key`: how often it was asked.
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Model {
    /// A server that takes `delay` for each answer.
    pub(super) async fn start(delay: Duration) -> Self {
        let calls = Arc::new(Calls { delay, ..Calls::default() });
        let routes = Router::new()
            .route("/v1/models", get(async || Body(json!({ "data": [{ "id": "fake" }] }))))
            .route("/v1/chat/completions", post(chat))
            .with_state(calls.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, calls, task }
    }

    /// How often it was asked what, by `Idempotency-Key`.
    pub(super) fn asked(&self) -> BTreeMap<String, usize> {
        self.calls.asked.lock().unwrap().clone()
    }

    pub(super) fn n_asked(&self) -> usize {
        self.asked().values().sum()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The last thing that was said, with a word more, as the JSON that rewriters are asked for.
async fn chat(State(calls): State<Arc<Calls>>, headers: HeaderMap, Body(request): Body<Json>) -> Body<Json> {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    *calls.asked.lock().unwrap().entry(key).or_default() += 1;
    tokio::time::sleep(calls.delay).await;
    let said = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let content = json!({ "query": format!("{} indeed", said.trim()) }).to_string();
    Body(json!({
        "choices": [{ "message": { "role": "assistant", "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2 },
    }))
}
