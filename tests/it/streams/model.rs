//! A model server that streams a word for each permit that it gets.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use axum::{Json as Body, Router};
use futures::Stream;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::reader::SOON;

/// Words of an answer.
pub(super) const WORDS: usize = 4;
/// All of them.
pub(super) const WHOLE: &str = "word0 word1 word2 word3 ";

/// A running server; stops when dropped.
pub(super) struct Model {
    pub(super) url: String,
    writing: Arc<Writing>,
    task: JoinHandle<()>,
}

struct Writing {
    permits: Semaphore,
    /// Answers that were asked for.
    n_asked: AtomicUsize,
}

impl Model {
    pub(super) async fn start() -> Self {
        let writing = Arc::new(Writing { permits: Semaphore::new(0), n_asked: AtomicUsize::new(0) });
        let routes = Router::new()
            .route("/v1/models", get(async || Body(json!({ "data": [{ "id": "fake" }] }))))
            .route("/v1/chat/completions", post(chat))
            .with_state(writing.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, writing, task }
    }

    /// Lets it write `n` words, whichever answers they belong to.
    pub(super) fn write(&self, n: usize) {
        self.writing.permits.add_permits(n);
    }

    /// Lets it write `n` words of each of as many answers, once all of these were asked for.
    pub(super) async fn write_to_each(&self, n: usize, answers: usize) {
        let until = Instant::now() + SOON;
        while self.writing.n_asked.load(Ordering::Relaxed) < answers {
            assert!(Instant::now() < until, "nobody asks");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whoever waits for a permit gets it in the order of waiting, one each.
        for _ in 0..n {
            self.write(answers);
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn chat(State(writing): State<Arc<Writing>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    writing.n_asked.fetch_add(1, Ordering::Relaxed);
    Sse::new(futures::stream::unfold(0, move |n| {
        let writing = writing.clone();
        async move {
            let data = match n {
                _ if n < WORDS => {
                    writing.permits.acquire().await.unwrap().forget();
                    json!({ "choices": [{ "delta": { "content": format!("word{n} ") } }] }).to_string()
                }
                WORDS => json!({
                    "choices": [{ "delta": {}, "finish_reason": "stop" }],
                    "usage": { "prompt_tokens": 3, "completion_tokens": 4 },
                })
                .to_string(),
                _ if n == WORDS + 1 => "[DONE]".to_owned(),
                _ => return None,
            };
            Some((Ok(Event::default().data(data)), n + 1))
        }
    }))
}
