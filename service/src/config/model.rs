//! What stands behind the name of a model: nothing, a server, recorded exchanges, or a script.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch_backends::pool::settings::{
    AdmissionSettings, AffinitySettings, BreakerSettings, Policy, ProbeSettings, QueueSettings,
};
use anabranch_backends::pool::{PoolSettings, ReplicaSettings};
use anabranch_backends::tokenizer::TABLES;

use super::error::with_hint;
use super::pool::{self, ReplicaConfig};
use super::secret::SecretRef;
use super::server::{ServerConfig, server_fields};
use super::word::{WordOrFields, word_or_fields};

/// What a router in front of the servers reads if nothing else is set: vLLM's production stack does.
const AFFINITY_HEADER: &str = "x-session-id";

/// What stands behind the name of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// No model: readers select sentences of the chunks.
    Extractive,
    /// A server that speaks the OpenAI-compatible API.
    Server(Box<ChatConfig>),
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
    /// How it is reached; with several, the first.
    pub server: ServerConfig,
    /// All servers, at least one.
    pub replicas: Vec<ReplicaConfig>,
    /// What each can take that says nothing itself.
    pub replica: ReplicaSettings,
    /// How calls are spread over them.
    pub pool: PoolSettings,
    /// Header in which a router in front of them is told the session or the run.
    pub affinity_header: Option<String>,
    /// Longest wait between two pieces of a streamed answer.
    pub idle_timeout: Option<Duration>,
    /// Whether answers are streamed.
    pub stream: Option<bool>,
    /// How the tokens of prompts are counted before they are sent.
    pub tokenizer: Option<TokenizerConfig>,
}

/// How the tokens of prompts are counted.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenizerConfig {
    /// By a table of tiktoken.
    Table(String),
    /// By a `tokenizer.json`.
    File(PathBuf),
}

impl TokenizerConfig {
    fn of(text: String) -> Self {
        if Path::new(&text).extension().is_some_and(|extension| extension == "json") {
            Self::File(text.into())
        } else {
            Self::Table(text)
        }
    }
}

impl ChatConfig {
    /// The server at `url`, with defaults for all else.
    pub fn new(url: impl Into<String>) -> Self {
        let server = ServerConfig::new(url);
        Self {
            replicas: vec![ReplicaConfig::new(server.url.clone())],
            server,
            replica: ReplicaSettings::default(),
            pool: PoolSettings::default(),
            affinity_header: None,
            idle_timeout: None,
            stream: None,
            tokenizer: None,
        }
    }
}

impl ModelConfig {
    /// The files that it names.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Replay { path, .. } | Self::Script(path) => vec![path],
            Self::Server(chat) => {
                let keys = chat.replicas.iter_mut().filter_map(|replica| match &mut replica.api_key {
                    Some(SecretRef::File(path)) => Some(path),
                    _ => None,
                });
                let tokenizer = match &mut chat.tokenizer {
                    Some(TokenizerConfig::File(path)) => Some(path),
                    _ => None,
                };
                chat.server.path_mut().into_iter().chain(keys).chain(tokenizer).collect()
            }
            Self::Extractive => Vec::new(),
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
        /// How the tokens of a prompt are counted before it is sent, for budgets: the path of the model's
        /// `tokenizer.json`, or a table of tiktoken such as `o200k_base`. They are estimated, rather too many than too
        /// few, if unset.
        #[serde(default)]
        tokenizer: Option<String>,
        /// Servers of the same model, instead of `url`: calls are spread over them.
        #[serde(default)]
        #[schemars(length(min = 1, max = 64))]
        replicas: Option<Vec<ReplicaConfig>>,
        /// Most calls in flight at a server; 256 if unset.
        #[serde(default)]
        max_in_flight: Option<std::num::NonZeroU32>,
        /// Most tokens of calls in flight at a server, read and written; without a bound if unset.
        #[serde(default)]
        max_in_flight_tokens: Option<std::num::NonZeroU64>,
        /// Which of several servers gets a call; `prefix_affinity` if unset.
        #[serde(default)]
        policy: Option<Policy>,
        /// How much it counts that a server has a prompt's beginning in its cache.
        #[serde(default)]
        affinity: Option<AffinitySettings>,
        /// Header in which a router in front of the servers is told the session or the run, hashed; with
        /// `policy: external`, `x-session-id` if unset.
        #[serde(default)]
        affinity_header: Option<String>,
        /// How many calls wait for a server, and for how long.
        #[serde(default)]
        queue: Option<QueueSettings>,
        /// How the number of calls in flight follows what the servers can take.
        #[serde(default)]
        admission: Option<AdmissionSettings>,
        /// When a server counts as broken, and when it is tried again.
        #[serde(default)]
        breaker: Option<BreakerSettings>,
        /// How servers are looked after between calls; they are not if unset.
        #[serde(default)]
        probe: Option<ProbeSettings>,
        /// Whether identical calls of a tenant that are in flight at once share one, if they are deterministic: with
        /// `temperature: 0` or a seed. They do if unset.
        #[serde(default)]
        single_flight: Option<bool>,
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
    const KEYS: &'static str = "`url`, `replicas`, `replay` or `script`";
    type Fields = ModelFields;

    fn word() -> Self {
        Self::Extractive
    }

    fn fields(mut fields: ModelFields) -> Result<Self, String> {
        let for_servers = fields.of_servers(&[
            ("idle_timeout", fields.idle_timeout.is_some()),
            ("stream", fields.stream.is_some()),
            ("tokenizer", fields.tokenizer.is_some()),
            ("model", fields.model.is_some() && fields.script.is_some()),
            ("max_in_flight", fields.max_in_flight.is_some()),
            ("max_in_flight_tokens", fields.max_in_flight_tokens.is_some()),
            ("policy", fields.policy.is_some()),
            ("affinity", fields.affinity.is_some()),
            ("affinity_header", fields.affinity_header.is_some()),
            ("queue", fields.queue.is_some()),
            ("admission", fields.admission.is_some()),
            ("breaker", fields.breaker.is_some()),
            ("probe", fields.probe.is_some()),
            ("single_flight", fields.single_flight.is_some()),
        ]);
        let replicas = match (&fields.url, fields.replicas.take()) {
            (Some(_), Some(_)) => {
                return Err("a model has only one of `url` and `replicas`".to_owned());
            }
            (Some(url), None) => Some(vec![ReplicaConfig::new(url)]),
            (None, replicas) => replicas,
        };
        let model = fields.model.take();
        let config = match (replicas, fields.replay.take(), fields.script.take()) {
            (Some(replicas), None, None) => {
                return of_servers(fields, replicas, model).map(|chat| Self::Server(Box::new(chat)));
            }
            (None, Some(path), None) => Self::Replay { path, model },
            (None, None, Some(path)) => Self::Script(path),
            (None, None, None) => {
                return Err(with_hint(
                    "the model has neither `url` nor `replicas` nor `replay` nor `script`",
                    "`url: http://localhost:8000` is a server; for no model write `extractive` instead of a mapping",
                ));
            }
            _ => return Err("a model has only one of `url`, `replicas`, `replay` and `script`".to_owned()),
        };
        match for_servers {
            Some(key) => Err(format!("`{key}` is a setting of servers, and this model has no `url`")),
            None => Ok(config),
        }
    }
}

/// The model on `replicas`, with all that `fields` say of servers.
fn of_servers(
    mut fields: ModelFields,
    replicas: Vec<ReplicaConfig>,
    model: Option<String>,
) -> Result<ChatConfig, String> {
    let defaults = PoolSettings::default();
    let pool = PoolSettings {
        policy: fields.policy.unwrap_or_default(),
        affinity: fields.affinity.take().unwrap_or_default(),
        queue: fields.queue.take().unwrap_or_default(),
        admission: fields.admission.take().unwrap_or_default(),
        breaker: fields.breaker.take().unwrap_or_default(),
        probe: fields.probe.take(),
        single_flight: fields.single_flight.unwrap_or(defaults.single_flight),
    };
    if let Some(problem) = pool::problem(&replicas, &pool) {
        return Err(problem);
    }
    let defaults = ReplicaSettings::default();
    let replica = ReplicaSettings {
        max_in_flight: fields.max_in_flight.unwrap_or(defaults.max_in_flight),
        max_in_flight_tokens: fields.max_in_flight_tokens,
        ..defaults
    };
    let is_external = pool.policy == Policy::External;
    let affinity_header =
        fields.affinity_header.take().or_else(|| is_external.then(|| AFFINITY_HEADER.to_owned()));
    let (idle_timeout, stream) = (fields.idle_timeout, fields.stream);
    let tokenizer = fields.tokenizer.take().map(TokenizerConfig::of);
    if let Some(TokenizerConfig::Table(name)) = &tokenizer
        && !TABLES.contains(&name.as_str())
    {
        return Err(with_hint(
            &format!("there is no tokenizer `{name}`"),
            &format!("give the path of the model's `tokenizer.json`, or one of `{}`", TABLES.join("`, `")),
        ));
    }
    let url = replicas.first().map(|replica| replica.url.clone()).unwrap_or_default();
    let server = fields.server(url, model);
    Ok(ChatConfig { server, replicas, replica, pool, affinity_header, idle_timeout, stream, tokenizer })
}
