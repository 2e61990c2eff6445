//! Embedders and rerankers from the configuration.

use std::sync::Arc;

use anabranch_backends::embed::{EncoderSettings, Hashed, OpenAiEmbedder, SettingsError, TeiEmbedder};
use anabranch_backends::pool::{BatchedEmbedder, BatchedReranker};
use anabranch_backends::rerank::{CohereReranker, Lexical, TeiReranker};
use anabranch_engine::backend::{Embedder, Reranker};

use super::{Env, Error, Named, key};
use crate::config::{
    EmbedderApi, EmbedderConfig, EmbedderFolder, Prefixes, RerankerApi, RerankerConfig, Sending, ServerConfig,
};

/// The embedder called `name`.
pub(super) fn embedder(
    name: &str,
    config: &EmbedderConfig,
    env: Env<'_>,
) -> Result<Arc<dyn Embedder>, Error> {
    let what = Named::new("embedder", name);
    match config {
        EmbedderConfig::Hashed => Ok(Arc::new(Hashed)),
        EmbedderConfig::Folder(folder) => local(folder, what),
        EmbedderConfig::Server(config) => {
            let settings = settings(&config.server, config.sending, &what, env)?;
            let Prefixes { query, document } = config.prefixes.clone();
            let settings = EncoderSettings {
                query_prefix: query.unwrap_or_default(),
                document_prefix: document.unwrap_or_default(),
                dimensions: config.dimensions,
                ..settings
            };
            let wrong = |source: SettingsError| Error::Server { what: what.clone(), source };
            let embedder: Arc<dyn Embedder> = match config.api {
                EmbedderApi::Openai => Arc::new(OpenAiEmbedder::new(settings).map_err(wrong)?),
                EmbedderApi::Tei => Arc::new(TeiEmbedder::new(settings).map_err(wrong)?),
            };
            Ok(Arc::new(BatchedEmbedder::new(embedder, config.sending.batch)))
        }
    }
}

/// The reranker called `name`.
pub(super) fn reranker(
    name: &str,
    config: &RerankerConfig,
    env: Env<'_>,
) -> Result<Arc<dyn Reranker>, Error> {
    let what = Named::new("reranker", name);
    match config {
        RerankerConfig::Lexical => Ok(Arc::new(Lexical)),
        RerankerConfig::Server(config) => {
            let settings = settings(&config.server, config.sending, &what, env)?;
            let wrong = |source: SettingsError| Error::Server { what: what.clone(), source };
            let reranker: Arc<dyn Reranker> = match config.api {
                RerankerApi::Tei => Arc::new(TeiReranker::new(settings).map_err(wrong)?),
                RerankerApi::Cohere => Arc::new(CohereReranker::new(settings).map_err(wrong)?),
            };
            Ok(Arc::new(BatchedReranker::new(reranker, config.sending.batch)))
        }
    }
}

fn settings(
    server: &ServerConfig,
    sending: Sending,
    what: &Named,
    env: Env<'_>,
) -> Result<EncoderSettings, Error> {
    let defaults = EncoderSettings::new(&server.url);
    Ok(EncoderSettings {
        model: server.model.clone(),
        api_key: key(server, what, env)?,
        batch_size: sending.batch_size.unwrap_or(defaults.batch_size),
        concurrency: sending.concurrency.unwrap_or(defaults.concurrency),
        connect_timeout: server.connect_timeout.unwrap_or(defaults.connect_timeout),
        timeout: server.timeout.unwrap_or(defaults.timeout),
        max_response_bytes: server.max_response_bytes.unwrap_or(defaults.max_response_bytes),
        ..defaults
    })
}

#[cfg(feature = "local-embeddings")]
fn local(folder: &EmbedderFolder, what: Named) -> Result<Arc<dyn Embedder>, Error> {
    let model = anabranch_backends::embed::LocalEmbedder::open(&folder.path)
        .map_err(|source| Error::Folder { what, source: source.into() })?;
    Ok(Arc::new(super::prefixed::Prefixed::new(model, &folder.prefixes)))
}

#[cfg(not(feature = "local-embeddings"))]
fn local(_: &EmbedderFolder, what: Named) -> Result<Arc<dyn Embedder>, Error> {
    Err(Error::NotBuilt(what))
}
