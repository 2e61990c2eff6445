//! Servers of tools that speak the Model Context Protocol: a program of this machine, or an HTTP address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{Call, Error, Tool, ToolAnswer, ToolServer, ToolSpec};
use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, RequestParamsMeta as _};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::http::{Reach, SettingsError};
use crate::http::{Failures, client_builder};

/// Most tools that are taken from one server.
pub const TOOLS_MAX: usize = 1_000;
/// How much of what a program writes to its standard error is told when it does not start, in bytes.
const STDERR_BYTES: u64 = 2_048;
/// How long that is waited for.
const STDERR_TIME: Duration = Duration::from_millis(500);
/// What a program of this machine inherits; everything else it has to be given.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TERM", "SHELL"];

/// Where a server of tools is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A program of this machine that speaks over its standard input and output.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// What its environment has besides the least that programs need.
        env: BTreeMap<String, String>,
        /// Where it runs.
        folder: Option<PathBuf>,
    },
    /// An address that speaks streamable HTTP.
    Address(String),
}

/// A server of tools.
#[derive(Debug, Clone)]
pub struct McpSettings {
    /// What flows call it.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// How it is reached, and what bounds a call.
    pub reach: Reach,
    /// The tools that are taken; all if unset.
    pub only: Option<Vec<String>>,
    /// Tools that can be called twice without harm, besides those that the server itself says so of.
    pub idempotent: BTreeSet<String>,
}

/// A server of tools that is connected to when it is needed, and again when it has gone.
#[derive(Debug, Clone)]
pub struct McpServer(Arc<Shared>);

struct Shared {
    settings: McpSettings,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpServer").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// A connection with the tools that it was found to have.
struct Connection {
    service: RunningService<RoleClient, ()>,
    tools: Arc<[Listed]>,
    /// The program behind it, which ends with it.
    _child: Option<Child>,
}

/// What is spoken over with a program.
type Pipes = AsyncRwTransport<RoleClient, ChildStdout, ChildStdin>;

/// A tool as the server lists it.
#[derive(Debug, Clone)]
struct Listed {
    spec: ToolSpec,
    is_idempotent: bool,
    /// Whether its answer is wrapped into an object because it is none itself.
    is_wrapped: bool,
}

impl McpServer {
    /// The server that `settings` describe. Nothing is started or sent before its tools are asked for.
    pub fn new(settings: McpSettings) -> Result<Self, SettingsError> {
        match &settings.place {
            Place::Program { command, .. } if command.first().is_none_or(String::is_empty) => {
                return Err(SettingsError::Url {
                    url: String::new(),
                    why: "the command is empty".to_owned(),
                });
            }
            Place::Program { .. } => {}
            Place::Address(url) => {
                let refused = |source| SettingsError::Refused { url: url.clone(), source };
                settings.reach.guard.url(url).map_err(refused)?;
            }
        }
        for (name, value) in &settings.reach.headers {
            let is_header =
                HeaderName::try_from(name.as_str()).is_ok() && HeaderValue::try_from(value.as_str()).is_ok();
            if !is_header {
                return Err(SettingsError::Header(name.clone()));
            }
        }
        Ok(Self(Arc::new(Shared { settings, connection: Mutex::new(None) })))
    }
}

#[async_trait]
impl ToolServer for McpServer {
    async fn tools(&self) -> Result<Arc<[Arc<dyn Tool>]>, Error> {
        let connection = self.0.connection().await?;
        let tool = |listed: &Listed| {
            Arc::new(McpTool { listed: listed.clone(), server: self.0.clone() }) as Arc<dyn Tool>
        };
        Ok(connection.tools.iter().map(tool).collect())
    }
}

impl Shared {
    fn failures(&self) -> Failures {
        Failures { backend: format!("tools `{}`", self.settings.name) }
    }

    /// The connection, made anew if there is none or it has broken.
    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        // Held while connecting: whoever comes meanwhile waits for the same connection.
        let mut connection = self.connection.lock().await;
        if let Some(known) = connection.as_ref().filter(|known| !known.service.is_closed()) {
            return Ok(known.clone());
        }
        let limit = self.settings.reach.connect_timeout.max(self.settings.reach.timeout);
        let made = tokio::time::timeout(limit, Box::pin(self.connect())).await.unwrap_or_else(|_| {
            Err(self.failures().timed_out(format!("it did not start and list its tools within {limit:?}")))
        })?;
        Ok(connection.insert(Arc::new(made)).clone())
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let failures = self.failures();
        let (service, child) = match &self.settings.place {
            Place::Program { command, env, folder } => {
                let (child, transport, stderr) = self.start(command, env, folder.as_ref())?;
                match rmcp::serve_client((), transport).await {
                    Ok(service) => {
                        drain(stderr);
                        (service, Some(child))
                    }
                    Err(error) => {
                        let said = last_words(stderr).await;
                        let said = if said.is_empty() { said } else { format!("; it says: {said}") };
                        return Err(failures.unavailable(format!("it did not start: {error}{said}")));
                    }
                }
            }
            Place::Address(url) => {
                let transport = self.transport(url)?;
                let service = rmcp::serve_client((), transport).await;
                (service.map_err(|error| failures.unavailable(format!("no connection: {error}")))?, None)
            }
        };
        let listed = service.list_all_tools().await;
        let listed =
            listed.map_err(|error| failures.unavailable(format!("it does not list its tools: {error}")))?;
        let tools: Vec<Listed> = listed.iter().map(|tool| self.listed(tool)).collect();
        let only = self.settings.only.as_deref();
        if let Some(missing) =
            only.into_iter().flatten().find(|name| !tools.iter().any(|tool| *tool.spec.name == ***name))
        {
            let names: Vec<&str> = tools.iter().map(|tool| &*tool.spec.name).collect();
            return Err(
                failures.rejected(format!("it has no tool `{missing}`; there are: {}", names.join(", ")))
            );
        }
        let is_wanted =
            |tool: &Listed| only.is_none_or(|only| only.iter().any(|name| *tool.spec.name == **name));
        let tools = tools.into_iter().filter(is_wanted).take(TOOLS_MAX).collect();
        Ok(Connection { service, tools, _child: child })
    }

    fn start(
        &self,
        command: &[String],
        env: &BTreeMap<String, String>,
        folder: Option<&PathBuf>,
    ) -> Result<(Child, Pipes, Option<ChildStderr>), Error> {
        let failures = self.failures();
        let Some((program, args)) = command.split_first() else {
            return Err(failures.rejected("the command is empty"));
        };
        let mut command = Command::new(program);
        command.args(args).env_clear().kill_on_drop(true);
        command.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)))).envs(env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let failed = |error| failures.unavailable(format!("`{program}` cannot be started: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let Some((stdout, stdin)) = child.stdout.take().zip(child.stdin.take()) else {
            return Err(failures.unavailable(format!("`{program}` has no pipes")));
        };
        let pipes =
            AsyncRwTransport::new(stdout, stdin).with_max_line_length(self.settings.reach.max_response_bytes);
        let stderr = child.stderr.take();
        Ok((child, pipes, stderr))
    }

    fn transport(&self, url: &str) -> Result<StreamableHttpClientTransport<reqwest::Client>, Error> {
        let reach = &self.settings.reach;
        let scheme = url.split(':').next().unwrap_or_default();
        let client = client_builder(scheme)
            .dns_resolver(reach.guard.clone())
            // A proxy would resolve names by itself, past the guard; a redirect would lead past the check.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(reach.connect_timeout)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| self.failures().rejected(format!("no HTTP client: {error}")))?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(url);
        config.max_json_response_size = reach.max_response_bytes;
        config.max_sse_event_size = reach.max_response_bytes;
        for (name, value) in &reach.headers {
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                value.set_sensitive(true);
                config.custom_headers.insert(name, value);
            }
        }
        Ok(StreamableHttpClientTransport::with_client(client, config))
    }

    fn listed(&self, tool: &rmcp::model::Tool) -> Listed {
        let hints = tool.annotations.as_ref();
        let is_safe = hints
            .is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true));
        let is_wrapped =
            tool.output_schema.as_ref().is_some_and(|schema| schema.get("x-fastmcp-wrap-result").is_some());
        Listed {
            is_idempotent: is_safe || self.settings.idempotent.contains(&*tool.name),
            is_wrapped,
            spec: ToolSpec {
                name: (&*tool.name).into(),
                description: tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default().into(),
                schema: Value::Object((*tool.input_schema).clone()),
            },
        }
    }
}

/// A tool of a server.
#[derive(Debug)]
struct McpTool {
    listed: Listed,
    server: Arc<Shared>,
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.listed.spec
    }

    fn is_idempotent(&self) -> bool {
        self.listed.is_idempotent
    }

    async fn call(&self, arguments: &Map<String, Value>, call: &Call<'_>) -> Result<ToolAnswer, Error> {
        let failures = self.server.failures();
        let connection = self.server.connection().await?;
        let name = self.listed.spec.name.to_string();
        let mut params = CallToolRequestParams::new(name).with_arguments(arguments.clone());
        if let Some(trace) = call.trace {
            // SEP-414: over pipes there is no header that it could go in.
            params.set_traceparent(trace);
        }
        let limit = self.server.settings.reach.timeout;
        let answered =
            tokio::time::timeout(limit, Box::pin(connection.service.peer().call_tool_once(params))).await;
        let answered =
            answered.map_err(|_| failures.timed_out(format!("no answer within {limit:?} (`timeout`)")))?;
        match answered {
            Ok(CallToolResponse::Complete(result)) => Ok(self.answer(result)),
            Ok(_) => Err(failures
                .rejected(format!("`{}` asks for more input, which nobody can give", self.listed.spec.name))),
            // What the protocol calls an error is about this call: its name, its arguments, what it met with.
            Err(ServiceError::McpError(error)) => Ok(ToolAnswer::error(error.message.to_string())),
            Err(ServiceError::Timeout { .. }) => Err(failures.timed_out("no answer in time")),
            Err(error) => Err(failures.unavailable(error.to_string())),
        }
    }
}

impl McpTool {
    fn answer(&self, result: CallToolResult) -> ToolAnswer {
        let is_error = result.is_error == Some(true);
        let texts: Vec<String> = result
            .content
            .iter()
            .map(|block| match serde_json::to_value(block) {
                Ok(block) => match (
                    block.get("text").and_then(Value::as_str),
                    block.get("type").and_then(Value::as_str),
                ) {
                    (Some(text), _) => text.to_owned(),
                    (None, kind) => format!("[{}]", kind.unwrap_or("something that is no text")),
                },
                Err(_) => "[something that is no text]".to_owned(),
            })
            .collect();
        let text = texts.join("\n");
        let structured = result.structured_content.map(|value| match value {
            Value::Object(mut fields) if self.listed.is_wrapped && fields.len() == 1 => {
                fields.remove("result").unwrap_or(Value::Object(fields))
            }
            value => value,
        });
        if texts.is_empty() {
            return ToolAnswer { value: structured.unwrap_or(Value::Null), text: None, is_error };
        }
        let read =
            || serde_json::from_str(&text).ok().filter(|value: &Value| value.is_object() || value.is_array());
        let value = structured.or_else(read).unwrap_or_else(|| Value::String(text.clone()));
        ToolAnswer { value, text: Some(text.into()), is_error }
    }
}

/// Reads away what a program writes to its standard error, so that it never waits for somebody to do so.
fn drain(stderr: Option<ChildStderr>) {
    if let Some(mut stderr) = stderr {
        tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    }
}

/// The beginning of what a program wrote before it ended.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let Some(stderr) = stderr else { return String::new() };
    let mut said = Vec::new();
    let mut start = stderr.take(STDERR_BYTES);
    // A program that goes on living says nothing more: what came so far is what there is.
    drop(tokio::time::timeout(STDERR_TIME, start.read_to_end(&mut said)).await);
    String::from_utf8_lossy(&said).trim().to_owned()
}
