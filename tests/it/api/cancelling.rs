//! Cancelling at any moment: final soon, nothing begins afterwards, and calls to model servers are dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_engine::backend::{self, Call, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::cx::{Model, Resources};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use futures::{StreamExt as _, stream};
use serde_json::{Value as Json, json};

use super::harness::Service;
use crate::support::client;

const FLOW: &str = "flow: calls
inputs:
  n: text
nodes:
  a: { op: test.ask, in: { question: inputs.n } }
  b: { op: test.ask, in: { question: a.text } }
  c: { op: test.ask, in: { question: b.text } }
outputs:
  text: c.text
";

/// A server that answers slowly, and counts.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    begun: Mutex<HashMap<String, Vec<Instant>>>,
}

struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(State(counts): State<Arc<Counts>>, Path(job): Path<String>) -> &'static str {
    counts.open.fetch_add(1, Ordering::SeqCst);
    counts.begun.lock().unwrap().entry(job).or_default().push(Instant::now());
    let _open = Open(counts);
    tokio::time::sleep(Duration::from_millis(300)).await;
    "ok"
}

/// A model that asks that server.
#[derive(Debug)]
struct Remote {
    url: String,
    client: reqwest::Client,
}

#[async_trait]
impl ChatModel for Remote {
    fn name(&self) -> &'static str {
        "remote"
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, backend::Error> {
        let job = request.messages[0].content.to_string();
        let answer = self.client.get(format!("{}/{job}", self.url)).send().await.unwrap();
        drop(answer.bytes().await.unwrap());
        let usage = Usage { model_calls: 1, ..Usage::default() };
        Ok(ChatResponse {
            text: job,
            finish_reason: FinishReason::Stop,
            usage,
            model: "remote".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_cancelled_at_any_moment_are_soon_final_and_begin_nothing_more() {
    const JOBS: usize = 1_000;
    /// Of these, so many are under way together.
    const AT_ONCE: usize = 125;
    let counts = Arc::new(Counts::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{job}", get(answer)).with_state(counts.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let remote: Arc<dyn ChatModel> = Arc::new(Remote { url, client: client() });
    let resources =
        Resources { models: [("default".to_owned(), Model::Chat(remote))].into(), ..Resources::default() };
    let service = Service::with_flow("calls", FLOW, resources).await;
    let (service, slowest) = (&service, Mutex::new(Duration::ZERO));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let pauses: Vec<Duration> = (0..JOBS).map(|_| Duration::from_millis(random.u64(0..1_000))).collect();
    let jobs = pauses.into_iter().enumerate().map(|(n, pause)| {
        let slowest = &slowest;
        async move {
            let name = format!("j{n}");
            let job = service.post("/v1/jobs", &json!({ "flow": "calls", "inputs": { "n": name } })).await;
            let id = job.body["id"].as_str().unwrap_or_else(|| panic!("{job:?}")).to_owned();
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            let cancelled = service.post(&format!("/v1/jobs/{id}/cancel"), &json!({ "mode": "now" })).await;
            assert!([200, 202, 409].contains(&cancelled.status), "{cancelled:?}");
            let job = service.ended(&id).await;
            let took = asked.elapsed();
            let mut slowest = slowest.lock().unwrap();
            *slowest = (*slowest).max(took);
            (name, job, Instant::now())
        }
    });
    let finals: Vec<(String, Json, Instant)> = stream::iter(jobs).buffer_unordered(AT_ONCE).collect().await;
    let cancelled = finals.iter().filter(|(_, job, _)| job["status"] == "cancelled").count();
    assert!(cancelled > JOBS / 4, "{cancelled} of {JOBS} were cancelled");
    // A call that was dropped is seen by the server when its connection is closed.
    let until = Instant::now() + Duration::from_secs(5);
    while counts.open.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < until, "{} calls are still open", counts.open.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = counts.begun.lock().unwrap().clone();
    for (name, job, ended) in &finals {
        let late = begun.get(name).into_iter().flatten().filter(|begun| *begun > ended).count();
        assert_eq!(late, 0, "calls of `{name}` began after it had ended: {job}");
    }
    let slowest = *slowest.lock().unwrap();
    // How soon, on a machine that does nothing else: the bench `overload` holds it to a second.
    println!("{cancelled} of {JOBS} cancelled, the slowest final after {slowest:?}");
}
