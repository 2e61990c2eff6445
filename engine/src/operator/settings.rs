//! Setting types that the checker knows: names of what `anabranch.yaml` declares, prompts.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::value::Text;

/// Key in a setting's schema that tells the checker what the setting names: a [`NameKind`] or `prompt`.
pub const SETTING_KIND: &str = "x-anabranch";

/// What a setting can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A model of `anabranch.yaml`.
    Model,
    /// An index.
    Index,
    /// An embedder of `anabranch.yaml`.
    Embedder,
    /// A reranker of `anabranch.yaml`.
    Reranker,
    /// A tool of `anabranch.yaml`, or a server of tools.
    Tool,
}

impl NameKind {
    /// The kind that [`SETTING_KIND`] calls `word`.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Model, Self::Index, Self::Embedder, Self::Reranker, Self::Tool]
            .into_iter()
            .find(|kind| kind.noun() == word)
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Index => "index",
            Self::Embedder => "embedder",
            Self::Reranker => "reranker",
            Self::Tool => "tool",
        }
    }

    /// The section of `anabranch.yaml` that declares them.
    pub fn section(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Index => "indexes",
            Self::Embedder => "embedders",
            Self::Reranker => "rerankers",
            Self::Tool => "tools",
        }
    }
}

macro_rules! named_setting {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $description:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Text);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "minLength": 1, "description": $description, "x-anabranch": $kind })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named_setting!(
    /// The name of a model of `anabranch.yaml`; `default` unless a flow says otherwise.
    ModelName, "model", "Name of a model in anabranch.yaml."
);
named_setting!(
    /// The name of an index.
    IndexName, "index", "Name of an index."
);
named_setting!(
    /// The name of an embedder of `anabranch.yaml`; `default` unless a flow says otherwise.
    EmbedderName, "embedder", "Name of an embedder in anabranch.yaml."
);
named_setting!(
    /// The name of a reranker of `anabranch.yaml`; `default` unless a flow says otherwise.
    RerankerName, "reranker", "Name of a reranker in anabranch.yaml."
);
named_setting!(
    /// The name of a tool of `anabranch.yaml`; of a server with many, its name for all of them or `server.tool` for one.
    ToolName, "tool", "Name of a tool in anabranch.yaml, or of a server of tools, or server.tool."
);
named_setting!(
    /// A prompt template. In a flow: inline text, or the path of a `.md`, `.txt` or `.j2` file beside the flow; the
    /// loader puts the file's text in its place. Its variables are the operator's input ports.
    Prompt, "prompt", "A template (minijinja), or the path of a .md, .txt or .j2 file beside the flow."
);

macro_rules! named_default {
    ($($name:ident),+) => {
        $(impl Default for $name {
            fn default() -> Self {
                Self("default".into())
            }
        })+
    };
}
named_default!(ModelName, EmbedderName, RerankerName);
