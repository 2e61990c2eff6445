//! Embeddings over the API of Text Embeddings Inference (TEI).

use std::borrow::Cow;

use anabranch_engine::backend::{Call, Embedder, Embeddings, Error, Passage};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use serde::Serialize;

use super::unit::{Rows, embeddings};
use crate::encoder::{Batch, EncoderSettings, Route, Server, in_order, prefixed};
use crate::http::{Root, SettingsError};

const ROUTE: Route = Route { root: Root::AsGiven, path: "embed" };

/// The embedding model of a TEI server, behind `/embed`.
#[derive(Debug)]
pub struct TeiEmbedder {
    server: Server,
    settings: EncoderSettings,
}

impl TeiEmbedder {
    /// The model that `settings` describe. Nothing is sent before the first text.
    pub fn new(settings: EncoderSettings) -> Result<Self, SettingsError> {
        Ok(Self { server: Server::new(&settings, ROUTE, &["embed"])?, settings })
    }

    async fn ask(&self, batch: Batch<'_>) -> Result<Rows, Error> {
        let body = Body {
            inputs: batch.texts,
            truncate: true,
            normalize: true,
            dimensions: self.settings.dimensions,
        };
        let read = self.server.post(&body, &batch.asked, |answer| {
            let rows: Vec<Vec<f32>> = answer.parse()?;
            let rows = rows.into_iter().map(|row| (None, row)).collect();
            let rows = in_order(rows, batch.texts.len(), answer.failures)?;
            Ok(Rows { rows, n_tokens: answer.n_tokens.unwrap_or_default() })
        });
        read.await
    }
}

#[async_trait]
impl Embedder for TeiEmbedder {
    fn identity(&self) -> String {
        self.settings.identity("tei", self.server.settled_name())
    }

    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error> {
        let texts = prefixed(self.settings.prefix(passage), texts);
        let batches = self.server.in_batches(&texts, call, |batch| Box::pin(self.ask(batch)));
        embeddings(batches.await?, self.settings.dimensions, &self.server.failures())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    inputs: &'a [Cow<'a, str>],
    /// A text longer than the model can read is cut there, as other servers and the local model do.
    truncate: bool,
    normalize: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}
