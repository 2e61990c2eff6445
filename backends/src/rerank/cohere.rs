//! Reranking over the API that Cohere began and Jina and vLLM speak, too.

use std::borrow::Cow;

use anabranch_engine::backend::{Call, Error, Reranker, Reranking};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::scores::{Scores, reranking};
use crate::encoder::{Batch, EncoderSettings, Route, Server, prefixed};
use crate::http::{Root, SettingsError};

const ROUTE: Route = Route { root: Root::Versioned, path: "rerank" };

/// A cross-encoder behind `/v1/rerank` or `/v2/rerank`.
#[derive(Debug)]
pub struct CohereReranker {
    server: Server,
    settings: EncoderSettings,
}

impl CohereReranker {
    /// The model that `settings` describe. Nothing is sent before the first text.
    pub fn new(settings: EncoderSettings) -> Result<Self, SettingsError> {
        Ok(Self { server: Server::new(&settings, ROUTE, &["rerank"])?, settings })
    }

    async fn ask(&self, query: &str, batch: Batch<'_>) -> Result<Scores, Error> {
        let model = self.server.model().await?;
        let n_texts = batch.texts.len();
        let body = Body { model, query, documents: batch.texts, top_n: n_texts };
        let read = self.server.post(&body, &batch.asked, |answer| {
            let reply: Reply = answer.parse()?;
            let found = reply.results.into_iter().map(|result| (result.index, result.relevance_score));
            let n_tokens = reply.usage.unwrap_or_default().total_tokens;
            Scores::new(found.collect(), n_texts, n_tokens, answer.failures)
        });
        read.await
    }
}

#[async_trait]
impl Reranker for CohereReranker {
    fn name(&self) -> &str {
        self.server.name()
    }

    async fn rerank(&self, query: &str, texts: &[Text], call: &Call<'_>) -> Result<Reranking, Error> {
        let query = format!("{}{query}", self.settings.query_prefix);
        let texts = prefixed(&self.settings.document_prefix, texts);
        let batches = self.server.in_batches(&texts, call, |batch| Box::pin(self.ask(&query, batch)));
        Ok(reranking(batches.await?))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [Cow<'a, str>],
    /// All of them: every text is to have a score.
    top_n: usize,
}

#[derive(Deserialize)]
struct Reply {
    results: Vec<Rank>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Rank {
    index: usize,
    relevance_score: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tokens {
    total_tokens: u64,
}
