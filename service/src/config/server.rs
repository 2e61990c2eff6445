//! How a server is reached, whatever it does.

use std::path::PathBuf;
use std::time::Duration;

use anabranch_engine::flow::parse;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::error::with_hint;
use super::secret::SecretRef;

/// How a server is reached, whatever it does.
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
            max_response_bytes: None,
        }
    }

    /// The file that it names.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.api_key {
            Some(SecretRef::File(path)) => Some(path),
            _ => None,
        }
    }
}

/// A mapping that has, besides its own keys, those of every server.
macro_rules! server_fields {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            /// Key for the server.
            #[serde(default)]
            api_key: Option<$crate::config::SecretRef>,
            /// Longest wait for a connection; 10s if unset.
            #[serde(default, deserialize_with = "crate::config::server::duration")]
            #[schemars(with = "Option<String>")]
            connect_timeout: Option<std::time::Duration>,
            /// Longest time for a call; if unset 120s of a model, 60s of an encoder, 30s of a store.
            #[serde(default, deserialize_with = "crate::config::server::duration")]
            #[schemars(with = "Option<String>")]
            timeout: Option<std::time::Duration>,
            /// Most bytes of an answer; 8 MiB if unset.
            #[serde(default, deserialize_with = "crate::config::server::some_count")]
            #[schemars(range(min = 1))]
            max_response_bytes: Option<usize>,
            $($own)*
        }

        impl $name {
            /// The server at `url`.
            fn server(&mut self, url: String, model: Option<String>) -> $crate::config::ServerConfig {
                $crate::config::ServerConfig {
                    url,
                    model,
                    api_key: self.api_key.take(),
                    connect_timeout: self.connect_timeout,
                    timeout: self.timeout,
                    max_response_bytes: self.max_response_bytes,
                }
            }

            #[allow(dead_code, reason = "some are always on a server")]
            /// The first key that only makes sense for a server; `own` are such keys besides those of every server.
            fn of_servers(&self, own: &[(&'static str, bool)]) -> Option<&'static str> {
                let every = [
                    ("api_key", self.api_key.is_some()),
                    ("connect_timeout", self.connect_timeout.is_some()),
                    ("timeout", self.timeout.is_some()),
                    ("max_response_bytes", self.max_response_bytes.is_some()),
                ];
                every.iter().chain(own).find(|(_, is_set)| *is_set).map(|(key, _)| *key)
            }
        }
    };
}
pub(super) use server_fields;

/// A time with its unit, longer than nothing: `120s`, `1m30s`, `500ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse::duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(D::Error::custom(with_hint(
            &format!("`{text}` is no duration"),
            "write a number with its unit: `500ms`, `120s`, `1m30s`",
        ))),
    }
}

/// A whole number that is at least 1.
pub(super) fn some_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("expected a whole number, at least 1")),
        count => Ok(Some(count)),
    }
}
