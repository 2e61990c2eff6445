//! How a server that encodes texts is reached and used.

use std::time::Duration;

use anabranch_engine::backend::Passage;
use secrecy::SecretString;

/// How an embedder or a reranker on a server is reached.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// Its address, such as `http://localhost:8080`. Where the API has versions, `/v1` is added if none is given.
    pub base_url: String,
    /// The model to ask. If unset: the first that the server lists; TEI serves one and is not asked for it. Set it for
    /// vectors that are kept: only then a server with another model is noticed.
    pub model: Option<String>,
    /// Sent as bearer token.
    pub api_key: Option<SecretString>,
    /// Most texts in one request. Those the server finds too large are halved and sent again.
    pub batch_size: usize,
    /// Most requests of a call at the same time.
    pub concurrency: usize,
    /// Put before every query; `"query: "` for models like E5.
    pub query_prefix: String,
    /// Put before every document; `"passage: "` for models like E5.
    pub document_prefix: String,
    /// Length of the vectors, for models that can shorten theirs; as the model gives them if unset.
    pub dimensions: Option<u32>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for one request; a call with several batches sends several.
    pub timeout: Duration,
    /// Most bytes of an answer; reading stops there.
    pub max_response_bytes: usize,
}

impl EncoderSettings {
    /// The server at `base_url`, with defaults for all else.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: None,
            api_key: None,
            batch_size: 32,
            concurrency: 4,
            query_prefix: String::new(),
            document_prefix: String::new(),
            dimensions: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_mins(1),
            max_response_bytes: 8 * 1024 * 1024,
        }
    }

    /// What goes before a text.
    pub(crate) fn prefix(&self, passage: Passage) -> &str {
        match passage {
            Passage::Query => &self.query_prefix,
            Passage::Document => &self.document_prefix,
        }
    }

    /// Names what the vectors of documents come from. The query's prefix is no part of it: changing it leaves the
    /// vectors of an index as they are.
    pub(crate) fn identity(&self, api: &str, model: &str) -> String {
        let dimensions = self.dimensions.map(|n| format!(" dimensions={n}")).unwrap_or_default();
        let prefix = match self.document_prefix.as_str() {
            "" => String::new(),
            prefix => format!(" document_prefix={prefix:?}"),
        };
        format!("{api}:{model}{dimensions}{prefix}")
    }
}
