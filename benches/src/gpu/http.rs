//! The simulated server over HTTP, as clients of vLLM see one: completions in one piece or streamed, models, metrics,
//! health. One that is killed closes its port and every connection, and opens the same port when it is well again.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::value::Message;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::{Answer, Fault, Gpu, Refusal};

/// How often a server that is well again tries to get its port back, and after how long the next time.
const BINDINGS: usize = 200;
const BINDING_PAUSE: Duration = Duration::from_millis(50);

/// A simulated server on a port. Dropped, it is gone.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    gpu: Arc<Gpu>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves `gpu` at `address`, whose port may be 0 for any that is free.
    pub async fn start(gpu: Arc<Gpu>, address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(gpu.clone(), listener, address));
        Ok(Self { address, gpu, serving })
    }

    /// Where it is: `http://127.0.0.1:43210`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it serves.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(gpu: Arc<Gpu>, listener: TcpListener, address: SocketAddr) {
    let router = router(gpu.clone());
    let mut listener = Some(listener);
    loop {
        let Some(open) = listener.take() else { return };
        tokio::select! {
            // Never ends by itself. Dropped, it closes the port and all connections.
            () = accept(open, router.clone()) => {}
            () = gpu.killed() => {}
        }
        gpu.until(|fault| fault != Some(Fault::Killed)).await;
        for _ in 0..BINDINGS {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_some() {
                break;
            }
            tokio::time::sleep(BINDING_PAUSE).await;
        }
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let builder = Builder::new(TokioExecutor::new()).http1_only();
            // Whoever goes away in the middle has its reasons.
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

fn router(gpu: Arc<Gpu>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .with_state(gpu)
}

#[derive(Deserialize)]
struct Asked {
    messages: Vec<Message>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What the answer is made of, as it comes.
enum Part {
    Piece(String),
    End(Result<Answer, Refusal>),
}

/// An answer under way: given up when it is dropped, since then nobody reads it.
struct Answering {
    parts: mpsc::UnboundedReceiver<Part>,
    _task: JoinSet<()>,
}

impl Answering {
    fn begin(gpu: Arc<Gpu>, asked: Asked) -> Self {
        let (sender, parts) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let pieces = sender.clone();
            // Whoever reads holds this task: when nobody does, it is gone.
            let on_piece = move |piece: &str| drop(pieces.send(Part::Piece(piece.to_owned())));
            let max_tokens = asked.max_completion_tokens.or(asked.max_tokens);
            let result = gpu.answer(&asked.messages, max_tokens, &on_piece).await;
            drop(sender.send(Part::End(result)));
        });
        Self { parts, _task: task }
    }

    async fn next(&mut self) -> Part {
        self.parts.recv().await.unwrap_or(Part::End(Err(Refusal::Killed)))
    }
}

async fn completions(State(gpu): State<Arc<Gpu>>, Json(asked): Json<Asked>) -> Response {
    let model = gpu.settings().model.clone();
    let is_streamed = asked.stream;
    let with_usage = asked.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let mut answering = Answering::begin(gpu, asked);
    if is_streamed {
        let first = answering.next().await;
        if let Part::End(Err(refusal)) = first {
            return refused(refusal, true);
        }
        return streamed(model, answering, first, with_usage);
    }
    loop {
        match answering.next().await {
            Part::Piece(_) => {}
            Part::End(Ok(answer)) => return Json(whole(&model, &answer)).into_response(),
            Part::End(Err(refusal)) => return refused(refusal, false),
        }
    }
}

fn usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": answer.cached_tokens },
    })
}

fn whole(model: &str, answer: &Answer) -> Value {
    json!({
        "id": "chatcmpl-simulated", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": answer.text },
            "finish_reason": "stop",
        }],
        "usage": usage(answer),
    })
}

fn chunk(model: &str, choices: &Value, usage: Option<Value>) -> String {
    let mut chunk = json!({
        "id": "chatcmpl-simulated", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": choices,
    });
    if let (Some(usage), Some(entries)) = (usage, chunk.as_object_mut()) {
        entries.insert("usage".to_owned(), usage);
    }
    format!("data: {chunk}\n\n")
}

/// The events of a streamed answer; broken off if the server is.
fn streamed(model: String, answering: Answering, first: Part, with_usage: bool) -> Response {
    let delta = |model: &str, piece: &str| {
        chunk(model, &json!([{ "index": 0, "delta": { "content": piece }, "finish_reason": null }]), None)
    };
    let events = move |part: Part, model: &str| match part {
        Part::Piece(piece) => Some(delta(model, &piece)),
        Part::End(Ok(answer)) => {
            let end = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
            let mut text = chunk(model, &end, None);
            if with_usage {
                text += &chunk(model, &json!([]), Some(usage(&answer)));
            }
            Some(text + "data: [DONE]\n\n")
        }
        Part::End(Err(_)) => None,
    };
    let parts = stream::unfold((answering, Some(first)), move |(mut answering, first)| {
        let model = model.clone();
        async move {
            let part = match first {
                Some(part) => part,
                None => match answering.parts.recv().await {
                    Some(part) => part,
                    // The end has been sent.
                    None => return None,
                },
            };
            let text = events(part, &model)?;
            Some((Ok::<_, Infallible>(Bytes::from(text)), (answering, None)))
        }
    });
    let mut response = Response::new(Body::from_stream(parts));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

fn refused(refusal: Refusal, is_streamed: bool) -> Response {
    let error = |kind: &str| json!({ "error": { "message": refusal.to_string(), "type": kind } });
    match refusal {
        Refusal::Full(_) => {
            (StatusCode::TOO_MANY_REQUESTS, Json(error("TooManyRequestsError"))).into_response()
        }
        Refusal::Unavailable(after) => {
            let headers: [(HeaderName, String); 1] = [(RETRY_AFTER, after.as_secs().to_string())];
            (StatusCode::SERVICE_UNAVAILABLE, headers, Json(error("ServiceUnavailableError"))).into_response()
        }
        Refusal::Garbled if is_streamed => {
            ([(CONTENT_TYPE, "text/event-stream")], "data: {\"choices\": [{\"del\u{0}\n\n").into_response()
        }
        Refusal::Garbled => {
            ([(CONTENT_TYPE, "application/json")], "{\"choices\": [{\"mess\u{0}").into_response()
        }
        // Its connection is about to be closed.
        Refusal::Killed => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(error("InternalServerError"))).into_response()
        }
    }
}

async fn models(State(gpu): State<Arc<Gpu>>) -> Json<Value> {
    let model = &gpu.settings().model;
    Json(json!({ "object": "list", "data": [{ "id": model, "object": "model", "owned_by": "simulated" }] }))
}

async fn metrics(State(gpu): State<Arc<Gpu>>) -> Response {
    gpu.goes_on().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], gpu.metrics()).into_response()
}

async fn health(State(gpu): State<Arc<Gpu>>) -> StatusCode {
    gpu.goes_on().await;
    match gpu.fault() {
        Some(Fault::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}
