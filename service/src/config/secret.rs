//! Secrets, by reference: they stay out of files that are shared.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer};

use super::error::with_hint;

/// Where a secret is: `${env:NAME}` or `${file:PATH}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file, without the line end after it.
    File(PathBuf),
}

/// Why there is no secret where a reference points.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or empty.
    #[error("the environment variable `{0}` is not set")]
    Env(String),
    /// The file cannot be read.
    #[error("cannot read the secret in `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has nothing in it.
    #[error("the file `{}` has no secret in it", .0.display())]
    Empty(PathBuf),
}

impl SecretRef {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.trim().strip_prefix("${")?.strip_suffix('}')?.split_once(':')?;
        match (kind, name.trim()) {
            (_, "") => None,
            ("env", name) => Some(Self::Env(name.to_owned())),
            ("file", path) => Some(Self::File(path.into())),
            _ => None,
        }
    }

    /// The secret; `env` looks up environment variables.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<SecretString, SecretError> {
        let secret = match self {
            Self::Env(name) => env(name)
                .filter(|value| !value.trim().is_empty())
                .ok_or_else(|| SecretError::Env(name.clone()))?,
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|source| SecretError::File { path: path.clone(), source })?,
        };
        match (secret.trim(), self) {
            ("", Self::File(path)) => Err(SecretError::Empty(path.clone())),
            (secret, _) => Ok(secret.into()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text is not repeated: it may be the secret itself.
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(with_hint(
                "a secret does not stand in this file, where it would be copied and shared with it",
                "refer to it: `${env:NAME}` or `${file:PATH}`",
            ))
        })
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where a secret is: `${env:NAME}` or `${file:PATH}`.",
            "pattern": r"^\$\{(env|file):.+\}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_secret_is_found_in_the_environment_or_in_a_file() {
        let env = |name: &str| (name == "KEY").then(|| "s3cret".to_owned());
        let found = |text: &str| {
            let secret = SecretRef::parse(text).unwrap().resolve(&env);
            secret.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(found("${env:KEY}").unwrap(), "s3cret");
        assert_eq!(found("${env:NONE}").unwrap_err(), "the environment variable `NONE` is not set");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from a file\n").unwrap();
        assert_eq!(found(&format!("${{file:{}}}", path.display())).unwrap(), "from a file");
        std::fs::write(&path, "\n").unwrap();
        assert!(
            found(&format!("${{file:{}}}", path.display())).unwrap_err().ends_with("has no secret in it")
        );
    }
}
