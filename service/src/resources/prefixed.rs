//! An embedder whose model wants queries and documents marked as such.

use anabranch_engine::backend::{Call, Embedder, Embeddings, Error, Passage};
use anabranch_engine::value::Text;
use async_trait::async_trait;

use crate::config::Prefixes;

/// Puts a prefix before every text, as models such as E5 were trained with.
#[derive(Debug)]
pub(super) struct Prefixed<E> {
    embedder: E,
    query: String,
    document: String,
}

impl<E: Embedder> Prefixed<E> {
    pub(super) fn new(embedder: E, prefixes: &Prefixes) -> Self {
        let Prefixes { query, document } = prefixes.clone();
        Self { embedder, query: query.unwrap_or_default(), document: document.unwrap_or_default() }
    }
}

#[async_trait]
impl<E: Embedder> Embedder for Prefixed<E> {
    fn identity(&self) -> String {
        // The query's prefix is no part of it: changing that leaves the vectors of an index as they are.
        match &*self.document {
            "" => self.embedder.identity(),
            document => format!("{} document_prefix={document:?}", self.embedder.identity()),
        }
    }

    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error> {
        let prefix = match passage {
            Passage::Query => &self.query,
            Passage::Document => &self.document,
        };
        if prefix.is_empty() {
            return self.embedder.embed(texts, passage, call).await;
        }
        let texts: Vec<Text> = texts.iter().map(|text| format!("{prefix}{text}").into()).collect();
        self.embedder.embed(&texts, passage, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_backends::embed::Hashed;

    #[tokio::test]
    async fn a_prefix_is_embedded_with_the_text_and_that_of_documents_is_part_of_the_identity() {
        let prefixes = Prefixes { query: Some("query: ".into()), document: Some("passage: ".into()) };
        let call = Call::keyed("");
        let texts: [Text; 1] = ["heron".into()];
        let found = Prefixed::new(Hashed, &prefixes).embed(&texts, Passage::Query, &call).await.unwrap();
        let expected = Hashed.embed(&["query: heron".into()], Passage::Query, &call).await.unwrap();
        assert_eq!(found, expected);
        let bare = Prefixes { query: Some("query: ".into()), document: None };
        assert_eq!(Prefixed::new(Hashed, &bare).identity(), Hashed.identity());
        assert_ne!(Prefixed::new(Hashed, &prefixes).identity(), Hashed.identity());
    }
}
