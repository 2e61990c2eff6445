//! What surrounds every endpoint: ids, bounds, panics and refusals in one shape.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;

use super::problem::{Code, Problem};
use super::{App, openai, rates, texts};

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a caller may give a request.
const REQUEST_ID_BYTES: usize = 128;
/// Longest `traceparent` that is taken; today's have 55.
const TRACEPARENT_BYTES: usize = 256;
/// What a message says at most when it comes from the framework and not from us.
const FOREIGN_BYTES: usize = 2 << 10;

tokio::task_local! {
    /// The request that is being answered.
    pub static REQUEST: Ids;
}

/// What a request is known by.
#[derive(Debug, Clone)]
pub struct Ids {
    /// `req_…`, or what the caller calls it.
    pub request_id: String,
    /// The W3C trace id.
    pub trace_id: String,
    /// The caller's `traceparent`, if it is one.
    pub traceparent: Option<String>,
}

impl Ids {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = text(REQUEST_ID.as_str()).filter(|id| {
            (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let traceparent = text("traceparent").filter(|value| is_traceparent(value));
        Self {
            request_id: given.map_or_else(|| format!("req_{}", uuid::Uuid::now_v7().simple()), str::to_owned),
            trace_id: traceparent.and_then(trace_id).map_or_else(new_trace, str::to_owned),
            traceparent: traceparent.map(str::to_owned),
        }
    }

    /// What a job of this request carries on: the caller's `traceparent`, or a trace that begins with the job.
    pub fn traceparent(&self) -> String {
        self.traceparent.clone().unwrap_or_else(|| begun(&self.trace_id))
    }

    /// The ids of the request that is being answered.
    pub fn current() -> Option<Self> {
        REQUEST.try_with(Clone::clone).ok()
    }
}

/// A new trace id. All of it is random: samplers decide by its end.
pub fn new_trace() -> String {
    format!("{:032x}", fastrand::u128(1..))
}

/// What a job keeps of a trace that begins with it: as a `traceparent`, with zeros for the span that it has none of.
pub fn begun(trace: &str) -> String {
    format!("00-{trace}-{:016x}-01", 0)
}

/// The trace id of what a job keeps.
pub fn trace_of_job(trace: &str) -> Option<&str> {
    trace.split('-').nth(1)
}

/// Whether somebody's trace can go on with it: later versions may be longer than this one, but not without bound.
pub fn is_traceparent(text: &str) -> bool {
    text.len() <= TRACEPARENT_BYTES && trace_id(text).is_some()
}

/// The trace id of a `traceparent`: `00-TRACE-SPAN-FLAGS`.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |text: &str| text.bytes().any(|byte| byte != b'0');
    (is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2))
        .then_some(trace)
        .filter(|trace| is_some(trace) && is_some(span))
}

/// Puts the layers around `router`.
pub fn around(router: Router<App>, app: &App) -> Router<App> {
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(rates::tell))
        .layer(from_fn_with_state(app.clone(), guard))
}

async fn no_route(request: Request) -> Problem {
    no_route_to(request.uri().path())
}

/// There is nothing at `path`.
pub fn no_route_to(path: &str) -> Problem {
    Problem::new(Code::NoRoute, format!("there is no endpoint `{path}`")).hint("`/docs` lists them all")
}

async fn no_method(request: Request) -> Problem {
    let detail = format!("`{}` does not take `{}`", request.uri().path(), request.method());
    Problem::new(Code::NoMethod, detail).hint("the header `Allow` lists what it takes")
}

async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let ids = Ids::of(request.headers());
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let started = std::time::Instant::now();
    let (request_id, trace_id) = (ids.request_id.clone(), ids.trace_id.clone());
    let mut response = REQUEST
        .scope(ids, async {
            let response = enter(&app, &path, request, next).await;
            let response = in_shape(response).await;
            match (openai::speaks(&path), response.extensions().get::<Arc<Problem>>().cloned()) {
                (true, Some(problem)) => openai::refusal(&problem, response),
                _ => response,
            }
        })
        .await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if app.is_stopping() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    app.metrics.answered(status);
    if let Some(problem) = response.extensions().get::<Arc<Problem>>()
        && matches!(problem.code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    {
        app.metrics.refused(problem.code.as_str());
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::warn!(%request_id, trace_id, %method, path, status, ms, "answered");
    } else {
        tracing::debug!(%request_id, trace_id, %method, path, status, ms, "answered");
    }
    response
}

async fn enter(app: &App, path: &str, request: Request, next: Next) -> Response {
    if let Err(problem) = texts::in_address(request.uri()) {
        return problem.into_response();
    }
    // Probes tell how things are, all the more when everything else is refused.
    let permit = match app.requests.try_acquire() {
        Ok(permit) => Some(permit),
        Err(_) if is_probe(path) => None,
        Err(_) => {
            return Problem::new(Code::Overloaded, "too many requests are in flight").into_response();
        }
    };
    let ended = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    drop(permit);
    ended.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Problem::internal(format!("panicked: {why}")).into_response()
    })
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// A refusal of the framework, as a problem like any other.
async fn in_shape(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || response.extensions().get::<Arc<Problem>>().is_some()
        || response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"))
    {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, FOREIGN_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let code = match status {
        StatusCode::NOT_FOUND => Code::NoRoute,
        StatusCode::METHOD_NOT_ALLOWED => Code::NoMethod,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::MediaType,
        StatusCode::UNPROCESSABLE_ENTITY => Code::Invalid,
        status if status.is_client_error() => Code::BadParameter,
        _ => return Problem::internal(text).into_response(),
    };
    let mut response = Problem::new(code, text).into_response();
    for (name, value) in &parts.headers {
        if !response.headers().contains_key(name) && name != "content-length" {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response.map(Body::new)
}
