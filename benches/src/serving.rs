//! What the scheduler of model calls achieves on simulated servers: the figures of `src/bin/serving.rs`, one a file.
//!
//! All but the overhead and `saturation_http` run on tokio's paused clock: what they measure is who is sent where and
//! when, which takes minutes of serving and no work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_backends::pool::{PoolSettings, PooledChat, Replica, ReplicaSettings};
use anabranch_engine::backend::{Call, Caller, ChatModel, ChatRequest, ChatResponse, Error};
use anabranch_engine::value::{Message, Role};
use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::gpu::{Gpu, GpuSettings, Patience, Simulated};

pub mod fairness;
pub mod fan_out;
pub mod faults;
pub mod flows;
pub mod overhead;
pub mod overload;
pub mod prefix;
pub mod saturation;

/// Bytes of a token of the simulated servers.
const TOKEN_BYTES: f64 = 4.0;

pub use crate::Failed;
pub use crate::load::median;

/// A figure beside its goal.
pub fn row(ours: f64, must_be: &str, met: bool, details: &Value) -> Value {
    let mut row = json!({ "ours": rounded(ours), "must_be": must_be, "met": met });
    if let (Some(entries), Some(details)) = (row.as_object_mut(), details.as_object()) {
        entries.extend(details.clone());
    }
    row
}

/// Three decimals.
pub fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// The largest.
pub fn largest(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::NAN, f64::max)
}

/// Does `work` on a clock that moves on whenever nothing is left to be done.
pub fn on_paused_clock<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(work)
}

/// Simulated servers behind a pool.
pub struct Served {
    /// The servers.
    pub gpus: Vec<Arc<Gpu>>,
    /// What calls go through.
    pub pool: Arc<PooledChat>,
}

impl Served {
    /// So many servers, all alike.
    pub fn new(n: usize, gpu: &GpuSettings, settings: &PoolSettings, replica: ReplicaSettings) -> Self {
        let gpus: Vec<_> = (0..n).map(|_| Arc::new(Gpu::new(gpu.clone()))).collect();
        let replicas = gpus.iter().enumerate().map(|(idx, gpu)| {
            let name = format!("s{idx}");
            let model = Arc::new(Simulated::new(name.as_str(), gpu.clone(), Patience::default()));
            Replica { name, model: model.clone(), probe: Some(model), settings: replica }
        });
        let pool = Arc::new(PooledChat::new("default", settings, replicas.collect()));
        Self { gpus, pool }
    }

    /// Calls that wait in the pool.
    pub fn n_queued(&self) -> usize {
        let stats = self.pool.stats();
        stats.queued_interactive + stats.queued_batch
    }
}

/// A server that takes so many calls.
pub fn taking(n: usize) -> ReplicaSettings {
    let max_in_flight = u32::try_from(n).ok().and_then(std::num::NonZeroU32::new);
    let defaults = ReplicaSettings::default();
    ReplicaSettings { max_in_flight: max_in_flight.unwrap_or(defaults.max_in_flight), ..defaults }
}

/// A request of one system and one user message.
pub fn request(system: &str, user: &str, max_tokens: u32) -> ChatRequest {
    let message = |role, content: &str| Message { role, content: content.into() };
    let messages = vec![message(Role::System, system), message(Role::User, user)];
    ChatRequest { messages, max_tokens: Some(max_tokens), ..ChatRequest::default() }
}

/// A text of so many tokens, four bytes each; another for another seed.
pub fn text(seed: u64, n_tokens: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut word = || [random.lowercase(), random.lowercase(), random.lowercase(), ' '];
    (0..n_tokens).flat_map(|_| word()).collect()
}

/// A run by its number.
pub fn of_run(run: usize) -> Caller {
    Caller { run: Some(format!("run{run}").into()), ..Caller::default() }
}

/// A model whose calls are watched.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn ChatModel>,
    calls: Mutex<Vec<Seen>>,
}

/// What was seen of a call.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What was asked.
    pub request: ChatRequest,
    /// When it was.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Tokens that were written, or why none were.
    pub result: Result<u64, Error>,
    /// Bytes that came at each time.
    pieces: Vec<(Instant, usize)>,
}

impl Watched {
    /// Watches the calls of `inner`.
    pub fn new(inner: Arc<dyn ChatModel>) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// The calls that have ended, in the order in which they began.
    pub fn calls(&self) -> Vec<Seen> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_by_key(|call| call.began);
        calls
    }

    /// Tokens a second that came between two times, of answers that were completed in the end.
    pub fn goodput(&self, from: Instant, to: Instant) -> f64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces = calls.iter().filter(|call| call.result.is_ok()).flat_map(|call| &call.pieces);
        let bytes: usize = pieces.filter(|(at, _)| (from..to).contains(at)).map(|(_, bytes)| bytes).sum();
        bytes as f64 / TOKEN_BYTES / (to - from).as_secs_f64()
    }
}

#[async_trait]
impl ChatModel for Watched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let began = Instant::now();
        let pieces = Mutex::new(Vec::new());
        let on_delta = |piece: &str| {
            pieces.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), piece.len()));
            (call.on_delta)(piece);
        };
        let answer = self.inner.chat(request, &Call { on_delta: &on_delta, ..*call }).await;
        let result = answer.as_ref().map(|answer| answer.usage.completion_tokens).map_err(Clone::clone);
        let seen = Seen {
            request: request.clone(),
            began,
            ended: Instant::now(),
            result,
            pieces: pieces.into_inner().unwrap_or_default(),
        };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        answer
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        self.inner.estimate_prompt_tokens(request)
    }
}

/// What a load generator came to.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Tokens written.
    pub tokens: u64,
    /// How long it took.
    pub took: Duration,
}

impl Load {
    /// Tokens written a second.
    pub fn per_sec(&self) -> f64 {
        self.tokens as f64 / self.took.as_secs_f64()
    }
}

/// Plain load: so many workers, each asking the next of `requests` as soon as it has its answer.
pub async fn closed_loop(
    model: &Arc<dyn ChatModel>,
    requests: Vec<ChatRequest>,
    n_workers: usize,
) -> Result<Load, Failed> {
    let start = Instant::now();
    let left = Arc::new(Mutex::new(requests.into_iter()));
    let workers = (0..n_workers).map(|_| {
        let (left, model) = (left.clone(), model.clone());
        tokio::spawn(async move {
            let mut tokens = 0;
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(request) = next else { return Ok::<_, Error>(tokens) };
                tokens += model.chat(&request, &Call::keyed("k")).await?.usage.completion_tokens;
            }
        })
    });
    let mut tokens = 0;
    for worker in join_all(workers).await {
        tokens += worker??;
    }
    Ok(Load { tokens, took: start.elapsed() })
}
