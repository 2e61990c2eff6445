//! The tools of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anabranch_backends::egress::Guard;
use anabranch_backends::program::Limits;
use anabranch_backends::tool::http::openapi::{self, Operations};
use anabranch_backends::tool::http::{HttpServer, HttpSettings, Reach, SettingsError};
use anabranch_backends::tool::mcp::{McpServer, McpSettings, Place};
use anabranch_backends::tool::program::{ProgramTool, RESULT};
use anabranch_engine::backend::{Tool, ToolSpec};
use anabranch_engine::cx::ToolEntry;
use anabranch_engine::operator::PROGRAM_TOOL;
use serde_json::Value;

use super::{Env, Error, Named};
use crate::config::{
    Config, McpConfig, McpPlace, OpenApiConfig, ProgramConfig, SecretError, ToolConfig, ToolReach,
};

/// Largest `OpenAPI` document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Why a tool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Its settings describe none.
    #[error("it cannot be one")]
    Settings(#[from] SettingsError),
    /// A secret is not there.
    #[error("a secret that it refers to is missing")]
    Secret(#[from] SecretError),
    /// Its document cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its document is too large, or neither JSON nor YAML.
    #[error("`{path}` is no OpenAPI document: {why}")]
    Document {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The tools that are there without any configuration.
pub(crate) fn built_in() -> BTreeMap<String, ToolEntry> {
    [(PROGRAM_TOOL.to_owned(), program(PROGRAM_TOOL, &ProgramConfig::default()))].into()
}

/// The tools of `config`, and those that are there without it.
pub(super) fn tools(config: &Config, env: Env<'_>) -> Result<BTreeMap<String, ToolEntry>, Error> {
    let mut tools = built_in();
    for (name, tool) in &config.tools {
        let entry = entry(name, tool, env);
        let named = |source| Error::Tool { what: Named::new("tool", name), source: Box::new(source) };
        tools.insert(name.clone(), entry.map_err(named)?);
    }
    Ok(tools)
}

/// The names under which flows know the tools of `config`, and the servers that only tell theirs when a flow runs.
pub(crate) fn names(config: &Config) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut tools, mut servers) = (BTreeSet::from([PROGRAM_TOOL.to_owned()]), BTreeSet::new());
    for (name, tool) in &config.tools {
        tools.insert(name.clone());
        match tool {
            ToolConfig::Http(_) | ToolConfig::Program(_) => {}
            ToolConfig::Mcp(_) => {
                servers.insert(name.clone());
            }
            // What is wrong with a document is told when the tools are needed.
            ToolConfig::OpenApi(api) => match operations(api) {
                Ok(found) => {
                    tools.extend(
                        found.tools.iter().map(|operation| format!("{name}.{}", operation.spec.name)),
                    );
                }
                Err(_) => {
                    servers.insert(name.clone());
                }
            },
        }
    }
    (tools, servers)
}

/// What `tool` is, as flows use it.
pub(crate) fn entry(name: &str, tool: &ToolConfig, env: Env<'_>) -> Result<ToolEntry, ToolError> {
    match tool {
        ToolConfig::Program(config) => Ok(program(name, config)),
        ToolConfig::Http(config) => {
            let spec = ToolSpec {
                name: name.into(),
                description: config.about.trim().into(),
                schema: config.arguments.clone(),
            };
            let settings = HttpSettings {
                spec,
                method: config.method.clone(),
                url: config.url.clone(),
                placement: None,
                idempotent: config.idempotent,
            };
            let server = HttpServer::new(reach(&config.reach, env)?)?;
            Ok(ToolEntry::One(Arc::new(server.tool(settings)?)))
        }
        ToolConfig::OpenApi(api) => {
            let server = HttpServer::new(reach(&api.reach, env)?)?;
            let found = operations(api)?;
            for (operation, why) in &found.left_out {
                tracing::warn!(tool = name, operation, why, "an operation cannot be called and is left out");
            }
            let tools =
                found.tools.into_iter().map(|settings| Ok(Arc::new(server.tool(settings)?) as Arc<dyn Tool>));
            Ok(ToolEntry::Several(tools.collect::<Result<_, SettingsError>>()?))
        }
        ToolConfig::Mcp(config) => Ok(ToolEntry::Server(Arc::new(McpServer::new(mcp(name, config, env)?)?))),
    }
}

fn program(name: &str, config: &ProgramConfig) -> ToolEntry {
    let defaults = Limits::default();
    let limits = Limits {
        steps: config.steps.unwrap_or(defaults.steps),
        memory_bytes: config.memory_bytes.unwrap_or(defaults.memory_bytes),
        calls: config.calls.unwrap_or(defaults.calls),
        ..defaults
    };
    let result = config.result.clone().unwrap_or_else(|| RESULT.to_owned());
    ToolEntry::One(Arc::new(ProgramTool::new(name, result, limits)))
}

fn reach(config: &ToolReach, env: Env<'_>) -> Result<Reach, SecretError> {
    let defaults = Reach::default();
    let headers = config.headers.iter().map(|(name, value)| Ok((name.clone(), value.resolve(env)?)));
    Ok(Reach {
        headers: headers.collect::<Result<_, SecretError>>()?,
        guard: Guard::new(config.allow.iter().cloned()),
        connect_timeout: config.connect_timeout.unwrap_or(defaults.connect_timeout),
        timeout: config.timeout.unwrap_or(defaults.timeout),
        max_response_bytes: config.max_response_bytes.unwrap_or(defaults.max_response_bytes),
    })
}

fn mcp(name: &str, config: &McpConfig, env: Env<'_>) -> Result<McpSettings, SecretError> {
    let place = match &config.place {
        McpPlace::Address(url) => Place::Address(url.clone()),
        McpPlace::Program { command, env: own, folder } => Place::Program {
            command: command.clone(),
            env: own
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.resolve(env)?)))
                .collect::<Result<_, SecretError>>()?,
            folder: folder.clone(),
        },
    };
    Ok(McpSettings {
        name: name.to_owned(),
        place,
        reach: reach(&config.reach, env)?,
        only: config.only.clone(),
        idempotent: config.idempotent.clone(),
    })
}

fn operations(api: &OpenApiConfig) -> Result<Operations, ToolError> {
    let document = document(&api.document)?;
    let sent: Vec<&str> = api.reach.headers.keys().map(String::as_str).collect();
    Ok(openapi::operations(&document, api.url.as_deref(), api.only.as_deref(), &sent)?)
}

fn document(path: &Path) -> Result<Value, ToolError> {
    let shown = || path.display().to_string();
    let unreadable = |source| ToolError::Read { path: shown(), source };
    let wrong = |why: String| ToolError::Document { path: shown(), why };
    if std::fs::metadata(path).map_err(unreadable)?.len() > DOCUMENT_BYTES_MAX {
        return Err(wrong(format!("it has more than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // JSON is read as what it is: a YAML reader takes its time for large files.
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| wrong(error.to_string()));
    }
    serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))
}
