//! What stands behind the name of a tool: an HTTP address, an API that describes itself, a server of tools, programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anabranch_backends::egress::Allowed;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::error::with_hint;
use super::secret::SecretError;
use super::{SecretRef, server};

/// What stands behind the name of a tool.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolConfig {
    /// An HTTP address.
    Http(Box<HttpToolConfig>),
    /// An API with an `OpenAPI` document.
    OpenApi(Box<OpenApiConfig>),
    /// A server that speaks MCP.
    Mcp(Box<McpConfig>),
    /// Programs that models write.
    Program(ProgramConfig),
}

/// How a server of tools is reached, whatever it speaks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolReach {
    /// Headers that go along with every call.
    pub headers: BTreeMap<String, Text>,
    /// Hosts and networks inside that calls may go to.
    pub allow: Vec<Allowed>,
    /// Longest wait for a connection.
    pub connect_timeout: Option<Duration>,
    /// Longest time for a call.
    pub timeout: Option<Duration>,
    /// Most bytes of an answer.
    pub max_response_bytes: Option<usize>,
}

/// A tool behind an HTTP address.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpToolConfig {
    /// What a model is told of it.
    pub about: String,
    /// Its address, with `{argument}` in its path or query.
    pub url: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// JSON Schema of its arguments.
    pub arguments: Value,
    /// Whether calling it twice does no more than calling it once.
    pub idempotent: Option<bool>,
    /// How it is reached.
    pub reach: ToolReach,
}

/// An API with an `OpenAPI` document.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenApiConfig {
    /// The file.
    pub document: PathBuf,
    /// Where it is called, unless the document says so.
    pub url: Option<String>,
    /// The operations that are taken; all if unset.
    pub only: Option<Vec<String>>,
    /// How it is reached.
    pub reach: ToolReach,
}

/// A server that speaks MCP.
#[derive(Debug, Clone, PartialEq)]
pub struct McpConfig {
    /// Where it is.
    pub place: McpPlace,
    /// The tools that are taken; all if unset.
    pub only: Option<Vec<String>>,
    /// Tools that can be called twice without harm, besides those of which the server says so.
    pub idempotent: BTreeSet<String>,
    /// How it is reached.
    pub reach: ToolReach,
}

/// Where a server that speaks MCP is.
#[derive(Debug, Clone, PartialEq)]
pub enum McpPlace {
    /// A program of this machine.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its environment, besides the least that programs need.
        env: BTreeMap<String, Text>,
        /// Where it runs.
        folder: Option<PathBuf>,
    },
    /// An address.
    Address(String),
}

/// What programs may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProgramConfig {
    /// What a program leaves its result in; `ans` if unset.
    pub result: Option<String>,
    /// Most steps of a program: a million, which takes about 50 ms, if unset.
    #[schemars(range(min = 1_000, max = 1_000_000_000))]
    pub steps: Option<u64>,
    /// Most bytes that a program may allocate, given back or not; 64 MiB if unset.
    #[schemars(range(min = 65_536, max = 4_294_967_296_u64))]
    pub memory_bytes: Option<u64>,
    /// Most calls of functions inside each other; 100 if unset.
    #[schemars(range(min = 1, max = 200))]
    pub calls: Option<u32>,
}

/// A text that may refer to secrets: `Bearer ${env:KEY}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Secret(SecretRef),
}

impl Text {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            let end = from.find('}').ok_or_else(|| "a `${` without its `}`".to_owned())?;
            let (reference, after) = from.split_at(end + 1);
            let secret = SecretRef::parse(reference).ok_or_else(|| {
                with_hint("a `${…}` that refers to nothing", "write `${env:NAME}` or `${file:PATH}`")
            })?;
            pieces.extend([Piece::Plain(before.to_owned()), Piece::Secret(secret)]);
            rest = after;
        }
        pieces.push(Piece::Plain(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The text with its secrets; `env` looks up environment variables.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, SecretError> {
        use secrecy::ExposeSecret as _;
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Secret(secret) => text.push_str(secret.resolve(env)?.expose_secret()),
            }
        }
        Ok(text)
    }

    /// The secrets in it.
    fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(secret) => Some(secret),
            Piece::Plain(_) => None,
        })
    }

    fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.iter_mut().filter_map(|piece| match piece {
            Piece::Secret(SecretRef::File(path)) => Some(path),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The keys of a tool, of whichever kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ToolFields {
    /// What a model is told of the tool: what it does and when to use it. Needed with `url` alone.
    about: Option<String>,
    /// An address with `{argument}` in its path or query: the tool itself, or where the operations of `openapi` are called.
    url: Option<String>,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`; GET if unset.
    method: Option<String>,
    /// JSON Schema of the arguments, an object; or its properties alone, all of them required.
    arguments: Option<Value>,
    /// An `OpenAPI` 3 document, as JSON or YAML: each of its operations becomes a tool.
    openapi: Option<PathBuf>,
    /// A program that speaks MCP over its standard input and output, with its arguments.
    command: Option<Vec<String>>,
    /// What the program's environment has besides `PATH`, `HOME` and the like.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    env: Option<BTreeMap<String, Text>>,
    /// Where the program runs.
    folder: Option<PathBuf>,
    /// An address that speaks MCP over streamable HTTP.
    mcp: Option<String>,
    /// Programs that models write, run within these bounds.
    program: Option<ProgramConfig>,
    /// The operations of `openapi`, or the tools of `command` and `mcp`, that are taken; all if unset.
    only: Option<Vec<String>>,
    /// Whether calling it twice does no more than calling it once; by the method if unset. Of a server, the list of such
    /// tools besides those of which it says so itself. Only these are called again when they fail.
    #[schemars(with = "Option<IdempotentSchema>")]
    idempotent: Option<Idempotent>,
    /// Headers that go along with every call; a value may refer to secrets: `Bearer ${env:KEY}`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    headers: Option<BTreeMap<String, Text>>,
    /// Hosts (`tools.internal`, `localhost`) and networks (`10.2.0.0/16`) inside that calls may go to; without it, none.
    #[schemars(with = "Option<Vec<String>>")]
    allow: Option<Vec<Allowed>>,
    /// Longest wait for a connection; 10s if unset.
    #[serde(deserialize_with = "server::duration")]
    #[schemars(with = "Option<String>")]
    connect_timeout: Option<Duration>,
    /// Longest time for a call; 30s if unset.
    #[serde(deserialize_with = "server::duration")]
    #[schemars(with = "Option<String>")]
    timeout: Option<Duration>,
    /// Most bytes of an answer; 1 MiB if unset.
    #[serde(deserialize_with = "server::some_count")]
    #[schemars(range(min = 1))]
    max_response_bytes: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`true`, `false`, or a list of tools")]
enum Idempotent {
    All(bool),
    Some(BTreeSet<String>),
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "a schema alone")]
enum IdempotentSchema {
    All(bool),
    Some(Vec<String>),
}

const KINDS: &str = "`url`, `openapi`, `command`, `mcp` or `program`";

impl ToolFields {
    fn reach(&mut self) -> ToolReach {
        ToolReach {
            headers: self.headers.take().unwrap_or_default(),
            allow: self.allow.take().unwrap_or_default(),
            connect_timeout: self.connect_timeout.take(),
            timeout: self.timeout.take(),
            max_response_bytes: self.max_response_bytes.take(),
        }
    }

    /// The first key that is set and is none of `fitting`.
    fn stray(&self, fitting: &[&str]) -> Option<&'static str> {
        let set = [
            ("about", self.about.is_some()),
            ("url", self.url.is_some()),
            ("method", self.method.is_some()),
            ("arguments", self.arguments.is_some()),
            ("openapi", self.openapi.is_some()),
            ("command", self.command.is_some()),
            ("env", self.env.is_some()),
            ("folder", self.folder.is_some()),
            ("mcp", self.mcp.is_some()),
            ("program", self.program.is_some()),
            ("only", self.only.is_some()),
            ("idempotent", self.idempotent.is_some()),
            ("headers", self.headers.is_some()),
            ("allow", self.allow.is_some()),
            ("connect_timeout", self.connect_timeout.is_some()),
            ("timeout", self.timeout.is_some()),
            ("max_response_bytes", self.max_response_bytes.is_some()),
        ];
        set.into_iter().find(|(key, is_set)| *is_set && !fitting.contains(key)).map(|(key, _)| key)
    }

    fn check(&self, kind: &str, fitting: &[&str]) -> Result<(), String> {
        match self.stray(fitting) {
            Some(key) => Err(with_hint(
                &format!("`{key}` does not go with `{kind}`"),
                &format!("with it there are: {}", fitting.join(", ")),
            )),
            None => Ok(()),
        }
    }
}

impl TryFrom<ToolFields> for ToolConfig {
    type Error = String;

    fn try_from(mut fields: ToolFields) -> Result<Self, String> {
        const REACH: [&str; 5] = ["headers", "allow", "connect_timeout", "timeout", "max_response_bytes"];
        let with_reach = |own: &[&'static str]| [own, &REACH].concat();
        if fields.program.is_some() {
            fields.check("program", &["program"])?;
            return Ok(Self::Program(fields.program.unwrap_or_default()));
        }
        if let Some(document) = fields.openapi.take() {
            fields.check("openapi", &with_reach(&["url", "only"]))?;
            let (url, only, reach) = (fields.url.take(), fields.only.take(), fields.reach());
            return Ok(Self::OpenApi(Box::new(OpenApiConfig { document, url, only, reach })));
        }
        let idempotent = |fields: &mut ToolFields| match fields.idempotent.take() {
            None => Ok(BTreeSet::new()),
            Some(Idempotent::Some(names)) => Ok(names),
            Some(Idempotent::All(_)) => Err(with_hint(
                "a server has many tools",
                "list those that can be called twice: `idempotent: [search]`",
            )),
        };
        if let Some(command) = fields.command.take() {
            let own =
                ["env", "folder", "only", "idempotent", "connect_timeout", "timeout", "max_response_bytes"];
            fields.check("command", &own)?;
            if command.first().is_none_or(|program| program.trim().is_empty()) {
                return Err(with_hint("`command` names no program", "for example `[python3, tools.py]`"));
            }
            let env = fields.env.take().unwrap_or_default();
            let place = McpPlace::Program { command, env, folder: fields.folder.take() };
            let (only, idempotent) = (fields.only.take(), idempotent(&mut fields)?);
            return Ok(Self::Mcp(Box::new(McpConfig { place, only, idempotent, reach: fields.reach() })));
        }
        if let Some(url) = fields.mcp.take() {
            fields.check("mcp", &with_reach(&["only", "idempotent"]))?;
            let (only, idempotent) = (fields.only.take(), idempotent(&mut fields)?);
            let place = McpPlace::Address(url);
            return Ok(Self::Mcp(Box::new(McpConfig { place, only, idempotent, reach: fields.reach() })));
        }
        let Some(url) = fields.url.take() else {
            return Err(with_hint("a tool that is nothing", &format!("give one of {KINDS}")));
        };
        fields.check("url", &with_reach(&["about", "method", "arguments", "idempotent"]))?;
        let Some(about) = fields.about.take().filter(|about| !about.trim().is_empty()) else {
            return Err(with_hint("`about` is missing", "say what the tool does: a model chooses by it"));
        };
        let idempotent = match fields.idempotent.take() {
            None => None,
            Some(Idempotent::All(is_idempotent)) => Some(is_idempotent),
            Some(Idempotent::Some(_)) => {
                return Err("`idempotent` of one tool is `true` or `false`".to_owned());
            }
        };
        Ok(Self::Http(Box::new(HttpToolConfig {
            about,
            url,
            method: fields.method.take().unwrap_or_else(|| "GET".to_owned()),
            arguments: schema(fields.arguments.take())?,
            idempotent,
            reach: fields.reach(),
        })))
    }
}

/// The schema that is meant: whole, or its properties alone.
fn schema(arguments: Option<Value>) -> Result<Value, String> {
    match arguments {
        None | Some(Value::Null) => Ok(json!({ "type": "object", "properties": {} })),
        Some(Value::Object(entries)) => {
            let is_whole = entries.get("type").is_some_and(Value::is_string) || entries.contains_key("$ref");
            if is_whole {
                return Ok(Value::Object(entries));
            }
            let required: Vec<&String> = entries.keys().collect();
            Ok(json!({ "type": "object", "required": required, "properties": entries }))
        }
        Some(_) => Err(with_hint(
            "`arguments` is no JSON Schema",
            "for example `arguments: { city: { type: string } }`",
        )),
    }
}

impl<'de> Deserialize<'de> for ToolConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ToolFields::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ToolConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ToolConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ToolFields::json_schema(generator)
    }
}

impl ToolConfig {
    /// The secrets that it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let (reach, env) = match self {
            Self::Http(http) => (Some(&http.reach), None),
            Self::OpenApi(api) => (Some(&api.reach), None),
            Self::Mcp(mcp) => match &mcp.place {
                McpPlace::Program { env, .. } => (Some(&mcp.reach), Some(env)),
                McpPlace::Address(_) => (Some(&mcp.reach), None),
            },
            Self::Program(_) => (None, None),
        };
        let headers = reach.into_iter().flat_map(|reach| reach.headers.values());
        headers.chain(env.into_iter().flat_map(BTreeMap::values)).flat_map(Text::secrets)
    }

    /// The files and folders that it names.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Http(tool) => tool.reach.headers.values_mut().flat_map(Text::paths_mut).collect(),
            Self::OpenApi(api) => {
                let mut paths = vec![&mut api.document];
                paths.extend(api.reach.headers.values_mut().flat_map(Text::paths_mut));
                paths
            }
            Self::Mcp(server) => {
                let mut paths = Vec::new();
                if let McpPlace::Program { env, folder, .. } = &mut server.place {
                    paths.extend(folder.as_mut());
                    paths.extend(env.values_mut().flat_map(Text::paths_mut));
                }
                paths.extend(server.reach.headers.values_mut().flat_map(Text::paths_mut));
                paths
            }
            Self::Program(_) => Vec::new(),
        }
    }
}
