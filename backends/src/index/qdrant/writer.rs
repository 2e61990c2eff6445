//! Writes a namespace, some documents at a time, so that a killed run leaves nothing that the next one overlooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::backend::{Error, Namespace};
use anabranch_engine::value::DocumentId;
use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::super::{Entry, Fingerprint, IndexWriter, StoreError};
use super::Shared;
use super::collection::Collection;
use super::points::{self, Kind};

/// Documents after which it sends what it has.
const SEND_DOCUMENTS: usize = 64;
/// Bytes of chunks and vectors after which it sends what it has.
const SEND_BYTES: usize = 4 << 20;
/// Points of one request; the server takes 32 MB at most.
const SEND_POINTS: usize = 200;

type Content = (Fingerprint, Vec<Entry>);

/// Writes a namespace.
pub(super) struct Writer {
    shared: Arc<Shared>,
    namespace: Namespace,
    collection: Collection,
    /// The last change of each document, `None` for one that goes.
    pending: BTreeMap<DocumentId, Option<Content>>,
    pending_bytes: usize,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, namespace: Namespace, collection: Collection) -> Self {
        Self { shared, namespace, collection, pending: BTreeMap::new(), pending_bytes: 0 }
    }

    async fn changed(&mut self) -> Result<(), StoreError> {
        if self.pending.len() >= SEND_DOCUMENTS || self.pending_bytes >= SEND_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends what is pending. In this order, a document is in the manifest from before its first chunk comes until
    /// after its last has gone, and has its fingerprint only while all of its chunks are there.
    async fn send(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let document = |doc, fingerprint: &str| points::document(&self.namespace, doc, fingerprint);
        self.put(pending.keys().map(|doc| document(doc, "")).collect()).await?;

        let names: Vec<&DocumentId> = pending.keys().collect();
        let mut old = points::within(Kind::Chunk, &self.namespace, None);
        if let Some(must) = old.get_mut("must").and_then(Json::as_array_mut) {
            must.push(json!({ "key": "doc", "match": { "any": names } }));
        }
        self.delete(json!({ "filter": old })).await?;

        let (mut chunks, mut documents, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (doc, content) in &pending {
            let Some((fingerprint, entries)) = content else {
                gone.push(points::document_id(&self.namespace, doc));
                continue;
            };
            documents.push(document(doc, fingerprint.as_str()));
            for (position, entry) in entries.iter().enumerate() {
                chunks.push(points::chunk(&self.namespace, doc, position, entry, self.collection.weights));
            }
        }
        self.put(chunks).await?;
        self.put(documents).await?;
        if !gone.is_empty() {
            self.delete(json!({ "points": gone })).await?;
        }
        Ok(())
    }

    async fn put(&self, points: Vec<Json>) -> Result<(), Error> {
        for points in points.chunks(SEND_POINTS) {
            self.shared.change(Method::PUT, "/points", &json!({ "points": points })).await?;
        }
        Ok(())
    }

    async fn delete(&self, selected: Json) -> Result<(), Error> {
        self.shared.change(Method::POST, "/points/delete", &selected).await
    }
}

#[async_trait]
impl IndexWriter for Writer {
    async fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError> {
        let wanted = self.collection.vectors.as_ref().map_or(0, |space| space.dimensions);
        let has = |entry: &Entry| entry.vector.as_ref().map_or(0, |vector| vector.len());
        if let Some(entry) = entries.iter().find(|entry| usize::try_from(wanted) != Ok(has(entry))) {
            let (id, has) = (&entry.chunk.id, has(entry));
            let message =
                format!("chunk `{id}` comes with a vector of {has} numbers, the index takes {wanted}");
            return Err(self.shared.failures.rejected(message).into());
        }
        let bytes = |entry: &Entry| entry.chunk.text.len() + 4 * has(entry);
        self.pending_bytes += entries.iter().map(bytes).sum::<usize>();
        self.pending.insert(doc.clone(), Some((fingerprint.clone(), entries)));
        self.changed().await
    }

    async fn remove(&mut self, doc: &DocumentId) -> Result<(), StoreError> {
        self.pending.insert(doc.clone(), None);
        self.changed().await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        Ok(self.send().await?)
    }
}
