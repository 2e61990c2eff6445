//! `anabranch.yaml`: which models, indexes and prices there are. All of it is optional.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

mod error;
mod model;
mod secret;

pub use error::Error;
pub use model::{ModelConfig, ServerConfig};
pub use secret::{SecretError, SecretRef};

/// Where the configuration is looked for if no other file is named.
pub const FILE: &str = "anabranch.yaml";
/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The model that flows use if they name none.
pub const DEFAULT_MODEL: &str = "default";

/// Which models, indexes and prices flows can use, and where data is kept.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Models by the name that flows give them; `default` is used where a flow names none, and is `extractive` if
    /// it is not set.
    pub models: BTreeMap<String, ModelConfig>,
    /// Indexes by the name that flows give them; built on first use, brought up to date afterwards.
    pub indexes: BTreeMap<String, IndexConfig>,
    /// Folder for indexes and everything else that is kept.
    pub data: PathBuf,
    /// What the tokens of a model cost, by the model's name; a model without prices costs nothing.
    pub prices: BTreeMap<String, PriceConfig>,
    /// Bounds of the process.
    pub limits: LimitsConfig,
}

/// What an index is made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IndexConfig {
    /// Files and folders whose documents are in it.
    pub paths: Vec<PathBuf>,
    /// Flow that turns a document into chunks; by structure if unset.
    #[serde(default)]
    pub flow: Option<PathBuf>,
}

/// Prices per million tokens, in any one currency: that of `cost` budgets.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Tokens read.
    #[serde(deserialize_with = "price")]
    #[schemars(range(min = 0.0))]
    pub prompt: f64,
    /// Tokens read from the server's cache; as `prompt` if unset.
    #[serde(default, deserialize_with = "some_price")]
    #[schemars(range(min = 0.0))]
    pub cached: Option<f64>,
    /// Tokens written.
    #[serde(deserialize_with = "price")]
    #[schemars(range(min = 0.0))]
    pub completion: f64,
}

/// Bounds of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Node executions of a run that are in flight at once.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { concurrency: anabranch_engine::limits::RUN_CONCURRENCY }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: BTreeMap::from([(DEFAULT_MODEL.to_owned(), ModelConfig::Extractive)]),
            indexes: BTreeMap::new(),
            data: PathBuf::from("./.anabranch"),
            prices: BTreeMap::new(),
            limits: LimitsConfig::default(),
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
        config.models.entry(DEFAULT_MODEL.to_owned()).or_insert(ModelConfig::Extractive);
        Ok(config)
    }

    fn rebase(&mut self, folder: &Path) {
        let rebase = |path: &mut PathBuf| {
            // Paths stay as they are written where they can: they become the names of documents.
            if !folder.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        self.models.values_mut().filter_map(ModelConfig::path_mut).for_each(rebase);
        for index in self.indexes.values_mut() {
            index.paths.iter_mut().chain(&mut index.flow).for_each(rebase);
        }
        rebase(&mut self.data);
    }
}

/// What `text` says, which `name` stands for in errors.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Error> {
    serde_yaml::from_str(text).map_err(|error| Error::invalid(name, &error))
}

fn price<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let price = f64::deserialize(deserializer)?;
    if price.is_finite() && price >= 0.0 {
        Ok(price)
    } else {
        Err(serde::de::Error::custom(format!("a price is at least 0, and this is {price}")))
    }
}

fn some_price<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    price(deserializer).map(Some)
}

fn at_least_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("`concurrency` is at least 1")),
        concurrency => Ok(concurrency),
    }
}

#[cfg(test)]
mod tests;
