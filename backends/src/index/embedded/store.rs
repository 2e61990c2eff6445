//! The embedded index as the rest of the program sees it: searches and changes beside the async tasks.

use std::sync::Arc;

use anabranch_engine::backend::{Error as BackendError, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;

use super::super::{Entry, Fingerprint, IndexStore, IndexWriter, Manifest, StoreError, VectorSpace};
use super::parts::Parts;
use super::{EmbeddedIndex, Error, Limits, Writer};

/// Runs `work` beside the async tasks: it waits for a disk.
async fn aside<T: Send + 'static>(
    index: &EmbeddedIndex,
    work: impl FnOnce(&Parts) -> Result<T, Error> + Send + 'static,
) -> Result<T, StoreError> {
    let parts = Arc::clone(&index.parts);
    Ok(joined(tokio::task::spawn_blocking(move || work(&parts)).await, || index.name())??)
}

/// What a blocking task came to, if the runtime let it end.
fn joined<T>(
    outcome: Result<T, tokio::task::JoinError>,
    name: impl FnOnce() -> String,
) -> Result<T, BackendError> {
    outcome.map_err(|_| BackendError::Unavailable {
        backend: name(),
        message: "its work was cut off".into(),
        retry_after: None,
    })
}

impl EmbeddedIndex {
    fn name(&self) -> String {
        format!("index `{}`", self.path().display())
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Parts) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, BackendError> {
        aside(self, work).await.map_err(|error| match error {
            StoreError::Embedded(error) => error.into_backend(self.name()),
            StoreError::Backend(error) => error,
            StoreError::Busy { backend } => BackendError::Unavailable {
                backend,
                message: "it is being written".into(),
                retry_after: None,
            },
        })
    }
}

#[async_trait]
impl Index for EmbeddedIndex {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, BackendError> {
        let query = query.clone();
        self.ask(move |parts| {
            parts.get(&query.namespace)?.map_or_else(|| Ok(Vec::new()), |part| part.search(&query))
        })
        .await
    }

    async fn chunks_of(
        &self,
        namespace: &Namespace,
        doc: &DocumentId,
    ) -> Result<Vec<Arc<Chunk>>, BackendError> {
        let (namespace, doc) = (namespace.clone(), doc.clone());
        self.ask(move |parts| {
            parts.get(&namespace)?.map_or_else(|| Ok(Vec::new()), |part| part.chunks_of(&doc))
        })
        .await
    }

    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, BackendError> {
        let namespace = namespace.clone();
        self.ask(move |parts| {
            parts.get(&namespace)?.map_or_else(|| Ok(IndexStats::default()), |part| part.stats())
        })
        .await
    }
}

#[async_trait]
impl IndexStore for EmbeddedIndex {
    async fn manifest(&self, namespace: &Namespace) -> Result<Manifest, StoreError> {
        let namespace = namespace.clone();
        aside(self, move |parts| {
            parts.get(&namespace)?.map_or_else(|| Ok(Manifest::default()), |part| part.manifest())
        })
        .await
    }

    async fn space(&self, namespace: &Namespace) -> Result<Option<VectorSpace>, StoreError> {
        let namespace = namespace.clone();
        aside(self, move |parts| parts.get(&namespace)?.map_or_else(|| Ok(None), |part| part.space())).await
    }

    async fn writer(
        &self,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
    ) -> Result<Box<dyn IndexWriter>, StoreError> {
        let (namespace, vectors) = (namespace.clone(), vectors.cloned());
        let begin = move |parts: &Parts| {
            Writer::new(parts.get_or_create(&namespace)?, vectors.as_ref(), Limits::default())
        };
        let writer = aside(self, begin).await?;
        Ok(Box::new(AsyncWriter { name: self.name(), writer: Some(writer) }))
    }
}

/// A writer that works beside the async tasks.
struct AsyncWriter {
    name: String,
    /// Away while it works; a change whose future was dropped takes it along, and with it what was not committed.
    writer: Option<Writer>,
}

impl AsyncWriter {
    async fn change(
        &mut self,
        work: impl FnOnce(&mut Writer) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut writer = self.take()?;
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut writer);
            (writer, outcome)
        });
        let (writer, outcome) = joined(task.await, || self.name.clone())?;
        self.writer = Some(writer);
        Ok(outcome?)
    }

    fn take(&mut self) -> Result<Writer, BackendError> {
        self.writer.take().ok_or_else(|| BackendError::Unavailable {
            backend: self.name.clone(),
            message: "an earlier change was cut off; begin to write anew".into(),
            retry_after: None,
        })
    }
}

#[async_trait]
impl IndexWriter for AsyncWriter {
    async fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError> {
        let (doc, fingerprint) = (doc.clone(), fingerprint.clone());
        self.change(move |writer| writer.replace_entries(&doc, &fingerprint, &entries)).await
    }

    async fn remove(&mut self, doc: &DocumentId) -> Result<(), StoreError> {
        let doc = doc.clone();
        self.change(move |writer| writer.remove(&doc)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let writer = self.take()?;
        let outcome = tokio::task::spawn_blocking(move || writer.finish()).await;
        Ok(joined(outcome, || self.name.clone())??)
    }
}
