//! Reranking over the API of Text Embeddings Inference (TEI).

use std::borrow::Cow;

use anabranch_engine::backend::{Call, Error, Reranker, Reranking};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::scores::{Scores, reranking};
use crate::encoder::{Batch, EncoderSettings, Route, Server, prefixed};
use crate::http::{Root, SettingsError};

const ROUTE: Route = Route { root: Root::AsGiven, path: "rerank" };

/// The cross-encoder of a TEI server, behind `/rerank`. Its scores are 0 to 1.
#[derive(Debug)]
pub struct TeiReranker {
    server: Server,
    settings: EncoderSettings,
}

impl TeiReranker {
    /// The model that `settings` describe. Nothing is sent before the first text.
    pub fn new(settings: EncoderSettings) -> Result<Self, SettingsError> {
        Ok(Self { server: Server::new(&settings, ROUTE, &["rerank"])?, settings })
    }

    async fn ask(&self, query: &str, batch: Batch<'_>) -> Result<Scores, Error> {
        let body = Body { query, texts: batch.texts, truncate: true, raw_scores: false };
        let read = self.server.post(&body, &batch.asked, |answer| {
            let ranks: Vec<Rank> = answer.parse()?;
            let found = ranks.into_iter().map(|rank| (rank.index, rank.score)).collect();
            Scores::new(found, batch.texts.len(), answer.n_tokens.unwrap_or_default(), answer.failures)
        });
        read.await
    }
}

#[async_trait]
impl Reranker for TeiReranker {
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
    query: &'a str,
    texts: &'a [Cow<'a, str>],
    truncate: bool,
    raw_scores: bool,
}

#[derive(Deserialize)]
struct Rank {
    index: usize,
    score: f64,
}
