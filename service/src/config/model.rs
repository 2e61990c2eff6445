//! What stands behind the name of a model: nothing, a server, recorded exchanges, or a script.

use std::path::PathBuf;
use std::time::Duration;

use super::error::with_hint;
use super::server::{ServerConfig, server_fields};
use super::word::{WordOrFields, word_or_fields};

/// What stands behind the name of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// No model: readers select sentences of the chunks.
    Extractive,
    /// A server that speaks the OpenAI-compatible API.
    Server(ChatConfig),
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

/// A server of chat models.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatConfig {
    /// How it is reached.
    pub server: ServerConfig,
    /// Longest wait between two pieces of a streamed answer.
    pub idle_timeout: Option<Duration>,
    /// Whether answers are streamed.
    pub stream: Option<bool>,
}

impl ChatConfig {
    /// The server at `url`, with defaults for all else.
    pub fn new(url: impl Into<String>) -> Self {
        Self { server: ServerConfig::new(url), idle_timeout: None, stream: None }
    }
}

impl ModelConfig {
    /// The file that it names.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Replay { path, .. } | Self::Script(path) => Some(path),
            Self::Server(chat) => chat.server.path_mut(),
            Self::Extractive => None,
        }
    }
}

server_fields! {
    /// Settings of a model. One of `url`, `replay` and `script` says what it is; the others are for `url`. Instead of a
    /// mapping, the word `extractive` is no model at all: readers select sentences of the chunks.
    struct ModelFields {
        /// Address of a server that speaks the OpenAI-compatible API, such as `http://localhost:8000`.
        #[serde(default)]
        url: Option<String>,
        /// With `url`, the model's name on the server: the first that it lists if unset. With `replay`, the name under
        /// which the exchanges were recorded: not needed if there is one only.
        #[serde(default)]
        model: Option<String>,
        /// Longest wait between two pieces of a streamed answer; 30s if unset.
        #[serde(default, deserialize_with = "crate::config::server::duration")]
        #[schemars(with = "Option<String>")]
        idle_timeout: Option<Duration>,
        /// Whether answers are streamed; they are if unset.
        #[serde(default)]
        stream: Option<bool>,
        /// File of exchanges that `--record` wrote; they are answered again, and nothing else.
        #[serde(default)]
        replay: Option<PathBuf>,
        /// YAML file with a list of rules (`contains`, `matches`, `answer`); the first that fits answers.
        #[serde(default)]
        script: Option<PathBuf>,
    }
}

word_or_fields!(ModelConfig, ModelFields);

impl WordOrFields for ModelConfig {
    const NOUN: &'static str = "model";
    const WORD: &'static str = "extractive";
    const KEYS: &'static str = "`url`, `replay` or `script`";
    type Fields = ModelFields;

    fn word() -> Self {
        Self::Extractive
    }

    fn fields(mut fields: ModelFields) -> Result<Self, String> {
        let for_servers = fields.of_servers(&[
            ("idle_timeout", fields.idle_timeout.is_some()),
            ("stream", fields.stream.is_some()),
            ("model", fields.model.is_some() && fields.script.is_some()),
        ]);
        let model = fields.model.take();
        let config = match (fields.url.take(), fields.replay.take(), fields.script.take()) {
            (Some(url), None, None) => {
                let (idle_timeout, stream) = (fields.idle_timeout, fields.stream);
                return Ok(Self::Server(ChatConfig {
                    server: fields.server(url, model),
                    idle_timeout,
                    stream,
                }));
            }
            (None, Some(path), None) => Self::Replay { path, model },
            (None, None, Some(path)) => Self::Script(path),
            (None, None, None) => {
                return Err(with_hint(
                    "the model has neither `url` nor `replay` nor `script`",
                    "`url: http://localhost:8000` is a server; for no model write `extractive` instead of a mapping",
                ));
            }
            _ => return Err("a model has only one of `url`, `replay` and `script`".to_owned()),
        };
        match for_servers {
            Some(key) => Err(format!("`{key}` is a setting of servers, and this model has no `url`")),
            None => Ok(config),
        }
    }
}
