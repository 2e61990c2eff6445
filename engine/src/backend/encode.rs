//! Encoders: embedders, which turn texts into vectors, and rerankers, which score texts against a query.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Call, Error, Usage};
use crate::value::Text;

/// The place of a text in a space where near means alike. Of unit length, so that a dot product is a cosine.
pub type Vector = Arc<[f32]>;

/// What a text is to be embedded as: some models are trained to tell the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Passage {
    /// Something to look for.
    Query,
    /// Something to be found.
    Document,
}

/// What an embedder answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector a text, in the order of the texts, all of one length, each of unit norm.
    pub vectors: Vec<Vector>,
    /// What it took; `encoder_calls` and `cost` are filled in by the engine.
    pub usage: Usage,
}

/// A token of a text, before all of them are made into one vector.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenVector {
    /// Its bytes in the text; an empty range for what the model puts before or after it.
    pub range: Range<usize>,
    /// Its vector, of any length.
    pub vector: Vec<f32>,
}

/// What an embedder answered about the tokens of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEmbeddings {
    /// The tokens that the model has read, in order: not all of a text that is longer than it can read.
    pub tokens: Vec<TokenVector>,
    /// What it took; `encoder_calls` and `cost` are filled in by the engine.
    pub usage: Usage,
}

/// A model that turns texts into vectors. Dropping the future must abort the call.
#[async_trait]
pub trait Embedder: Send + Sync + fmt::Debug {
    /// Names the model and whatever else decides what its vectors are: vectors of different identities do not mix.
    fn identity(&self) -> String;

    /// The vectors of `texts`; cuts them into batches as the server likes them.
    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error>;

    /// The vector of each token of `text`, as a document, by those models whose servers give them.
    async fn embed_tokens(&self, text: &Text, call: &Call<'_>) -> Result<TokenEmbeddings, Error> {
        let _ = (text, call);
        Err(Error::Rejected {
            backend: format!("embedder `{}`", self.identity()),
            message:
                "it gives no vectors of single tokens; one of kind `tei` or `local`, with mean pooling, does"
                    .to_owned(),
        })
    }
}

/// What a reranker answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reranking {
    /// One score a text, in the order of the texts: the higher the better, finite; 0 to 1 where the server says so.
    pub scores: Vec<f64>,
    /// What it took; `encoder_calls` and `cost` are filled in by the engine.
    pub usage: Usage,
}

/// A model that reads a query and a text together and says how well they match (a cross-encoder). Dropping the future
/// must abort the call.
#[async_trait]
pub trait Reranker: Send + Sync + fmt::Debug {
    /// The model's name as its server knows it.
    fn name(&self) -> &str;

    /// The scores of `texts`; cuts them into batches as the server likes them.
    async fn rerank(&self, query: &str, texts: &[Text], call: &Call<'_>) -> Result<Reranking, Error>;
}
