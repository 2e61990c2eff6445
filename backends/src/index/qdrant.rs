//! An index on a Qdrant server, over its REST API.
//!
//! It follows Qdrant's documentation (1.19) and is tested against exchanges that were written by hand from it: there
//! was no Qdrant server to run it against.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{By, Error, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

mod collection;
mod filter;
mod points;
mod search;
mod writer;

use super::{Fingerprint, IndexStore, IndexWriter, Manifest, StoreError, VectorSpace};
use crate::http::{Endpoint, Failures, Reach, Root, parse};
use collection::{Collection, Weights};
use points::{Counted, Found, Kind, Page, Scroll};
use writer::Writer;

/// How an index on a Qdrant server is reached.
#[derive(Debug, Clone)]
pub struct QdrantSettings {
    /// Its address, such as `http://localhost:6333`.
    pub base_url: String,
    /// Sent as bearer token.
    pub api_key: Option<SecretString>,
    /// Name of the index, and of its collection on the server.
    pub name: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Most bytes of an answer; reading stops there.
    pub max_response_bytes: usize,
    /// Whether searches by vector look at every chunk of the namespace. Otherwise Qdrant's approximate index is
    /// asked: far faster with many chunks, but some of the nearest may be missed.
    pub exact: bool,
    /// Term saturation of BM25, fixed when chunks are written.
    pub k1: f32,
    /// Length normalisation of BM25, fixed when chunks are written.
    pub b: f32,
    /// The length in words that BM25 takes for the average one, fixed when chunks are written.
    pub average_words: f32,
}

impl QdrantSettings {
    /// The index `name` on the server at `base_url`, with defaults for all else.
    pub fn new(base_url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            name: name.into(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            max_response_bytes: 64 * 1024 * 1024,
            exact: true,
            k1: 1.2,
            b: 0.75,
            average_words: 100.0,
        }
    }
}

/// Most requests for one listing; each gives [`PAGE`] points.
const PAGES_MAX: usize = 10_000;
/// Points of one answer of a listing.
const PAGE: usize = 1000;
/// The oldest server that counts words by namespace.
const OLDEST: (u32, u32) = (1, 19);

/// An index on a Qdrant server (1.19 or newer). Cloning it copies a pointer.
///
/// One collection holds an index with all of its namespaces; every request is limited to one of them, and so are the
/// counts that say how rare a word is. What differs from the other indexes: `k1`, `b` and the average length are
/// fixed when a chunk is written, so a search that asks for others is refused, and scores by words differ a little from
/// those of an index that knows the average; words are told apart by 32 bits, so in very rare cases two are taken for one;
/// conditions that Qdrant cannot decide (texts that are more or less than another) are decided here, among a bounded
/// number of candidates; and there are no transactions: while a document is replaced, searches may see a part of it,
/// and a killed run leaves the documents that it was at to the next run. One program at a time should write.
#[derive(Clone)]
pub struct QdrantIndex {
    shared: Arc<Shared>,
}

struct Shared {
    settings: QdrantSettings,
    endpoint: Endpoint,
    failures: Failures,
}

impl fmt::Debug for QdrantIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QdrantIndex").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl QdrantIndex {
    /// The index that `settings` describe. Nothing is sent before the first use.
    pub fn new(settings: QdrantSettings) -> Result<Self, Error> {
        let name = &settings.name;
        let refused = |message: String| Error::Rejected { backend: format!("index `{name}`"), message };
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 255 || !name.chars().all(is_letter) {
            return Err(refused(
                "its name is no name of a collection; one has 1 to 255 letters, digits, `_` and `-`"
                    .to_owned(),
            ));
        }
        let endpoint = Endpoint::new(Reach {
            base_url: settings.base_url.clone(),
            root: Root::AsGiven,
            paths: &["dashboard", "collections"],
            api_key: settings.api_key.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            max_response_bytes: settings.max_response_bytes,
        })
        .map_err(|error| refused(error.to_string()))?;
        let failures = Failures { backend: format!("index `{}` at {}", settings.name, endpoint.host()) };
        Ok(Self { shared: Arc::new(Shared { settings, endpoint, failures }) })
    }
}

impl Shared {
    /// Asks for what lies at `path` below the collection, or for the collection itself; `None` if it is not there.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Option<T>, Error> {
        let path = format!("collections/{}{path}", self.settings.name);
        let body = self.endpoint.call(method, &path, &[], body, &self.failures).await?;
        body.map(|body| self.result(&body)).transpose()
    }

    /// Changes what lies at `path` below the collection, and waits until searches see it.
    async fn change(&self, method: Method, path: &str, body: &Json) -> Result<(), Error> {
        let path = format!("collections/{}{path}", self.settings.name);
        let wait: &[(&str, &str)] = &[("wait", "true")];
        let body = self.endpoint.call(method, &path, wait, Some(body), &self.failures).await?;
        let Some(body) = body else {
            return Err(self.failures.rejected("somebody has deleted the collection; index again"));
        };
        self.result::<Json>(&body).map(drop)
    }

    fn result<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        #[derive(Deserialize)]
        struct Answer<T> {
            result: T,
        }
        parse(body, &self.failures).map(|Answer { result }| result)
    }

    /// Refuses a server that would weigh words by the whole collection instead of the namespace.
    async fn check_version(&self) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Server {
            version: String,
        }
        let body = self.endpoint.call::<Json>(Method::GET, "", &[], None, &self.failures).await?;
        let Server { version } = parse(&body.unwrap_or_default(), &self.failures)?;
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let found = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if found < OLDEST {
            let (major, minor) = OLDEST;
            let message = format!("the server is Qdrant {version}; {major}.{minor} or newer is needed");
            return Err(self.failures.rejected(message));
        }
        Ok(())
    }

    /// What the namespace holds of `kind`, all pages of it.
    async fn list(
        &self,
        kind: Kind,
        namespace: &Namespace,
        doc: Option<&DocumentId>,
        fields: &[&str],
    ) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        let mut offset = None;
        for _ in 0..PAGES_MAX {
            let scroll = Scroll {
                filter: points::within(kind, namespace, doc),
                limit: PAGE,
                offset,
                with_payload: fields,
            };
            let body =
                serde_json::to_value(&scroll).map_err(|error| self.failures.rejected(error.to_string()))?;
            let Some(page) = self.ask::<Page>(Method::POST, "/points/scroll", Some(&body)).await? else {
                return Ok(found);
            };
            found.extend(page.points);
            offset = page.next_page_offset;
            if offset.is_none() {
                return Ok(found);
            }
        }
        Err(self.failures.garbled(format!("a listing has no end after {PAGES_MAX} pages")))
    }

    async fn count(&self, kind: Kind, namespace: &Namespace) -> Result<u64, Error> {
        let body = serde_json::json!({ "filter": points::within(kind, namespace, None), "exact": true });
        let counted = self.ask::<Counted>(Method::POST, "/points/count", Some(&body)).await?;
        Ok(counted.map_or(0, |counted| counted.count))
    }

    /// How words are weighed in chunks that are written now.
    fn weights(&self) -> Weights {
        let QdrantSettings { k1, b, average_words, .. } = self.settings;
        Weights { k1: k1.max(0.0), b: b.clamp(0.0, 1.0), average_words: average_words.max(1.0) }
    }
}

#[async_trait]
impl Index for QdrantIndex {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        if query.top_k == 0 {
            return Ok(Vec::new());
        }
        let Some(collection) = Collection::read(&self.shared).await? else {
            return Ok(Vec::new());
        };
        match &query.by {
            By::Words { text, k1, b } => {
                search::by_words(&self.shared, &collection, query, text, *k1, *b).await
            }
            By::Vector(vector) => search::by_vector(&self.shared, &collection, query, vector).await,
        }
    }

    async fn chunks_of(&self, namespace: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        let found = self.shared.list(Kind::Chunk, namespace, Some(doc), &["record"]).await?;
        let chunks: Result<Vec<Chunk>, Error> =
            found.into_iter().map(|found| found.chunk(&self.shared.failures)).collect();
        let mut chunks = chunks?;
        chunks.sort_by_key(|chunk| chunk.range);
        Ok(chunks.into_iter().map(Arc::new).collect())
    }

    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, Error> {
        let Some(collection) = Collection::read(&self.shared).await? else {
            return Ok(IndexStats::default());
        };
        let documents = self.shared.count(Kind::Document, namespace).await?;
        let chunks = self.shared.count(Kind::Chunk, namespace).await?;
        // Every chunk has a vector, or none has.
        let dimensions = collection.vectors.map_or(0, |space| space.dimensions);
        let vectors = if dimensions == 0 { 0 } else { chunks };
        Ok(IndexStats { documents, chunks, vectors, dimensions: if vectors == 0 { 0 } else { dimensions } })
    }
}

#[async_trait]
impl IndexStore for QdrantIndex {
    async fn manifest(&self, namespace: &Namespace) -> Result<Manifest, StoreError> {
        let found = self.shared.list(Kind::Document, namespace, None, &["doc", "fingerprint"]).await?;
        let document = |found: Found| -> Result<(DocumentId, Fingerprint), Error> {
            let (doc, fingerprint) = found.document(&self.shared.failures)?;
            Ok((doc, Fingerprint::parse(fingerprint)))
        };
        Ok(found.into_iter().map(document).collect::<Result<Manifest, Error>>()?)
    }

    async fn space(&self, _: &Namespace) -> Result<Option<VectorSpace>, StoreError> {
        // Vectors of one collection are of one space.
        Ok(Collection::read(&self.shared).await?.and_then(|collection| collection.vectors))
    }

    async fn writer(
        &self,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
    ) -> Result<Box<dyn IndexWriter>, StoreError> {
        let wanted = Collection { weights: self.shared.weights(), vectors: vectors.cloned() };
        wanted.ensure(&self.shared).await?;
        Ok(Box::new(Writer::new(Arc::clone(&self.shared), namespace.clone(), wanted)))
    }
}
