//! The Model Context Protocol over HTTP: flows as tools.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{App, Caller, Problem, body};
use crate::mcp::Tools;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(serve))
}

/// Speak the Model Context Protocol
///
/// Streamable HTTP, without sessions: each request stands alone, so any process can answer it. Every flow is a tool,
/// and each index has one that searches it. Listing and searching need the scope `read`, calling a flow needs `run`.
/// The revision 2026-07-28 is spoken, and those before it that begin with `initialize`.
#[utoipa::path(post, path = "/mcp", operation_id = "mcp", tag = "mcp", security(("key" = [])),
    request_body(content = Object, description = "a message of JSON-RPC", content_type = "application/json"),
    responses(
        (status = 200, description = "the answer, or a stream of messages that ends with it", content(
            (Object = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "a notification was taken"),
        (status = 406, description = "not both JSON and a stream are accepted"),
    ))]
async fn serve(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Problem> {
    body::must_be_json(request.headers())?;
    let (parts, stream) = request.into_parts();
    let bytes =
        body::read(Request::from_parts(parts.clone(), stream), &app, app.config.limits.body_bytes).await?;
    // What is no JSON is refused as it is everywhere: the protocol's own reader calls it another media type.
    let _message: serde_json::Value = body::json(&bytes)?;
    let mut request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(app.config.limits.body_bytes)
        .with_cancellation_token(app.stopping.child_token());
    // A page in a browser can reach what listens on this machine. It has no key, though, and cannot know a host name
    // that is not its own; whoever shows a key may come by whatever name the service has.
    config = match caller.key_id {
        Some(_) => config.disable_allowed_hosts(),
        None => config.enforce_origin_validation(),
    };
    request.extensions_mut().insert(caller);
    let tools = Tools::of_callers(app);
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Ok(service.handle(request).await.into_response())
}
