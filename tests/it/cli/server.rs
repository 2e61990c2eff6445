//! A server that speaks as vLLM and TEI do: it chats, embeds and reranks, all of it in ways that a test can work out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json as Body, Router};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

/// What it says when it is asked something.
pub(super) const ANSWER: &str = "The lease ends on the last day of May [1].";

/// A running server; stops when dropped.
pub(super) struct Server {
    pub(super) url: String,
    state: Arc<Control>,
    reached: Receiver<()>,
    // Holds the tasks of the server.
    _runtime: Runtime,
}

/// What a test can change while the server runs.
struct Control {
    /// Length of the vectors.
    dimensions: AtomicUsize,
    /// Texts after which it stops answering, and says so.
    hang_after: AtomicUsize,
    /// Texts that it was asked to embed.
    embedded: AtomicUsize,
    /// Requests to chat.
    chats: AtomicUsize,
    on_hang: Mutex<Sender<()>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let (sender, reached) = channel();
        let state = Arc::new(Control {
            dimensions: AtomicUsize::new(26),
            hang_after: AtomicUsize::new(usize::MAX),
            embedded: AtomicUsize::new(0),
            chats: AtomicUsize::new(0),
            on_hang: Mutex::new(sender),
        });
        let routes = Router::new()
            .route("/v1/models", get(async || Body(json!({ "data": [{ "id": "fake" }] }))))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embeddings))
            .route("/rerank", post(rerank))
            .with_state(state.clone());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { url, state, reached, _runtime: runtime }
    }

    /// From now on vectors have so many numbers.
    pub(super) fn set_dimensions(&self, dimensions: usize) {
        self.state.dimensions.store(dimensions, Ordering::SeqCst);
    }

    /// Answers no more once it has been asked for more than `texts` vectors, counted from now.
    pub(super) fn hang_after(&self, texts: usize) {
        self.state.embedded.store(0, Ordering::SeqCst);
        self.state.hang_after.store(texts, Ordering::SeqCst);
    }

    /// Waits until it answers no more.
    pub(super) fn wait_until_it_hangs(&self) {
        self.reached.recv().unwrap();
    }

    /// Texts that it was asked to embed since it was last told to hang, or began.
    pub(super) fn embedded(&self) -> usize {
        self.state.embedded.load(Ordering::SeqCst)
    }

    /// How often it was asked to chat.
    pub(super) fn chats(&self) -> usize {
        self.state.chats.load(Ordering::SeqCst)
    }
}

async fn chat(State(state): State<Arc<Control>>, Body(request): Body<Json>) -> Response {
    state.chats.fetch_add(1, Ordering::SeqCst);
    let usage = json!({ "prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60 });
    if request["stream"] != json!(true) {
        let choice = json!({ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": ANSWER } });
        return Body(json!({ "model": "fake", "choices": [choice], "usage": usage })).into_response();
    }
    let piece = |text: &str| {
        json!({ "model": "fake", "choices": [{ "index": 0, "delta": { "content": text } }] }).to_string()
    };
    let end = json!({ "model": "fake", "usage": usage,
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let (first, second) = ANSWER.split_at(10);
    let events =
        format!("data: {}\n\ndata: {}\n\ndata: {end}\n\ndata: [DONE]\n\n", piece(first), piece(second));
    ([("content-type", "text/event-stream")], events).into_response()
}

async fn embeddings(State(state): State<Arc<Control>>, Body(request): Body<Json>) -> Response {
    let Some(texts) = request["input"].as_array() else { return StatusCode::BAD_REQUEST.into_response() };
    let before = state.embedded.fetch_add(texts.len(), Ordering::SeqCst);
    if before + texts.len() > state.hang_after.load(Ordering::SeqCst) {
        // Nobody may listen for it any more.
        state.on_hang.lock().unwrap().send(()).ok();
        std::future::pending::<()>().await;
    }
    let dimensions = state.dimensions.load(Ordering::SeqCst);
    let data: Vec<Json> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "index": index, "embedding": letters(text.as_str().unwrap(), dimensions) }))
        .collect();
    Body(json!({ "model": "fake", "data": data, "usage": { "prompt_tokens": 3, "total_tokens": 3 } }))
        .into_response()
}

async fn rerank(Body(request): Body<Json>) -> Body<Json> {
    let (query, texts) = (request["query"].as_str().unwrap(), request["texts"].as_array().unwrap());
    let score = |text: &str| query.split_whitespace().filter(|word| text.contains(word)).count();
    let ranks: Vec<Json> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "index": index, "score": score(text.as_str().unwrap()) as f64 / 10.0 }))
        .collect();
    Body(json!(ranks))
}

/// How often each letter occurs, over so many letters of the alphabet.
fn letters(text: &str, dimensions: usize) -> Vec<f32> {
    let mut counts = vec![0.01_f32; dimensions];
    for letter in text.bytes().map(|byte| byte.to_ascii_lowercase()).filter(u8::is_ascii_lowercase) {
        counts[usize::from(letter - b'a') % dimensions] += 1.0;
    }
    counts
}
