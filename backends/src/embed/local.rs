//! Embeddings of a model folder, on the CPU of this machine.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch_engine::backend::{Call, Embedder, Embeddings, Error, Passage, TokenEmbeddings, Usage, Vector};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use tokio::sync::Semaphore;

mod error;
mod folder;
mod model;
#[cfg(test)]
mod tests;

pub use error::LocalError;
use model::Model;

/// Texts that go through the model together. More are no faster on a CPU and take more memory.
const BATCH_TEXTS: usize = 16;
/// Calls that are worked on at the same time: each takes all cores by itself, and memory for a batch.
const CALLS_MAX: usize = 4;

/// A BERT-like embedding model (all-MiniLM, E5, BGE) from a folder as sentence-transformers writes it, with
/// `config.json`, `tokenizer.json` and `model.safetensors`.
#[derive(Clone)]
pub struct LocalEmbedder {
    model: Arc<Model>,
    calls: Arc<Semaphore>,
}

impl LocalEmbedder {
    /// Reads the model in `folder`.
    pub fn open(folder: &Path) -> Result<Self, LocalError> {
        Ok(Self { model: Arc::new(Model::open(folder)?), calls: Arc::new(Semaphore::new(CALLS_MAX)) })
    }

    /// The vectors of `texts`, worked out on this thread, at most `batch` texts at a time.
    pub fn embed_blocking<T: AsRef<str>>(&self, texts: &[T], batch: usize) -> Result<Vec<Vector>, Error> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        self.model.embed(&texts, batch, &|| false).map(|(vectors, _)| vectors)
    }
}

impl fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEmbedder").field("identity", &self.model.identity()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn identity(&self) -> String {
        self.model.identity().to_owned()
    }

    async fn embed(&self, texts: &[Text], _: Passage, _: &Call<'_>) -> Result<Embeddings, Error> {
        let lost = |error: &dyn fmt::Display| self.model.unavailable(format!("its work was lost: {error}"));
        let turn = self.calls.clone().acquire_owned().await.map_err(|error| lost(&error))?;
        let (model, texts) = (self.model.clone(), texts.to_vec());
        let is_over = Arc::new(AtomicBool::new(false));
        // A thread cannot be stopped from outside: it looks after each batch whether somebody still waits for it.
        let over = RaisedOnDrop(is_over.clone());
        let work = tokio::task::spawn_blocking(move || {
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let found = model.embed(&texts, BATCH_TEXTS, &|| is_over.load(Ordering::Relaxed));
            drop(turn);
            found
        });
        let (vectors, prompt_tokens) = work.await.map_err(|error| lost(&error))??;
        drop(over);
        Ok(Embeddings { vectors, usage: Usage { prompt_tokens, ..Usage::default() } })
    }

    async fn embed_tokens(&self, text: &Text, _: &Call<'_>) -> Result<TokenEmbeddings, Error> {
        let lost = |error: &dyn fmt::Display| self.model.unavailable(format!("its work was lost: {error}"));
        let turn = self.calls.clone().acquire_owned().await.map_err(|error| lost(&error))?;
        let (model, text) = (self.model.clone(), text.clone());
        let work = tokio::task::spawn_blocking(move || {
            let found = model.token_vectors(&text);
            drop(turn);
            found
        });
        let tokens = work.await.map_err(|error| lost(&error))??;
        let prompt_tokens = tokens.len() as u64;
        Ok(TokenEmbeddings { tokens, usage: Usage { prompt_tokens, ..Usage::default() } })
    }
}

struct RaisedOnDrop(Arc<AtomicBool>);

impl Drop for RaisedOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
