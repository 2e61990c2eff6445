//! Servers of tools that speak the Model Context Protocol: a program of this machine, or an HTTP address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anabranch_engine::backend::{Call, Error, Tool, ToolAnswer, ToolServer, ToolSpec};
use async_trait::async_trait;
use reqwest::header::HeaderMap;
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
use crate::http::Failures;

/// Most tools that are taken from one server.
pub const TOOLS_MAX: usize = 1_000;
/// Longest line that a program may always write, in bytes: the list of its tools is one.
const LINE_BYTES: usize = 16 << 20;
/// How much of what a program writes to its standard error is told when it does not start, in bytes.
const STDERR_BYTES: usize = 2_048;
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
    /// What goes along with every call.
    headers: HeaderMap,
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
        let headers = settings.reach.header_map()?;
        Ok(Self(Arc::new(Shared { settings, headers, connection: Mutex::new(None) })))
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
        let is_alive = |known: &&Arc<Connection>| {
            // A program that ended closes the transport, not the service.
            !known.service.is_closed() && !known.service.is_transport_closed()
        };
        if let Some(known) = connection.as_ref().filter(is_alive) {
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
                let (child, transport, said) = self.start(command, env, folder.as_ref())?;
                match rmcp::serve_client((), transport).await {
                    Ok(service) => (service, Some(child)),
                    Err(error) => {
                        let said = said.words().await;
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
    ) -> Result<(Child, Pipes, Said), Error> {
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
        // A longer line is passed over as if it had never come, so what is only too long an answer has to get through.
        let line = self.settings.reach.max_response_bytes.saturating_mul(4).max(LINE_BYTES);
        let pipes = AsyncRwTransport::new(stdout, stdin).with_max_line_length(line);
        let said = Said::listen(child.stderr.take());
        Ok((child, pipes, said))
    }

    fn transport(&self, url: &str) -> Result<StreamableHttpClientTransport<reqwest::Client>, Error> {
        let reach = &self.settings.reach;
        let scheme = url.split(':').next().unwrap_or_default();
        let client = reach.client(scheme).pool_max_idle_per_host(0).build();
        let client = client.map_err(|error| self.failures().rejected(format!("no HTTP client: {error}")))?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(url);
        config.max_json_response_size = reach.max_response_bytes;
        config.max_sse_event_size = reach.max_response_bytes;
        config.custom_headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
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
            Ok(CallToolResponse::Complete(result)) => {
                let answer = self.answer(result);
                let most = self.server.settings.reach.max_response_bytes;
                if answer.words().len() > most {
                    return Err(failures
                        .garbled(format!("its answer has more than {most} bytes (`max_response_bytes`)")));
                }
                Ok(answer)
            }
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

/// What a program writes to its standard error: read from the start, so that it never waits for somebody to do so, and
/// kept as far as it is told.
struct Said {
    start: Arc<std::sync::Mutex<Vec<u8>>>,
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Said {
    fn listen(stderr: Option<ChildStderr>) -> Self {
        let start = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = start.clone();
        let read = |mut stderr: ChildStderr| async move {
            let mut piece = [0; 4_096];
            while let Ok(n @ 1..) = stderr.read(&mut piece).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let left = STDERR_BYTES.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(piece.get(..left).unwrap_or_default());
            }
        };
        Self { start, reading: stderr.map(|stderr| tokio::spawn(read(stderr))) }
    }

    /// The beginning of what it wrote before it ended.
    async fn words(self) -> String {
        if let Some(reading) = self.reading {
            // A program that goes on living says nothing more: what came so far is what there is.
            drop(tokio::time::timeout(STDERR_TIME, reading).await);
        }
        let said = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one call and ends: `$1` is what it answers with.
    const ONCE: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) r='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"once","version":"1"}}' ;;
    *'"tools/list"'*) r='{"tools":[{"name":"say","description":"Says it.","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) r='{"content":[{"type":"text","text":"'"$1"'"}]}' ;;
    *) continue ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
  case "$line" in *'"tools/call"'*) exit 0 ;; esac
done
"#;

    fn server(says: &str, reach: Reach) -> McpServer {
        let command = ["sh", "-c", ONCE, "sh", says].map(str::to_owned).to_vec();
        McpServer::new(McpSettings {
            name: "once".to_owned(),
            place: Place::Program { command, env: BTreeMap::new(), folder: None },
            reach,
            only: None,
            idempotent: BTreeSet::new(),
        })
        .unwrap()
    }

    async fn say(server: &McpServer) -> Result<ToolAnswer, Error> {
        let tools = server.tools().await?;
        tools[0].call(&Map::new(), &Call::keyed("k")).await
    }

    #[tokio::test]
    async fn a_program_that_has_ended_is_started_again() {
        let server = server("hello", Reach::default());
        for _ in 0..3 {
            let said = match say(&server).await {
                // It may end at the very moment of the call; then its end is known.
                Err(Error::Unavailable { .. }) => say(&server).await,
                said => said,
            };
            assert_eq!(said.unwrap().value, "hello");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_told_at_once() {
        let reach = Reach { max_response_bytes: 1_000, ..Reach::default() };
        let error = say(&server(&"x".repeat(2_000), reach)).await.unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes (`max_response_bytes`)"), "{error}");
    }
}
