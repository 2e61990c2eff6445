//! Somebody's server that webhooks are sent to: it keeps what comes, and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value as Json;
use standardwebhooks::Webhook;

use super::service::SOON;

/// A running receiver.
pub(super) struct Receiver {
    pub(super) url: String,
    state: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    came: Mutex<Vec<Came>>,
    /// What the next ones are answered with; 200 when it is empty.
    answers: Mutex<VecDeque<StatusCode>>,
}

/// A message that came.
#[derive(Debug, Clone)]
pub(super) struct Came {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Came {
    /// Its `webhook-id`.
    pub(super) fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    /// How many signatures it has.
    pub(super) fn n_signatures(&self) -> usize {
        self.headers["webhook-signature"].to_str().unwrap().split(' ').count()
    }

    /// Whether it is signed with `secret`, by the reference implementation.
    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        Webhook::new(secret).unwrap().verify(&self.body, &self.headers).is_ok()
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let state = Arc::new(Kept::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(keep).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Answers the next message with `status`.
    pub(super) fn answer_next(&self, status: u16) {
        self.state.answers.lock().unwrap().push_back(StatusCode::from_u16(status).unwrap());
    }

    /// All that came, once these are `n`.
    pub(super) async fn until(&self, n: usize) -> Vec<Came> {
        let begun = Instant::now();
        loop {
            let came = self.state.came.lock().unwrap().clone();
            if came.len() >= n {
                return came;
            }
            assert!(begun.elapsed() < SOON, "only {} of {n} messages came: {came:?}", came.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn keep(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    kept.came.lock().unwrap().push(Came { headers, body: body.to_vec() });
    kept.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
}
