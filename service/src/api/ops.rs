//! How the process is: alive, ready, and its own documentation.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Scope};
use super::problem::{self, Code, Problem, ProblemBody};
use super::{App, docs, openapi};
use crate::metrics::{self, Moment, QueueNow};

/// How long the store may take to say that it is there.
const STORE_TIME: Duration = Duration::from_secs(2);
/// Flows that the document has endpoints for at most.
const TWINS_MAX: usize = 200;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(document))
        .routes(routes!(page))
}

/// Whether the process can do its work, and what is in the way if not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether requests may be sent here.
    pub ready: bool,
    /// Each thing that is needed: `ok`, or what is wrong.
    pub checks: std::collections::BTreeMap<&'static str, String>,
}

/// Why the process cannot do its work: a problem that lists the checks, too.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotReady {
    /// The first thing that is wrong.
    #[serde(flatten)]
    pub problem: ProblemBody,
    /// Everything that is needed.
    #[serde(flatten)]
    pub readiness: Readiness,
}

/// The process is alive
///
/// Looks at nothing else: a database that is away is no reason to restart the process.
#[utoipa::path(get, path = "/healthz", operation_id = "is_alive", tag = "ops", responses((status = 200, description = "alive", body = str, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can do its work
///
/// 503 while the store is away, its tables are not those of this build, or the process is stopping.
#[utoipa::path(get, path = "/readyz", operation_id = "is_ready", tag = "ops", responses(
    (status = 200, description = "requests may be sent here", body = Readiness),
    (status = 503, description = "requests should go elsewhere", body = NotReady, content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "when to ask again, in seconds"))),
))]
async fn readyz(State(app): State<App>) -> Response {
    let mut checks = std::collections::BTreeMap::new();
    let store = match tokio::time::timeout(STORE_TIME, app.store.ready()).await {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the store did not answer within {} s", STORE_TIME.as_secs()),
    };
    checks.insert("store", store);
    let is_migrated = app.is_migrated.load(Ordering::Relaxed);
    checks.insert(
        "migrations",
        if is_migrated { "ok" } else { "some are missing: `anabranch migrate`" }.to_owned(),
    );
    checks.insert("process", if app.is_stopping() { "it is stopping" } else { "ok" }.to_owned());
    let wrong = checks.values().find(|check| *check != "ok").cloned();
    let readiness = Readiness { ready: wrong.is_none(), checks };
    let Some(wrong) = wrong else {
        return ([(CACHE_CONTROL, "no-store")], Json(readiness)).into_response();
    };
    let code = if app.is_stopping() { Code::Stopping } else { Code::StoreAway };
    let problem = Problem::new(code, wrong);
    let retry_after = problem.retry_after_header().map(|wait| [(RETRY_AFTER, wait)]);
    let headers = [(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, problem::MEDIA_TYPE)];
    let body = NotReady { problem: problem.body(), readiness };
    (StatusCode::SERVICE_UNAVAILABLE, headers, retry_after, Json(body)).into_response()
}

/// Counts for Prometheus
///
/// `docs/metrics.md` lists them all.
#[utoipa::path(get, path = "/metrics", operation_id = "show_metrics", tag = "ops", responses((status = 200, description = "Prometheus text", body = str, content_type = "text/plain")))]
async fn metrics(State(app): State<App>) -> Response {
    let now = moment(&app).await;
    ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], app.metrics.text(now)).into_response()
}

/// How full things are.
pub(crate) async fn moment(app: &App) -> Moment {
    let queue = tokio::time::timeout(STORE_TIME, app.store.queue(None)).await.ok().and_then(Result::ok);
    let queue = queue.map(|queue| {
        let age_ms = queue.oldest_ms.map_or(0, |oldest| app.now_ms().saturating_sub(oldest));
        let oldest = Duration::from_millis(u64::try_from(age_ms).unwrap_or_default());
        QueueNow {
            depth: queue.depth,
            running: queue.running,
            waiting: queue.waiting,
            oldest_secs: oldest.as_secs_f64(),
        }
    });
    let (limits, load, writing) = (&app.config.limits, app.runner.load(), app.store.writing());
    Moment {
        queue,
        active: load.running,
        slots: load.slots,
        tasks: load.tasks,
        journal_waiting: writing.waiting,
        journal_waiting_bytes: writing.waiting_bytes,
        requests: limits.requests.saturating_sub(app.requests.available_permits()),
        streams: limits.streams.saturating_sub(app.streams.available_permits()),
        spans_exported: app.telemetry.exported(),
        spans_lost: app.telemetry.lost(),
        indexes: app.metrics.sizes(&app.indexes).await,
    }
}

/// This document
///
/// With an endpoint for each flow that the caller may see, with the schema of its inputs; without a key that is known,
/// where one is needed, only with the endpoints that all flows share.
#[utoipa::path(get, path = "/openapi.json", operation_id = "show_document", tag = "ops", responses((status = 200, description = "the OpenAPI document", body = Object)))]
async fn document(State(app): State<App>, parts: Parts) -> Response {
    static GENERIC: OnceLock<serde_json::Value> = OnceLock::new();
    let generic = GENERIC.get_or_init(openapi::document);
    let mut plans = Vec::new();
    if app.roles.api
        && let Ok(caller) = Caller::find(&parts, &app).await
        && caller.scopes.contains(&Scope::Read)
    {
        for name in app.flows.names(&caller.tenant).await.unwrap_or_default().iter().take(TWINS_MAX) {
            // One that does not load any more has no inputs to tell of.
            if let Ok(flow) = app.flows.get(&caller.tenant, name, None).await {
                plans.push(flow.plan);
            }
        }
    }
    ([(CACHE_CONTROL, "no-store")], Json(openapi::with_flows(generic.clone(), &plans))).into_response()
}

/// This document, for reading
#[utoipa::path(get, path = "/docs", operation_id = "show_docs", tag = "ops", responses((status = 200, description = "a page", body = str, content_type = "text/html")))]
async fn page() -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    let page = PAGE.get_or_init(|| docs::page(&openapi::document()));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    ([(CONTENT_SECURITY_POLICY, policy)], Html(page.as_str())).into_response()
}
