//! Calls of tools: found by name, made again only where that does no harm, bounded and booked.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Answered, Asked, Cx, Price, ToolEntry, lookup};
use crate::backend::{self, Tool, ToolAnswer, Usage};
use crate::event::FailureKind;
use crate::limits;
use crate::operator::{OpError, ToolName};
use crate::value::Text;

/// A tool with the name that flows give it.
#[derive(Debug, Clone)]
pub struct NamedTool {
    /// `weather`, or `server.tool`.
    pub name: Text,
    /// The tool.
    pub tool: Arc<dyn Tool>,
}

/// The names under which flows know what is called `name`.
pub(super) fn names(name: &str, entry: &ToolEntry) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let ToolEntry::Several(tools) = entry {
        names.extend(tools.iter().map(|tool| format!("{name}.{}", tool.spec().name)));
    }
    names
}

/// Whether its tools only become known when a flow runs.
pub(super) fn is_open(entry: &ToolEntry) -> bool {
    matches!(entry, ToolEntry::Server(_))
}

impl Cx {
    /// The tools called `names`, each once, in that order; the name of a server stands for all that it has.
    pub async fn tools(&self, names: &[ToolName]) -> Result<Vec<NamedTool>, OpError> {
        let mut found: Vec<NamedTool> = Vec::new();
        for name in names {
            for tool in self.tools_called(&name.0).await? {
                if !found.iter().any(|known| known.name == tool.name) {
                    found.push(tool);
                }
            }
        }
        Ok(found)
    }

    async fn tools_called(&self, name: &str) -> Result<Vec<NamedTool>, OpError> {
        let known = &self.run.resources.tools;
        let (server, wanted) = match name.split_once('.') {
            Some((server, wanted)) if !known.contains_key(name) => (server, Some(wanted)),
            _ => (name, None),
        };
        let tools: Arc<[Arc<dyn Tool>]> = match lookup(known, "tool", server)? {
            ToolEntry::One(tool) => {
                if wanted.is_some() {
                    let message = format!("`{server}` is one tool, so there is no tool `{name}`");
                    return Err(OpError::InvalidSetting(message));
                }
                return Ok(vec![NamedTool { name: name.into(), tool: tool.clone() }]);
            }
            ToolEntry::Several(tools) => tools.clone(),
            ToolEntry::Server(server) => server.tools().await?,
        };
        let named = |tool: &Arc<dyn Tool>| NamedTool {
            name: format!("{server}.{}", tool.spec().name).into(),
            tool: tool.clone(),
        };
        let found: Vec<NamedTool> = tools
            .iter()
            .filter(|tool| wanted.is_none_or(|name| *tool.spec().name == *name))
            .map(named)
            .collect();
        if let (Some(wanted), true) = (wanted, found.is_empty()) {
            let all: Vec<&str> = tools.iter().map(|tool| &*tool.spec().name).collect();
            return Err(OpError::InvalidSetting(format!(
                "the tools of `{server}` have no `{wanted}`; there are: {}",
                all.join(", ")
            )));
        }
        Ok(found)
    }

    /// Calls a tool with arguments that satisfy its schema, and books the calls.
    ///
    /// `nth` tells calls of the same tool with the same arguments apart. A tool that can be called twice without harm
    /// is called again, after a while, if it failed in a way that may pass; every other tool is called once.
    pub async fn call_tool(
        &self,
        named: &NamedTool,
        arguments: &Map<String, Value>,
        nth: u64,
    ) -> Result<ToolAnswer, OpError> {
        let asked = serde_json::to_vec(arguments).unwrap_or_default();
        let key = self.call_key([named.name.as_bytes(), asked.as_slice(), &nth.to_le_bytes()]);
        let attempts = if named.tool.is_idempotent() { limits::TOOL_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            let error = match self.call_tool_once(named, arguments, &key).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let OpError::Backend(failure) = &error else { return Err(error) };
            let may_pass = matches!(
                failure.kind(),
                FailureKind::Overloaded | FailureKind::TimedOut | FailureKind::Unavailable
            );
            if attempt >= attempts || !may_pass {
                return Err(error);
            }
            let wait = failure.retry_after().unwrap_or_default();
            let wait = wait.max(limits::TOOL_BACKOFF * attempt);
            let is_over = |deadline: &Instant| Instant::now() + wait >= *deadline;
            if wait > limits::TOOL_BACKOFF_MAX || self.deadline.get().is_some_and(is_over) {
                return Err(error);
            }
            sleep(wait).await;
            attempt += 1;
        }
    }

    async fn call_tool_once(
        &self,
        named: &NamedTool,
        arguments: &Map<String, Value>,
        key: &str,
    ) -> Result<ToolAnswer, OpError> {
        let backend = || format!("tool `{}`", named.name);
        let deadline = Instant::now() + limits::TOOL_CALL;
        let deadline = self.deadline.get().map_or(deadline, |of_node| deadline.min(*of_node));
        let calls = Usage { tool_calls: 1, ..Usage::default() };
        let watch = self.watch(&named.name, &named.tool.spec().name, Asked::Tool(arguments), calls);
        let call = backend::Call { deadline: Some(deadline), ..self.call(key, watch.as_deref()) };
        let (answer, used) = self
            .booked(calls, calls, Price::default(), async {
                let answer =
                    timeout_at(deadline, named.tool.call(arguments, &call)).await.map_err(|_| {
                        let message = format!("no answer within {:?}", limits::TOOL_CALL);
                        backend::Error::TimedOut { backend: backend(), message }
                    })??;
                let answer = match &self.run.resources.redact {
                    Some(redact) if answer.is_error => answer.redacted(&**redact),
                    _ => answer,
                };
                Ok((answer, calls))
            })
            .await;
        if let Some(watch) = &watch {
            watch.ended(answer.as_ref().map(Answered::Tool), &used);
        }
        let answer = answer?;
        self.touch();
        let bytes = answer.words().len();
        if bytes > limits::TOOL_ANSWER_BYTES {
            let message = format!("{bytes} bytes, which is more than {}", limits::TOOL_ANSWER_BYTES);
            return Err(backend::Error::Garbled { backend: backend(), message }.into());
        }
        Ok(answer)
    }
}
