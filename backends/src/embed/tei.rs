//! Embeddings over the API of Text Embeddings Inference (TEI).

use std::borrow::Cow;

use anabranch_engine::backend::{
    Call, Embedder, Embeddings, Error, Passage, TokenEmbeddings, TokenVector, Usage,
};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::unit::{Rows, embeddings};
use crate::encoder::{Asked, Batch, EncoderSettings, Route, Server, in_order, prefixed};
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

    /// What the server says at a path beside `/embed`.
    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, key: &Asked<'_>) -> Result<T, Error> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is of one lifetime")]
        self.server.post_to(path, body, key, |answer| answer.parse()).await
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

    async fn embed_tokens(&self, text: &Text, call: &Call<'_>) -> Result<TokenEmbeddings, Error> {
        let prefix = self.settings.prefix(Passage::Document);
        let whole = format!("{prefix}{text}");
        let asked = Asked { key: call.idempotency_key.to_owned(), trace: call.trace };
        let tokens: Vec<Vec<Token>> = self.post("tokenize", &json!({ "inputs": [whole] }), &asked).await?;
        let vectors: Vec<Vec<Vec<f32>>> =
            self.post("embed_all", &json!({ "inputs": [whole], "truncate": true }), &asked).await?;
        let (tokens, vectors) =
            (tokens.into_iter().flatten(), vectors.into_iter().flatten().collect::<Vec<_>>());
        let prompt_tokens = vectors.len() as u64;
        let tokens = placed(text, prefix, tokens, vectors);
        Ok(TokenEmbeddings { tokens, usage: Usage { prompt_tokens, ..Usage::default() } })
    }
}

/// The tokens with their places in the text, without those of the prefix. Of a text that was cut, the vectors end with that
/// of the mark for the end.
fn placed(
    text: &str,
    prefix: &str,
    tokens: impl Iterator<Item = Token>,
    mut vectors: Vec<Vec<f32>>,
) -> Vec<TokenVector> {
    let whole = format!("{prefix}{text}");
    let tokens: Vec<Token> = tokens.collect();
    let end = (tokens.len() > vectors.len() && tokens.last().is_some_and(|token| token.special))
        .then(|| vectors.pop())
        .flatten();
    let mut placed = Vec::with_capacity(vectors.len() + 1);
    let mut from = 0;
    for (token, vector) in tokens.iter().zip(vectors) {
        let written = token.text.trim();
        let found = (!token.special).then(|| whole.get(from..)?.find(written)).flatten();
        // What stands nowhere, such as half a character, has the place where it would be.
        let start = from + found.unwrap_or_default();
        from = start + if found.is_some() { written.len() } else { 0 };
        if from > prefix.len() || token.special {
            let at = |place: usize| place.saturating_sub(prefix.len());
            placed.push(TokenVector { range: at(start)..at(from), vector });
        }
    }
    placed.extend(end.map(|vector| TokenVector { range: text.len()..text.len(), vector }));
    placed
}

/// A token, as `/tokenize` tells of it.
#[derive(Debug, Deserialize)]
struct Token {
    text: String,
    special: bool,
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
