//! What stands behind the name of an embedder or a reranker: a stand-in without a model, a server, or a folder.

use std::path::PathBuf;

use anabranch_backends::pool::BatchSettings;
use anabranch_backends::pool::settings::BATCH_WAIT_MAX;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::with_hint;
use super::server::{ServerConfig, server_fields};
use super::word::{WordOrFields, word_or_fields};

/// What stands behind the name of an embedder.
#[derive(Debug, Clone, PartialEq)]
pub enum EmbedderConfig {
    /// No model: vectors of words and letters, which know spelling and no meaning.
    Hashed,
    /// A server.
    Server(EmbedderServer),
    /// A model folder on this machine.
    Folder(EmbedderFolder),
}

/// A server of an embedding model.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedderServer {
    /// How it is reached.
    pub server: ServerConfig,
    /// What it speaks.
    pub api: EmbedderApi,
    /// How texts are sent.
    pub sending: Sending,
    /// What goes before texts.
    pub prefixes: Prefixes,
    /// Length of the vectors that are asked for.
    pub dimensions: Option<u32>,
}

/// An embedding model in a folder of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderFolder {
    /// The folder.
    pub path: PathBuf,
    /// What goes before texts.
    pub prefixes: Prefixes,
}

/// How texts are sent to an encoder's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sending {
    /// Most texts in one request.
    pub batch_size: Option<usize>,
    /// Most requests of one call that are under way at once.
    pub concurrency: Option<usize>,
    /// How calls of the same moment are gathered.
    pub batch: BatchSettings,
}

/// What some models want before a text, so that they can tell queries from documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefixes {
    /// Before a query.
    pub query: Option<String>,
    /// Before a document.
    pub document: Option<String>,
}

/// What an embedder's server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmbedderApi {
    /// `POST /v1/embeddings`, as of `OpenAI`, vLLM, llama.cpp, Ollama.
    #[default]
    Openai,
    /// `POST /embed`, of Text Embeddings Inference.
    Tei,
}

/// What stands behind the name of a reranker.
#[derive(Debug, Clone, PartialEq)]
pub enum RerankerConfig {
    /// No model: the share of the query's words that a text has, rare ones counting more.
    Lexical,
    /// A server.
    Server(RerankerServer),
}

/// A server of a reranking model.
#[derive(Debug, Clone, PartialEq)]
pub struct RerankerServer {
    /// How it is reached.
    pub server: ServerConfig,
    /// What it speaks.
    pub api: RerankerApi,
    /// How texts are sent.
    pub sending: Sending,
}

/// What a reranker's server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RerankerApi {
    /// `POST /rerank`, of Text Embeddings Inference.
    #[default]
    Tei,
    /// `POST /v1/rerank`, as of Cohere, Jina, vLLM.
    Cohere,
}

impl EmbedderConfig {
    /// The file or folder that it names.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Hashed => None,
            Self::Server(embedder) => embedder.server.path_mut(),
            Self::Folder(folder) => Some(&mut folder.path),
        }
    }
}

impl RerankerConfig {
    /// The file that it names.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Lexical => None,
            Self::Server(reranker) => reranker.server.path_mut(),
        }
    }
}

server_fields! {
    /// Settings of an embedder. `url` is a server, `folder` a model on this machine. Instead of a mapping, the word
    /// `hashed` is no model: vectors of words and letters, which know spelling and no meaning.
    struct EmbedderFields {
        /// Address of the server, such as `http://localhost:8080`.
        #[serde(default)]
        url: Option<String>,
        /// Folder with a model of the BERT family: `config.json`, `tokenizer.json`, `model.safetensors`. Needs a
        /// program that was built with `--features local-embeddings`.
        #[serde(default)]
        folder: Option<PathBuf>,
        /// The model's name on the server; the first that it lists if unset.
        #[serde(default)]
        model: Option<String>,
        /// What the server speaks; `openai` if unset.
        #[serde(default)]
        api: Option<EmbedderApi>,
        /// Most texts in one request; 32 if unset.
        #[serde(default, deserialize_with = "crate::config::server::some_count")]
        #[schemars(range(min = 1))]
        batch_size: Option<usize>,
        /// Most requests of one call that are under way at once; 4 if unset.
        #[serde(default, deserialize_with = "crate::config::server::some_count")]
        #[schemars(range(min = 1))]
        concurrency: Option<usize>,
        /// How calls of all runs are gathered: those of the same moment go to the server together. At most 64 texts within
        /// 5ms if unset.
        #[serde(default)]
        batch: Option<BatchSettings>,
        /// What the model wants before a query, such as `query: `; nothing if unset.
        #[serde(default)]
        query_prefix: Option<String>,
        /// What the model wants before a document, such as `passage: `; nothing if unset.
        #[serde(default)]
        document_prefix: Option<String>,
        /// Length of the vectors, for models that can shorten them; the model's own if unset.
        #[serde(default, deserialize_with = "some_dimensions")]
        #[schemars(range(min = 1))]
        dimensions: Option<u32>,
    }
}

word_or_fields!(EmbedderConfig, EmbedderFields);

impl WordOrFields for EmbedderConfig {
    const NOUN: &'static str = "embedder";
    const WORD: &'static str = "hashed";
    const KEYS: &'static str = "`url` or `folder`";
    type Fields = EmbedderFields;

    fn word() -> Self {
        Self::Hashed
    }

    fn fields(mut fields: EmbedderFields) -> Result<Self, String> {
        let for_servers = fields.of_servers(&[
            ("model", fields.model.is_some()),
            ("api", fields.api.is_some()),
            ("batch_size", fields.batch_size.is_some()),
            ("concurrency", fields.concurrency.is_some()),
            ("batch", fields.batch.is_some()),
            ("dimensions", fields.dimensions.is_some()),
        ]);
        let prefixes =
            Prefixes { query: fields.query_prefix.take(), document: fields.document_prefix.take() };
        match (fields.url.take(), fields.folder.take()) {
            (Some(url), None) => {
                let model = fields.model.take();
                let sending = sending(fields.batch_size, fields.concurrency, fields.batch)?;
                Ok(Self::Server(EmbedderServer {
                    server: fields.server(url, model),
                    api: fields.api.unwrap_or_default(),
                    sending,
                    prefixes,
                    dimensions: fields.dimensions,
                }))
            }
            (None, Some(path)) => match for_servers {
                Some(key) => Err(format!("`{key}` is a setting of servers, and this embedder is a folder")),
                None => Ok(Self::Folder(EmbedderFolder { path, prefixes })),
            },
            (Some(_), Some(_)) => Err("an embedder has only one of `url` and `folder`".to_owned()),
            (None, None) => Err(with_hint(
                "the embedder has neither `url` nor `folder`",
                "`url: http://localhost:8080` is a server; for the built-in stand-in write `hashed` instead of a mapping",
            )),
        }
    }
}

server_fields! {
    /// Settings of a reranker on a server. Instead of a mapping, the word `lexical` is no model: the share of the
    /// query's words that a text has, rare ones counting more.
    struct RerankerFields {
        /// Address of the server, such as `http://localhost:8080`.
        #[serde(default)]
        url: Option<String>,
        /// The model's name on the server; the server's own choice if unset.
        #[serde(default)]
        model: Option<String>,
        /// What the server speaks; `tei` if unset.
        #[serde(default)]
        api: Option<RerankerApi>,
        /// Most texts in one request; 32 if unset.
        #[serde(default, deserialize_with = "crate::config::server::some_count")]
        #[schemars(range(min = 1))]
        batch_size: Option<usize>,
        /// Most requests of one call that are under way at once; 4 if unset.
        #[serde(default, deserialize_with = "crate::config::server::some_count")]
        #[schemars(range(min = 1))]
        concurrency: Option<usize>,
        /// How calls of all runs with the same query are gathered: those of the same moment go to the server together. At
        /// most 64 texts within 5ms if unset.
        #[serde(default)]
        batch: Option<BatchSettings>,
    }
}

word_or_fields!(RerankerConfig, RerankerFields);

impl WordOrFields for RerankerConfig {
    const NOUN: &'static str = "reranker";
    const WORD: &'static str = "lexical";
    const KEYS: &'static str = "`url`";
    type Fields = RerankerFields;

    fn word() -> Self {
        Self::Lexical
    }

    fn fields(mut fields: RerankerFields) -> Result<Self, String> {
        let Some(url) = fields.url.take() else {
            return Err(with_hint(
                "the reranker has no `url`",
                "`url: http://localhost:8080` is a server; for the built-in stand-in write `lexical` instead of a mapping",
            ));
        };
        let model = fields.model.take();
        let sending = sending(fields.batch_size, fields.concurrency, fields.batch)?;
        Ok(Self::Server(RerankerServer {
            server: fields.server(url, model),
            api: fields.api.unwrap_or_default(),
            sending,
        }))
    }
}

/// How texts are sent, unless calls would wait for others for too long.
fn sending(
    batch_size: Option<usize>,
    concurrency: Option<usize>,
    batch: Option<BatchSettings>,
) -> Result<Sending, String> {
    let batch = batch.unwrap_or_default();
    if batch.max_wait > BATCH_WAIT_MAX {
        return Err(format!(
            "`batch.max_wait` is {:?}, and can be at most {BATCH_WAIT_MAX:?}",
            batch.max_wait
        ));
    }
    Ok(Sending { batch_size, concurrency, batch })
}

/// A length of vectors.
fn some_dimensions<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("expected a whole number, at least 1")),
        dimensions => Ok(Some(dimensions)),
    }
}
