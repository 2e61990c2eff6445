//! What an index is made of, and where it is kept.

use std::path::PathBuf;
use std::time::Duration;

use anabranch_engine::operator::EmbedderName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_yaml::Spanned;

use super::DEFAULT;
use super::error::{Place, with_hint};
use super::secret::SecretRef;
use super::server::{ServerConfig, server_fields};
use super::word::{WordOrFields, word_or_fields};

/// What an index is made of, and where it is kept.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Files and folders whose documents are in it: it is brought up to date with them before every run. Without any,
    /// it holds what `anabranch index PATH --into NAME`, or somebody else, puts into it.
    pub paths: Vec<PathBuf>,
    /// Flow that turns a document into chunks; by structure if unset.
    pub flow: Option<PathBuf>,
    /// Embedder of its vectors, by its name in `embedders`; `default` if unset, `none` for an index without vectors.
    #[serde(deserialize_with = "embedder")]
    #[schemars(with = "String")]
    pub embedder: EmbedderChoice,
    /// Where it is kept: `embedded` (a folder below `data`) if unset, or a mapping with `postgres` or `qdrant`.
    pub store: StoreConfig,
}

/// Which embedder makes the vectors of an index.
#[derive(Debug, Clone, Default)]
pub struct EmbedderChoice {
    /// Its name; `None` for no vectors, and outer `None` where nothing is said.
    #[expect(clippy::option_option, reason = "nothing said, `none` said, and a name said are three things")]
    given: Option<Option<EmbedderName>>,
    /// Where it is said.
    pub(super) place: Option<Place>,
}

// Where something is said is no part of what is said.
impl PartialEq for EmbedderChoice {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl EmbedderChoice {
    /// The choice that `word` makes: a name, or `none`.
    pub fn parse(word: &str) -> Self {
        let given = Some((word != "none").then(|| EmbedderName(word.into())));
        Self { given, place: None }
    }

    /// The embedder: `default` where nothing is said, none for an index without vectors.
    pub fn name(&self) -> Option<EmbedderName> {
        match &self.given {
            Some(given) => given.clone(),
            None => Some(EmbedderName(DEFAULT.into())),
        }
    }
}

/// Where an index is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StoreConfig {
    /// In a folder of this machine.
    #[default]
    Embedded,
    /// In a `PostgreSQL` database with pgvector.
    Postgres(PostgresStore),
    /// In a Qdrant server.
    Qdrant(QdrantStore),
}

/// A `PostgreSQL` database with pgvector.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresStore {
    /// Where it is.
    pub url: PostgresUrl,
    /// Schema of the tables.
    pub schema: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Option<Duration>,
    /// Longest time for a statement.
    pub timeout: Option<Duration>,
    /// Whether searches by vector may be approximate, and far faster.
    pub hnsw: bool,
}

/// Where a database is: in the clear, or in a secret, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresUrl {
    /// An address without a password.
    Plain(String),
    /// An address with or without one.
    Secret(SecretRef),
}

/// A Qdrant server.
#[derive(Debug, Clone, PartialEq)]
pub struct QdrantStore {
    /// How it is reached.
    pub server: ServerConfig,
    /// The collection there.
    pub collection: Option<String>,
}

impl IndexConfig {
    /// The files and folders that it names.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secret = match &mut self.store {
            StoreConfig::Postgres(PostgresStore {
                url: PostgresUrl::Secret(SecretRef::File(path)), ..
            }) => Some(path),
            StoreConfig::Qdrant(qdrant) => qdrant.server.path_mut(),
            StoreConfig::Embedded | StoreConfig::Postgres(_) => None,
        };
        self.paths.iter_mut().chain(&mut self.flow).chain(secret)
    }
}

server_fields! {
    /// Where an index is kept: `postgres` or `qdrant`. Instead of a mapping, the word `embedded` is a folder below
    /// `data`.
    struct StoreFields {
        /// Address of a `PostgreSQL` database with pgvector: `postgres://user@host/database`, or where it is written if
        /// it holds a password: `${env:NAME}`, `${file:PATH}`.
        #[serde(default)]
        postgres: Option<PostgresUrl>,
        /// With `postgres`, the schema of the tables; `anabranch` if unset.
        #[serde(default)]
        schema: Option<String>,
        /// With `postgres`, whether searches by vector without a filter go through an approximate index (HNSW): far
        /// faster from some 100,000 chunks on, but some of the nearest chunks may be missed. `false` if unset.
        #[serde(default)]
        hnsw: Option<bool>,
        /// Address of a Qdrant server, such as `http://localhost:6333`.
        #[serde(default)]
        qdrant: Option<String>,
        /// With `qdrant`, the collection; the index's name if unset.
        #[serde(default)]
        collection: Option<String>,
    }
}

word_or_fields!(StoreConfig, StoreFields);

impl WordOrFields for StoreConfig {
    const NOUN: &'static str = "store";
    const WORD: &'static str = "embedded";
    const KEYS: &'static str = "`postgres` or `qdrant`";
    type Fields = StoreFields;

    fn word() -> Self {
        Self::Embedded
    }

    fn fields(mut fields: StoreFields) -> Result<Self, String> {
        match (fields.postgres.take(), fields.qdrant.take()) {
            (Some(url), None) => {
                let of_qdrant = [
                    ("collection", fields.collection.is_some()),
                    ("api_key", fields.api_key.is_some()),
                    ("max_response_bytes", fields.max_response_bytes.is_some()),
                ];
                match of_qdrant.iter().find(|(_, is_set)| *is_set) {
                    Some((key, _)) => {
                        Err(format!("`{key}` is a setting of `qdrant`, and this store is `postgres`"))
                    }
                    None => Ok(Self::Postgres(PostgresStore {
                        url,
                        schema: fields.schema,
                        connect_timeout: fields.connect_timeout,
                        timeout: fields.timeout,
                        hnsw: fields.hnsw.unwrap_or_default(),
                    })),
                }
            }
            (None, Some(_)) if fields.schema.is_some() || fields.hnsw.is_some() => {
                let key = if fields.schema.is_some() { "schema" } else { "hnsw" };
                Err(format!("`{key}` is a setting of `postgres`, and this store is `qdrant`"))
            }
            (None, Some(url)) => {
                let collection = fields.collection.take();
                Ok(Self::Qdrant(QdrantStore { server: fields.server(url, None), collection }))
            }
            (Some(_), Some(_)) => Err("a store has only one of `postgres` and `qdrant`".to_owned()),
            (None, None) => Err(with_hint(
                "the store has neither `postgres` nor `qdrant`",
                "for a folder on this machine write `embedded` instead of a mapping",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for PostgresUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(secret) = SecretRef::parse(&text) {
            return Ok(Self::Secret(secret));
        }
        let address = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let Some(address) = address else {
            // The text is not repeated: it may hold a password.
            return Err(D::Error::custom(with_hint(
                "this is no address of a PostgreSQL database",
                "write `postgres://user@host:5432/database`, or `${env:NAME}`",
            )));
        };
        let authority = address.split(['/', '?']).next().unwrap_or_default();
        let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
            || address.contains("password=");
        if has_password {
            return Err(D::Error::custom(with_hint(
                "a password does not stand in this file, where it would be copied and shared with it",
                "put the whole address elsewhere and refer to it: `${env:NAME}` or `${file:PATH}`",
            )));
        }
        Ok(Self::Plain(text))
    }
}

impl JsonSchema for PostgresUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PostgresUrl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Address of a database without a password, or where it is: `${env:NAME}`, `${file:PATH}`.",
            "pattern": r"^(postgres(ql)?://.+|\$\{(env|file):.+\})$",
        })
    }
}

fn embedder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EmbedderChoice, D::Error> {
    let word = Spanned::<String>::deserialize(deserializer)?;
    Ok(EmbedderChoice { place: Some(Place::of(&word)), ..EmbedderChoice::parse(&word.value) })
}
