//! The Model Context Protocol: every flow is a tool, and every index can be searched.
//!
//! A call of a flow is a durable job like any other; if the caller takes the call back, or goes away, the job is
//! cancelled. Nothing is kept between calls, so that any process can answer any of them: that is what the revision
//! 2026-07-28 asks for, and what older revisions allow.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::api::App;
use crate::api::caller::{Caller, Scope};
use crate::api::problem::{Code, Problem};

mod flow;
mod search;
mod text;

/// Most tools that are listed.
const TOOLS_MAX: usize = 1_000;
/// What models are told about the tools.
const INSTRUCTIONS: &str = "Each tool runs a flow of retrieval and reading steps, or searches an index. Answers name the \
                            documents and lines that they rest on.";

/// The tools of one caller, or of whoever calls.
#[derive(Clone)]
pub struct Tools {
    app: App,
    /// Who calls, where that is known from the start; over HTTP each request says so.
    caller: Option<Arc<Caller>>,
}

impl Tools {
    /// The tools of whoever calls: each request brings its [`Caller`] along.
    pub fn of_callers(app: App) -> Self {
        Self { app, caller: None }
    }

    /// The tools of one caller.
    pub fn of(app: App, caller: Caller) -> Self {
        Self { app, caller: Some(Arc::new(caller)) }
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Result<Arc<Caller>, ErrorData> {
        if let Some(caller) = &self.caller {
            return Ok(caller.clone());
        }
        let parts = context.extensions.get::<axum::http::request::Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Caller>()).cloned();
        caller.map(Arc::new).ok_or_else(|| ErrorData::internal_error("nobody knows who calls", None))
    }
}

/// A schema as tools declare it.
fn object(json: serde_json::Value) -> JsonObject {
    match json {
        serde_json::Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// Refuses a caller without `scope`.
fn must_have(caller: &Caller, scope: Scope) -> Result<(), ErrorData> {
    if caller.scopes.contains(&scope) {
        return Ok(());
    }
    let scope = scope.as_str();
    Err(refused(&Problem::new(Code::NoScope, format!("this needs the scope `{scope}`, which the key lacks"))))
}

/// A problem as an error of the protocol: what the call itself is wrong about, and what is not to be retried blindly.
fn refused(problem: &Problem) -> ErrorData {
    let data = serde_json::to_value(problem.body()).ok();
    let message = match &problem.hint {
        Some(hint) => format!("{}: {hint}", problem.detail),
        None => problem.detail.clone(),
    };
    match problem.code.status().as_u16() {
        401 | 403 | 409 | 429 => ErrorData::invalid_request(message, data),
        400..500 => ErrorData::invalid_params(message, data),
        _ => ErrorData::internal_error(message, data),
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let about = Implementation::new("anabranch", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(about)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context)?;
        must_have(&caller, Scope::Read)?;
        let mut tools = flow::list(&self.app, &caller).await.map_err(|problem| refused(&problem))?;
        for tool in search::list(&self.app) {
            // A flow of that name was there first.
            if tools.iter().all(|other| other.name != tool.name) {
                tools.push(tool);
            }
        }
        tools.truncate(TOOLS_MAX);
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context)?;
        let arguments = call.arguments.unwrap_or_default();
        let flow = self.app.flows.get(&caller.tenant, &call.name, None).await;
        let result = match (flow, search::index(&self.app, &call.name)) {
            (Ok(flow), _) => {
                must_have(&caller, Scope::Run)?;
                flow::call(&self.app, &caller, flow, arguments, &context).await?
            }
            (Err(_), Some(index)) => {
                must_have(&caller, Scope::Read)?;
                search::call(&self.app, &caller, index, arguments, &context).await?
            }
            (Err(error), None) => return Err(refused(&Problem::flow(error, None))),
        };
        Ok(CallToolResponse::Complete(result))
    }
}
