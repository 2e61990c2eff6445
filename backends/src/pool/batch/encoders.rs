//! An embedder and a reranker whose calls are gathered.

use std::sync::Arc;

use anabranch_engine::backend::{
    Call, Embedder, Embeddings, Error, Passage, Reranker, Reranking, TokenEmbeddings, Usage, Vector,
};
use anabranch_engine::value::Text;
use async_trait::async_trait;

use super::{BatchSettings, BatchStats, Encode, Gatherer};

/// An embedder whose calls go out together with those that come at the same time.
#[derive(Debug)]
pub struct BatchedEmbedder(Arc<Gatherer<Embeds>>);

impl BatchedEmbedder {
    /// Gathers the calls of `embedder`.
    pub fn new(embedder: Arc<dyn Embedder>, settings: BatchSettings) -> Self {
        Self(Gatherer::new(Embeds(embedder), settings))
    }

    /// Numbers up to now.
    pub fn stats(&self) -> BatchStats {
        self.0.stats()
    }
}

#[async_trait]
impl Embedder for BatchedEmbedder {
    fn identity(&self) -> String {
        self.0.encoder().0.identity()
    }

    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error> {
        let (vectors, usage) = self.0.encode(passage, texts, call).await?;
        Ok(Embeddings { vectors, usage })
    }

    async fn embed_tokens(&self, text: &Text, call: &Call<'_>) -> Result<TokenEmbeddings, Error> {
        // A whole document is a batch by itself.
        self.0.encoder().0.embed_tokens(text, call).await
    }
}

/// A reranker whose calls with the same query go out together when they come at the same time.
#[derive(Debug)]
pub struct BatchedReranker(Arc<Gatherer<Reranks>>);

impl BatchedReranker {
    /// Gathers the calls of `reranker`.
    pub fn new(reranker: Arc<dyn Reranker>, settings: BatchSettings) -> Self {
        Self(Gatherer::new(Reranks(reranker), settings))
    }

    /// Numbers up to now.
    pub fn stats(&self) -> BatchStats {
        self.0.stats()
    }
}

#[async_trait]
impl Reranker for BatchedReranker {
    fn name(&self) -> &str {
        self.0.encoder().0.name()
    }

    async fn rerank(&self, query: &str, texts: &[Text], call: &Call<'_>) -> Result<Reranking, Error> {
        let (scores, usage) = self.0.encode(query.into(), texts, call).await?;
        Ok(Reranking { scores, usage })
    }
}

#[derive(Debug)]
struct Embeds(Arc<dyn Embedder>);

#[async_trait]
impl Encode for Embeds {
    type Key = Passage;
    type Item = Vector;

    async fn encode(
        &self,
        passage: &Passage,
        texts: &[Text],
        call: &Call<'_>,
    ) -> Result<(Vec<Vector>, Usage), Error> {
        let Embeddings { vectors, usage } = self.0.embed(texts, *passage, call).await?;
        Ok((vectors, usage))
    }
}

/// The query is what texts have in common: no server takes several at once.
#[derive(Debug)]
struct Reranks(Arc<dyn Reranker>);

#[async_trait]
impl Encode for Reranks {
    type Key = Text;
    type Item = f64;

    async fn encode(
        &self,
        query: &Text,
        texts: &[Text],
        call: &Call<'_>,
    ) -> Result<(Vec<f64>, Usage), Error> {
        let Reranking { scores, usage } = self.0.rerank(query, texts, call).await?;
        Ok((scores, usage))
    }
}
