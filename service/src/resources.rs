//! From the configuration and the command line to what flows can use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::chat::openai::SettingsError;
use anabranch_backends::chat::recorded::TapeError;
use anabranch_backends::chat::scripted::RuleError;
use anabranch_backends::chat::{
    OpenAiChat, OpenAiSettings, Recorder, Recording, Replay, Rule, Scripted, Tape,
};
use anabranch_backends::pool::{PooledChat, Replica};
use anabranch_backends::tokenizer::{self, Tokenizer};
use anabranch_engine::backend::{ChatModel, Redact};
use anabranch_engine::cx::{IndexEntry, Model, Price, Resources};

use anabranch_backends::index::StoreError;
use secrecy::SecretString;

use crate::config::{
    self, ChatConfig, Config, DEFAULT, ModelConfig, PriceConfig, ReplicaConfig, SecretError, ServerConfig,
    TokenizerConfig,
};

mod encoders;
#[cfg(any(feature = "local-embeddings", test))]
mod prefixed;
mod store;
pub(crate) mod tools;

pub use store::open as open_store;

/// What the command line says about models, over what the configuration says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Address of the server behind the model `default`.
    pub model_url: Option<String>,
    /// File that the exchanges of all chat models are recorded in.
    pub record: Option<PathBuf>,
    /// File whose exchanges stand in for all chat models.
    pub replay: Option<PathBuf>,
}

/// What a name of the configuration stands for, for errors: `embedder` and `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is, as people call it.
    pub noun: &'static str,
    /// Its name.
    pub name: String,
}

impl Named {
    /// The `noun` called `name`.
    pub fn new(noun: &'static str, name: &str) -> Self {
        Self { noun, name: name.to_owned() }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.noun, self.name)
    }
}

/// Why a model, an encoder or a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its server cannot be one.
    #[error("{what}")]
    Server {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: SettingsError,
    },
    /// Its key is not there.
    #[error("{what} has no key")]
    Secret {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// It is no tool.
    #[error("{what}")]
    Tool {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: Box<tools::ToolError>,
    },
    /// It is a folder, and this program was built without what it needs.
    #[error(
        "{0} is a model folder, which this program was built without; build it with \
         `cargo install --path service --features local-embeddings`, or give a server's `url`"
    )]
    NotBuilt(Named),
    /// Its tokenizer cannot be used.
    #[error("{what} cannot count tokens")]
    Tokenizer {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: tokenizer::Error,
    },
    /// The model folder cannot be used.
    #[error("{what}")]
    Folder {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot be one.
    #[error("{what}")]
    Store {
        /// What it is.
        what: Named,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The recorded exchanges cannot be used.
    #[error("no recorded exchanges")]
    Tape(#[from] TapeError),
    /// The script cannot be read.
    #[error("cannot read the script `{}`", path.display())]
    ReadScript {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The script is no list of rules.
    #[error("the script is wrong")]
    Script(#[from] config::Error),
    /// A rule of the script is none.
    #[error("the script `{}` is wrong", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RuleError,
    },
    /// Both were asked for.
    #[error("`--record` and `--replay` exclude each other")]
    RecordAndReplay,
}

/// Looks up environment variables.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The schedulers of the models on servers, by the models' names: for their numbers.
pub type Pools = BTreeMap<String, Arc<PooledChat>>;

/// The models, encoders and prices of `config` with `overrides`, together with `indexes`; `env` looks up environment variables.
pub fn resources(
    config: &Config,
    overrides: &Overrides,
    indexes: BTreeMap<String, IndexEntry>,
    env: Env<'_>,
) -> Result<Resources, Error> {
    Ok(with_pools(config, overrides, indexes, env)?.0)
}

/// As [`resources`], with the schedulers of the models on servers.
pub fn with_pools(
    config: &Config,
    overrides: &Overrides,
    indexes: BTreeMap<String, IndexEntry>,
    env: Env<'_>,
) -> Result<(Resources, Pools), Error> {
    let mut pools = Pools::new();
    let mut configured = config.models.clone();
    if let Some(url) = &overrides.model_url {
        configured.insert(DEFAULT.to_owned(), ModelConfig::Server(Box::new(ChatConfig::new(url))));
    }
    place_caches(&mut configured, &config.data);
    let models = match (&overrides.record, &overrides.replay) {
        (Some(_), Some(_)) => return Err(Error::RecordAndReplay),
        (_, Some(path)) => replayed(&configured, &Tape::load(path)?),
        (record, None) => {
            let recording = record.as_ref().map(Recording::open).transpose()?;
            configured
                .iter()
                .map(|(name, config)| {
                    Ok((name.clone(), model(name, config, recording.as_ref(), env, &mut pools)?))
                })
                .collect::<Result<_, Error>>()?
        }
    };
    let prices = config.prices.iter().map(|(name, price)| (name.clone(), per_token(price))).collect();
    let embedders = config
        .embedders
        .iter()
        .map(|(name, config)| Ok((name.clone(), encoders::embedder(name, config, env)?)))
        .collect::<Result<_, Error>>()?;
    let rerankers = config
        .rerankers
        .iter()
        .map(|(name, config)| Ok((name.clone(), encoders::reranker(name, config, env)?)))
        .collect::<Result<_, Error>>()?;
    let tools = tools::tools(config, env)?;
    let redact = Some(config.redactor(env) as Arc<dyn Redact>);
    let resources =
        Resources { models, embedders, rerankers, prices, indexes, tools, redact, ..Resources::default() };
    Ok((resources, pools))
}

/// Answers that models keep on disk have a folder each, below `data`.
fn place_caches(models: &mut BTreeMap<String, ModelConfig>, data: &Path) {
    for (name, config) in models {
        if let ModelConfig::Server(chat) = config
            && let Some(disk) = chat.pool.response_cache.as_mut().and_then(|cache| cache.disk.as_mut())
        {
            // A name of a model may be no name for a folder.
            let folder: String = blake3::hash(name.as_bytes()).to_hex().chars().take(32).collect();
            disk.folder = data.join("responses").join(folder);
        }
    }
}

/// Every chat model answers from `tape`, and so does the default one even if it is none.
///
/// Servers and keys that the configuration names need not be there.
fn replayed(configured: &BTreeMap<String, ModelConfig>, tape: &Arc<Tape>) -> BTreeMap<String, Model> {
    let replay = |name: &str, config: &ModelConfig| {
        if matches!(config, ModelConfig::Extractive) && name != DEFAULT {
            return Model::Extractive;
        }
        Model::Chat(Arc::new(Replay::new(name, tape.clone())))
    };
    configured.iter().map(|(name, config)| (name.clone(), replay(name, config))).collect()
}

fn model(
    name: &str,
    config: &ModelConfig,
    recording: Option<&Arc<Recording>>,
    env: Env<'_>,
    pools: &mut Pools,
) -> Result<Model, Error> {
    let chat: Arc<dyn ChatModel> = match config {
        ModelConfig::Extractive => return Ok(Model::Extractive),
        ModelConfig::Server(server) => {
            let pool = Arc::new(self::pool(name, server, env)?);
            pools.insert(name.to_owned(), pool.clone());
            pool
        }
        ModelConfig::Replay { path, model } => {
            Arc::new(Replay::sole(model.as_deref().unwrap_or(name), &Tape::load(path)?)?)
        }
        ModelConfig::Script(path) => Arc::new(script(path)?),
    };
    Ok(Model::Chat(match recording {
        Some(recording) => Arc::new(Recorder::new(name, chat, recording.clone())),
        None => chat,
    }))
}

/// The scheduler of a model's calls, over all of its servers.
fn pool(name: &str, chat: &ChatConfig, env: Env<'_>) -> Result<PooledChat, Error> {
    let tokenizer = chat.tokenizer.as_ref().map(|config| tokenizer(name, config)).transpose()?;
    let replicas = chat.replicas.iter().map(|replica| {
        let server = Arc::new(server(name, chat, replica, tokenizer.clone(), env)?);
        Ok(Replica {
            name: server.address(),
            model: server.clone(),
            probe: Some(server),
            settings: replica.settings(chat.replica),
        })
    });
    let replicas = replicas.collect::<Result<_, Error>>()?;
    Ok(PooledChat::new(name, &chat.pool, replicas))
}

/// One server of a model.
fn server(
    name: &str,
    chat: &ChatConfig,
    replica: &ReplicaConfig,
    tokenizer: Option<Arc<Tokenizer>>,
    env: Env<'_>,
) -> Result<OpenAiChat, Error> {
    let what = Named::new("model", name);
    let mut config = chat.server.clone();
    config.url.clone_from(&replica.url);
    config.model = replica.model.clone().or(config.model);
    config.api_key = replica.api_key.clone().or(config.api_key);
    let defaults = OpenAiSettings::new(&config.url);
    let settings = OpenAiSettings {
        api_key: key(&config, &what, env)?,
        model: config.model,
        stream: chat.stream.unwrap_or(defaults.stream),
        connect_timeout: config.connect_timeout.unwrap_or(defaults.connect_timeout),
        timeout: config.timeout.unwrap_or(defaults.timeout),
        idle_timeout: chat.idle_timeout.unwrap_or(defaults.idle_timeout),
        max_response_bytes: config.max_response_bytes.unwrap_or(defaults.max_response_bytes),
        affinity_header: chat.affinity_header.clone(),
        tokenizer,
        ..defaults
    };
    OpenAiChat::new(settings).map_err(|source| Error::Server { what, source })
}

/// What counts the tokens of a model's prompts.
fn tokenizer(name: &str, config: &TokenizerConfig) -> Result<Arc<Tokenizer>, Error> {
    let made = match config {
        TokenizerConfig::Table(table) => Tokenizer::table(table),
        TokenizerConfig::File(path) => Tokenizer::file(path),
    };
    made.map(Arc::new).map_err(|source| Error::Tokenizer { what: Named::new("model", name), source })
}

/// The key of a server, if it has one.
fn key(server: &ServerConfig, what: &Named, env: Env<'_>) -> Result<Option<SecretString>, Error> {
    let key = server.api_key.as_ref().map(|key| key.resolve(env)).transpose();
    key.map_err(|source| Error::Secret { what: what.clone(), source })
}

fn script(path: &Path) -> Result<Scripted, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::ReadScript { path: path.to_owned(), source })?;
    let rules: Vec<Rule> = config::yaml(&path.display().to_string(), &text)?;
    Scripted::rules(rules).map_err(|source| Error::Rule { path: path.to_owned(), source })
}

fn per_token(price: &PriceConfig) -> Price {
    const MILLION: f64 = 1_000_000.0;
    Price {
        prompt: price.prompt / MILLION,
        cached: price.cached.unwrap_or(price.prompt) / MILLION,
        completion: price.completion.unwrap_or_default() / MILLION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::backend::{self, Call, ChatRequest, ChatResponse};
    use anabranch_engine::value::{Message, Role};

    fn build(text: &str, overrides: &Overrides) -> Result<Resources, Error> {
        let config = Config::parse(config::FILE, text).unwrap();
        resources(&config, overrides, BTreeMap::new(), &|_| None)
    }

    async fn ask(resources: &Resources, model: &str) -> Result<ChatResponse, backend::Error> {
        let Model::Chat(chat) = &resources.models[model] else { panic!("`{model}` is extractive") };
        let messages = vec![Message { role: Role::User, content: "who?".into() }];
        let call = Call::keyed("key");
        chat.chat(&ChatRequest { messages, ..ChatRequest::default() }, &call).await
    }

    #[test]
    fn without_a_configuration_the_default_model_is_extractive() {
        let resources = build("", &Overrides::default()).unwrap();
        assert!(matches!(resources.models["default"], Model::Extractive));
    }

    #[test]
    fn a_model_url_stands_in_for_the_default_model() {
        let overrides = Overrides { model_url: Some("http://localhost:9".into()), ..Overrides::default() };
        let resources = build("models: { small: extractive }", &overrides).unwrap();
        assert!(matches!(resources.models["default"], Model::Chat(_)));
        assert!(matches!(resources.models["small"], Model::Extractive));
        let overrides = Overrides { model_url: Some("localhost".into()), ..Overrides::default() };
        assert!(
            matches!(build("", &overrides).unwrap_err(), Error::Server { what, .. } if what.name == "default")
        );
    }

    #[tokio::test]
    async fn what_was_recorded_with_a_script_is_replayed_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, tape) = (folder.path().join("rules.yaml"), folder.path().join("tape.jsonl"));
        std::fs::write(&rules, "- contains: who\n  answer: Ada\n").unwrap();
        let text = format!("models: {{ default: {{ script: {} }} }}", rules.display());
        let record = Overrides { record: Some(tape.clone()), ..Overrides::default() };
        assert_eq!(ask(&build(&text, &record).unwrap(), "default").await.unwrap().text, "Ada");
        let replay = Overrides { replay: Some(tape.clone()), ..Overrides::default() };
        let resources = build("models: { other: { url: http://h, api_key: '${env:NO}' } }", &replay).unwrap();
        assert_eq!(ask(&resources, "default").await.unwrap().text, "Ada", "although it would be extractive");
        assert!(matches!(ask(&resources, "other").await, Err(backend::Error::Rejected { .. })));
        let canned =
            build(&format!("models: {{ canned: {{ replay: {} }} }}", tape.display()), &Overrides::default());
        assert_eq!(ask(&canned.unwrap(), "canned").await.unwrap().text, "Ada");
        let both = Overrides { replay: Some(tape.clone()), ..record };
        assert!(matches!(build("", &both), Err(Error::RecordAndReplay)));
    }

    #[test]
    fn a_wrong_script_is_named_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yaml");
        std::fs::write(&rules, "- contains: who\n  anwser: Ada\n").unwrap();
        let text = format!("models: {{ default: {{ script: {} }} }}", rules.display());
        let Err(Error::Script(error)) = build(&text, &Overrides::default()) else { panic!() };
        assert_eq!(
            error.to_string(),
            format!("{}:2:3: unknown key `anwser`\nhint: did you mean `answer`?", rules.display())
        );
    }

    #[test]
    fn a_missing_key_names_its_model_and_its_variable() {
        let error = build("models: { big: { url: http://h, api_key: '${env:NO}' } }", &Overrides::default());
        let Err(Error::Secret { what, source }) = error else { panic!() };
        assert_eq!(
            (what.name.as_str(), source.to_string().as_str()),
            ("big", "the environment variable `NO` is not set")
        );
    }

    #[test]
    fn encoders_are_there_without_a_configuration_and_as_configured() {
        let names = build("", &Overrides::default()).unwrap().names();
        assert_eq!(names.embedders, ["default".to_owned()].into());
        assert_eq!(names.rerankers, ["default".to_owned()].into());
        let text = "embedders:\n  default: { url: http://h:1/v1, model: e5, document_prefix: \"passage: \" }\n  \
                    near: { url: http://h:2, api: tei }\n  words: hashed\n\
                    rerankers:\n  default: { url: http://h:3, model: bge }\n  other: { url: http://h:4, api: cohere }\n";
        let resources = build(text, &Overrides::default()).unwrap();
        let identity = |name: &str| resources.embedders[name].identity();
        assert!(identity("default").contains("e5") && identity("default").contains("passage"));
        assert_ne!(identity("near"), identity("words"));
        assert_eq!(resources.rerankers["default"].name(), "bge");
        assert_eq!(resources.names().rerankers.len(), 2);
    }

    #[test]
    fn an_encoder_that_cannot_be_one_is_named() {
        let error = |text: &str| crate::exit::chain(&build(text, &Overrides::default()).unwrap_err());
        let text = "embedders: { far: { url: localhost } }";
        assert!(error(text).starts_with("embedder `far`: "), "{}", error(text));
        let text = "rerankers: { far: { url: http://h, api_key: '${env:NO}' } }";
        assert_eq!(error(text), "reranker `far` has no key: the environment variable `NO` is not set");
    }

    #[cfg(not(feature = "local-embeddings"))]
    #[test]
    fn a_model_folder_says_how_to_build_the_program() {
        let text = "embedders: { near: { folder: models/minilm } }";
        let error = build(text, &Overrides::default()).unwrap_err().to_string();
        assert!(
            error.contains("embedder `near`") && error.contains("--features local-embeddings"),
            "{error}"
        );
    }

    #[test]
    fn prices_are_given_for_a_million_tokens() {
        let resources =
            build("prices: { default: { prompt: 2, completion: 6 } }", &Overrides::default()).unwrap();
        assert_eq!(resources.prices["default"], Price { prompt: 2e-6, cached: 2e-6, completion: 6e-6 });
    }
}
