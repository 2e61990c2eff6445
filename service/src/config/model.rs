//! What stands behind the name of a model: nothing, a server, recorded exchanges, or a script.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_engine::diagnostic;
use anabranch_engine::flow::parse;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::error::with_hint;
use super::secret::SecretRef;

/// What stands behind the name of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// No model: readers select sentences of the chunks.
    Extractive,
    /// A server that speaks the OpenAI-compatible API.
    Server(ServerConfig),
    /// Exchanges that were recorded.
    Replay {
        /// The file.
        path: PathBuf,
        /// The name under which they were recorded; not needed if the file has one only.
        model: Option<String>,
    },
    /// Answers by rules.
    Script(PathBuf),
}

/// How a model server is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Its address.
    pub url: String,
    /// The model's name there; the first that the server lists if unset.
    pub model: Option<String>,
    /// Where the key is.
    pub api_key: Option<SecretRef>,
    /// Longest wait for a connection.
    pub connect_timeout: Option<Duration>,
    /// Longest time for a call.
    pub timeout: Option<Duration>,
    /// Longest wait between two pieces of a streamed answer.
    pub idle_timeout: Option<Duration>,
    /// Whether answers are streamed.
    pub stream: Option<bool>,
    /// Most bytes of an answer.
    pub max_response_bytes: Option<usize>,
}

impl ServerConfig {
    /// The server at `url`, with defaults for all else.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: None,
            api_key: None,
            connect_timeout: None,
            timeout: None,
            idle_timeout: None,
            stream: None,
            max_response_bytes: None,
        }
    }
}

impl ModelConfig {
    /// The file that it names.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Replay { path, .. }
            | Self::Script(path)
            | Self::Server(ServerConfig { api_key: Some(SecretRef::File(path)), .. }) => Some(path),
            Self::Extractive | Self::Server(_) => None,
        }
    }
}

/// What stands behind the name of a model: the word `extractive`, or a mapping with one of `url`, `replay`, `script`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes to editors what the visitor below reads")]
enum ModelSchema {
    Word(Word),
    Fields(Box<Fields>),
}

/// A model without any settings.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes to editors what the visitor below reads")]
enum Word {
    /// No model: readers select sentences of the chunks.
    Extractive,
}

/// Settings of a model. One of `url`, `replay` and `script` says what it is; the others are for `url`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Address of a server that speaks the OpenAI-compatible API, such as `http://localhost:8000`.
    #[serde(default)]
    url: Option<String>,
    /// With `url`, the model's name on the server: the first that it lists if unset. With `replay`, the name under
    /// which the exchanges were recorded: not needed if there is one only.
    #[serde(default)]
    model: Option<String>,
    /// Key for the server.
    #[serde(default)]
    api_key: Option<SecretRef>,
    /// Longest wait for a connection; 10s if unset.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "Option<String>")]
    connect_timeout: Option<Duration>,
    /// Longest time for a call; 120s if unset.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "Option<String>")]
    timeout: Option<Duration>,
    /// Longest wait between two pieces of a streamed answer; 30s if unset.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "Option<String>")]
    idle_timeout: Option<Duration>,
    /// Whether answers are streamed; they are if unset.
    #[serde(default)]
    stream: Option<bool>,
    /// Most bytes of an answer; 8 MiB if unset.
    #[serde(default)]
    max_response_bytes: Option<usize>,
    /// File of exchanges that `--record` wrote; they are answered again, and nothing else.
    #[serde(default)]
    replay: Option<PathBuf>,
    /// YAML file with a list of rules (`contains`, `matches`, `answer`); the first that fits answers.
    #[serde(default)]
    script: Option<PathBuf>,
}

impl TryFrom<Fields> for ModelConfig {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let for_servers = [
            ("api_key", fields.api_key.is_some()),
            ("connect_timeout", fields.connect_timeout.is_some()),
            ("timeout", fields.timeout.is_some()),
            ("idle_timeout", fields.idle_timeout.is_some()),
            ("stream", fields.stream.is_some()),
            ("max_response_bytes", fields.max_response_bytes.is_some()),
            ("model", fields.model.is_some() && fields.script.is_some()),
        ];
        let misplaced = || for_servers.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name);
        let config = match (fields.url, fields.replay, fields.script) {
            (Some(url), None, None) => {
                return Ok(Self::Server(ServerConfig {
                    url,
                    model: fields.model,
                    api_key: fields.api_key,
                    connect_timeout: fields.connect_timeout,
                    timeout: fields.timeout,
                    idle_timeout: fields.idle_timeout,
                    stream: fields.stream,
                    max_response_bytes: fields.max_response_bytes,
                }));
            }
            (None, Some(path), None) => Self::Replay { path, model: fields.model },
            (None, None, Some(path)) => Self::Script(path),
            (None, None, None) => {
                return Err(with_hint(
                    "the model has neither `url` nor `replay` nor `script`",
                    "`url: http://localhost:8000` is a server; for no model write `extractive` instead of a mapping",
                ));
            }
            _ => return Err("a model has only one of `url`, `replay` and `script`".to_owned()),
        };
        match misplaced() {
            Some(name) => Err(format!("`{name}` is a setting of servers, and this model has no `url`")),
            None => Ok(config),
        }
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModelVisitor)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = ModelConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`extractive` or a mapping with `url`, `replay` or `script`")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<ModelConfig, E> {
        if word == "extractive" {
            return Ok(ModelConfig::Extractive);
        }
        let hint = if word.contains("://") {
            format!("a server is a mapping: `{{ url: {word} }}`")
        } else {
            let near = diagnostic::nearest(word, ["extractive"]);
            near.map_or_else(
                || "write `extractive`, or a mapping with `url`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            )
        };
        Err(E::custom(with_hint(&format!("there is no kind of model `{word}`"), &hint)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ModelConfig, A::Error> {
        let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
        ModelConfig::try_from(fields).map_err(A::Error::custom)
    }
}

impl JsonSchema for ModelConfig {
    fn schema_name() -> Cow<'static, str> {
        "ModelConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ModelSchema::json_schema(generator)
    }
}

/// A time with its unit, longer than nothing: `120s`, `1m30s`, `500ms`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse::duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(D::Error::custom(with_hint(
            &format!("`{text}` is no duration"),
            "write a number with its unit: `500ms`, `120s`, `1m30s`",
        ))),
    }
}
