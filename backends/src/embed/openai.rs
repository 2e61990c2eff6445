//! Embeddings over the OpenAI-compatible API: vLLM, `SGLang`, llama.cpp, Ollama, TEI, `OpenAI`.

use std::borrow::Cow;
use std::fmt;

use anabranch_engine::backend::{Call, Embedder, Embeddings, Error, Passage};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::unit::{Rows, embeddings};
use crate::encoder::{Answer, Batch, EncoderSettings, Route, Server, in_order, prefixed};
use crate::http::{Root, SettingsError};

const ROUTE: Route = Route { root: Root::Versioned, path: "embeddings" };

/// An embedding model behind `/v1/embeddings`.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    server: Server,
    settings: EncoderSettings,
}

impl OpenAiEmbedder {
    /// The model that `settings` describe. Nothing is sent before the first text.
    pub fn new(settings: EncoderSettings) -> Result<Self, SettingsError> {
        Ok(Self { server: Server::new(&settings, ROUTE, &["embeddings"])?, settings })
    }

    async fn ask(&self, batch: Batch<'_>) -> Result<Rows, Error> {
        let model = self.server.model().await?;
        let dimensions = self.settings.dimensions;
        let body = Body { model, input: batch.texts, encoding_format: "float", dimensions };
        self.server.post(&body, &batch.asked, |answer| read(answer, batch.texts.len())).await
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn identity(&self) -> String {
        self.settings.identity("openai", self.server.settled_name())
    }

    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error> {
        let texts = prefixed(self.settings.prefix(passage), texts);
        let batches = self.server.in_batches(&texts, call, |batch| Box::pin(self.ask(batch)));
        embeddings(batches.await?, self.settings.dimensions, &self.server.failures())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [Cow<'a, str>],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Entry>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<usize>,
    embedding: Row,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tokens {
    prompt_tokens: u64,
    total_tokens: u64,
}

fn read(answer: &Answer<'_>, n_texts: usize) -> Result<Rows, Error> {
    let reply: Reply = answer.parse()?;
    let tokens = reply.usage.unwrap_or_default();
    let found = reply.data.into_iter().map(|entry| (entry.index, entry.embedding.0)).collect();
    let rows = in_order(found, n_texts, answer.failures)?;
    Ok(Rows { rows, n_tokens: tokens.prompt_tokens.max(tokens.total_tokens) })
}

/// A vector as a list of numbers, or as base64 of their little-endian bytes, which some servers send unasked.
struct Row(Vec<f32>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers, or base64")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Row, A::Error> {
        let mut row = Vec::new();
        while let Some(number) = numbers.next_element()? {
            row.push(number);
        }
        Ok(Row(row))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Row, E> {
        let bytes = STANDARD.decode(text).map_err(|error| E::custom(format!("not base64: {error}")))?;
        let (numbers, []) = bytes.as_chunks::<4>() else {
            return Err(E::custom(format!("{} bytes are no list of 32-bit numbers", bytes.len())));
        };
        Ok(Row(numbers.iter().copied().map(f32::from_le_bytes).collect()))
    }
}
