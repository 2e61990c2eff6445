//! Where jobs, their journals, flows and keys are kept: the section `store`.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_engine::diagnostic;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::error::with_hint;
use super::index::PostgresUrl;
use super::limits::some_duration;
use super::secret::SecretRef;

/// Where jobs, their journals, flows and keys are kept, how long, and when a step counts as done.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// `sqlite:PATH` (a file on this machine), `postgres://user@host/database` (shared by any number of processes),
    /// `memory` (nothing outlives the process), or where such an address is written if it holds a password:
    /// `${env:NAME}`, `${file:PATH}`. If unset, the file `anabranch.db` in the folder `data`.
    pub url: Option<StoreUrl>,
    /// How long jobs that have ended are kept; 30d if unset.
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "String")]
    pub retention: Duration,
    /// When the nodes after a node may start: `pipelined` (at once, the journal follows; the default) or `step` (once
    /// its result is on disk).
    pub durability: Durability,
    /// How other processes are heard of: `notify` (the default) or `poll`, for databases and poolers that pass no
    /// notifications on.
    pub wake: WakeBy,
}

/// When the nodes after a node may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once its result is on disk.
    Step,
    /// At once; the journal follows, and is waited for before outside effects and before an answer is given.
    #[default]
    Pipelined,
}

/// How a process hears of what others do in the same database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WakeBy {
    /// By notifications of the database, with polling as the safety net.
    #[default]
    Notify,
    /// By asking again and again.
    Poll,
}

/// Which database.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A `PostgreSQL` database.
    Postgres(PostgresUrl),
    /// Nothing is kept.
    Memory,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: None,
            retention: Duration::from_hours(30 * 24),
            durability: Durability::default(),
            wake: WakeBy::default(),
        }
    }
}

impl StoreSection {
    /// The paths in it, which start from the folder of the configuration.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self.url.as_mut()? {
            StoreUrl::Sqlite(path) | StoreUrl::Postgres(PostgresUrl::Secret(SecretRef::File(path))) => {
                Some(path)
            }
            StoreUrl::Postgres(_) | StoreUrl::Memory => None,
        }
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KINDS: [&str; 3] = ["sqlite:PATH", "postgres://user@host/database", "memory"];
        let text = String::deserialize(deserializer)?;
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(D::Error::custom(with_hint("the file is missing", "write `sqlite:PATH`")));
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if text.starts_with("postgres") || SecretRef::parse(&text).is_some() {
            let text = serde::de::value::StringDeserializer::<D::Error>::new(text);
            return PostgresUrl::deserialize(text).map(Self::Postgres);
        }
        let hint = diagnostic::nearest(&text, ["memory"]).map_or_else(
            || format!("write one of `{}`", KINDS.join("`, `")),
            |near| format!("did you mean `{near}`?"),
        );
        // The text is not repeated: it may hold a password.
        Err(D::Error::custom(with_hint("this is no address of a store", &hint)))
    }
}

impl JsonSchema for StoreUrl {
    fn schema_name() -> Cow<'static, str> {
        "StoreUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`sqlite:PATH`, `postgres://user@host/database`, `memory`, `${env:NAME}` or `${file:PATH}`.",
            "pattern": r"^(memory|sqlite:.+|postgres(ql)?://.+|\$\{(env|file):.+\})$",
        })
    }
}
