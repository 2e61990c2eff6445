//! `anabranch.yaml`: which models, encoders, indexes and prices there are, and how the service runs. All of it is
//! optional.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anabranch_engine::diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

mod advertise;
mod encoder;
mod error;
mod index;
mod limits;
mod model;
mod pool;
mod price;
mod secret;
mod secrets;
mod server;
mod server_section;
mod store_section;
mod telemetry;
mod tool;
mod word;

pub use advertise::{Advertise, AdvertiseError};
pub use encoder::{
    EmbedderApi, EmbedderConfig, EmbedderFolder, EmbedderServer, Prefixes, RerankerApi, RerankerConfig,
    RerankerServer, Sending,
};
pub use error::{Error, Place, Problem};
pub use index::{EmbedderChoice, IndexConfig, PostgresStore, PostgresUrl, QdrantStore, StoreConfig};
pub use limits::LimitsConfig;
pub use model::{ChatConfig, ModelConfig, TokenizerConfig};
pub use pool::ReplicaConfig;
pub use price::PriceConfig;
pub use secret::{SecretError, SecretRef};
pub use server::ServerConfig;
pub use server_section::ServerSection;
pub use store_section::{Durability, StoreSection, StoreUrl, WakeBy};
pub use telemetry::{ContentLevel, LogFormat, OtlpProtocol, TelemetrySection};
pub use tool::{HttpToolConfig, McpConfig, McpPlace, OpenApiConfig, ProgramConfig, ToolConfig, ToolReach};

/// Where the configuration is looked for if no other file is named.
pub const FILE: &str = "anabranch.yaml";
/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The model, embedder or reranker that flows use if they name none.
pub const DEFAULT: &str = "default";

/// Which models, encoders, indexes and prices flows can use, and where data is kept.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Models by the name that flows give them; `default` is used where a flow names none, and is `extractive` if
    /// it is not set.
    pub models: BTreeMap<String, ModelConfig>,
    /// Embedders by the name that indexes and flows give them; `default` is used where they name none, and is `hashed`
    /// if it is not set.
    pub embedders: BTreeMap<String, EmbedderConfig>,
    /// Rerankers by the name that flows give them; `default` is used where a flow names none, and is `lexical` if it is
    /// not set.
    pub rerankers: BTreeMap<String, RerankerConfig>,
    /// Tools by the name that flows give them; `program`, which runs programs that models write, is there without. A name
    /// that has several tools stands for all of them, `name.tool` for one.
    pub tools: BTreeMap<String, ToolConfig>,
    /// Indexes by the name that flows give them; those with `paths` are built on first use, brought up to date
    /// afterwards.
    pub indexes: BTreeMap<String, IndexConfig>,
    /// Folder for indexes and everything else that is kept.
    pub data: PathBuf,
    /// What tokens cost: of a model by its name, of encoders by `embedders.NAME` and `rerankers.NAME`. What has no price
    /// costs nothing.
    #[serde(deserialize_with = "price::prices")]
    #[schemars(with = "BTreeMap<String, PriceConfig>")]
    pub prices: BTreeMap<String, PriceConfig>,
    /// Where jobs, their journals, flows and keys are kept.
    pub store: StoreSection,
    /// Where the service listens, which flows it starts with, how it stops.
    pub server: ServerSection,
    /// Bounds of the process.
    pub limits: LimitsConfig,
    /// Where traces go and what is in them, and how the log is written.
    pub telemetry: TelemetrySection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: BTreeMap::from([(DEFAULT.to_owned(), ModelConfig::Extractive)]),
            embedders: BTreeMap::from([(DEFAULT.to_owned(), EmbedderConfig::Hashed)]),
            rerankers: BTreeMap::from([(DEFAULT.to_owned(), RerankerConfig::Lexical)]),
            tools: BTreeMap::new(),
            indexes: BTreeMap::new(),
            data: PathBuf::from("./.anabranch"),
            prices: BTreeMap::new(),
            store: StoreSection::default(),
            server: ServerSection::default(),
            limits: LimitsConfig::default(),
            telemetry: TelemetrySection::default(),
        }
    }
}

impl Config {
    /// The configuration in `given`, else in `anabranch.yaml` of the current folder, else the defaults.
    pub fn find(given: Option<&Path>) -> Result<Self, Error> {
        match given {
            Some(path) => Self::load(path),
            None if Path::new(FILE).is_file() => Self::load(Path::new(FILE)),
            None => Ok(Self::default()),
        }
    }

    /// The configuration in the file at `path`; relative paths in it start from its folder.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_BYTES {
            return Err(Error::TooLarge { path: path.to_owned(), max_bytes: MAX_BYTES });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut config = Self::parse(&path.display().to_string(), &text)?;
        config.rebase(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// The configuration in `text`, which `name` stands for in errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        // A file without content, or with comments alone, sets nothing.
        let is_content =
            |line: &str| !matches!(line.trim(), "" | "---") && !line.trim_start().starts_with('#');
        if !text.lines().any(is_content) {
            return Ok(Self::default());
        }
        let mut config: Self = yaml(name, text)?;
        config.models.entry(DEFAULT.to_owned()).or_insert(ModelConfig::Extractive);
        config.embedders.entry(DEFAULT.to_owned()).or_insert(EmbedderConfig::Hashed);
        config.rerankers.entry(DEFAULT.to_owned()).or_insert(RerankerConfig::Lexical);
        let problems = config.problems(name);
        if problems.is_empty() { Ok(config) } else { Err(Error::Invalid(problems)) }
    }

    /// What one part says that another part contradicts, by place.
    fn problems(&self, file: &str) -> Vec<Problem> {
        let problem = |place: Option<Place>, message: String, hint: Option<String>| {
            let place = place.unwrap_or(Place { line: 1, column: 1 });
            Problem { file: file.to_owned(), place, message, hint }
        };
        let mut problems = Vec::new();
        for index in self.indexes.values() {
            if let Some(name) = index.embedder.name()
                && !self.embedders.contains_key(&*name.0)
            {
                let known = self.embedders.keys().map(String::as_str).chain(["none"]);
                let hint = diagnostic::suggest(&name.0, known, "there are");
                problems.push(problem(index.embedder.place, format!("there is no embedder `{name}`"), hint));
            }
        }
        for (name, price) in &self.prices {
            let is_known = match name.split_once('.') {
                Some(("embedders", name)) => self.embedders.contains_key(name),
                Some(("rerankers", name)) => self.rerankers.contains_key(name),
                _ if price.completion.is_none() => {
                    problems.push(problem(price.place, "`completion` is missing".to_owned(), None));
                    true
                }
                _ => true,
            };
            if !is_known {
                let encoders = self.embedders.keys().map(|name| format!("embedders.{name}"));
                let encoders: Vec<String> =
                    encoders.chain(self.rerankers.keys().map(|name| format!("rerankers.{name}"))).collect();
                let hint = diagnostic::suggest(name, encoders.iter().map(String::as_str), "there are");
                problems.push(problem(
                    price.place,
                    format!("there is nothing called `{name}` to price"),
                    hint,
                ));
            }
        }
        problems.sort_by_key(|problem| problem.place);
        problems
    }

    fn rebase(&mut self, folder: &Path) {
        let rebase = |path: &mut PathBuf| {
            // Paths stay as they are written where they can: they become the names of documents.
            if !folder.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        self.models.values_mut().flat_map(ModelConfig::paths_mut).for_each(rebase);
        self.embedders.values_mut().filter_map(EmbedderConfig::path_mut).for_each(rebase);
        self.rerankers.values_mut().filter_map(RerankerConfig::path_mut).for_each(rebase);
        self.indexes.values_mut().flat_map(IndexConfig::paths_mut).for_each(rebase);
        self.tools.values_mut().flat_map(ToolConfig::paths_mut).for_each(rebase);
        self.store.path_mut().into_iter().for_each(rebase);
        self.server.paths_mut().for_each(rebase);
        self.telemetry.paths_mut().for_each(rebase);
        rebase(&mut self.data);
    }
}

/// What `text` says, which `name` stands for in errors.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Error> {
    serde_yaml::from_str(text).map_err(|error| Error::invalid(name, &error))
}

#[cfg(test)]
mod tests;
