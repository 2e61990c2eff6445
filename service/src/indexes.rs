//! The indexes of a process: opened once, searched by everyone, written by one at a time. Each tenant has its own part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_backends::index::{IndexStore, StoreError};
use anabranch_engine::backend::{IndexStats, Namespace};
use anabranch_engine::cx::{IndexEntry, Resources};
use anabranch_engine::value::DocumentId;
use tokio_util::sync::CancellationToken;

use crate::checked::Checked;
use crate::indexing::{self, Cutter, Encoder, Given, Summary};

pub mod search;
mod tenanted;

pub use tenanted::{TenantResources, namespace_of};

/// Longest wait for others who write the same part of an index.
const TURN_MAX: Duration = Duration::from_secs(30);

/// An index that can be searched and written.
pub struct Opened {
    /// Its name.
    pub name: String,
    /// Where it is kept.
    pub store: Arc<dyn IndexStore>,
    /// What makes its vectors; none if it has none.
    pub encoder: Option<Encoder>,
}

impl Opened {
    /// The index as flows see it.
    pub fn checked(&self) -> Checked {
        let embedder = self.encoder.as_ref().map(|encoder| (encoder.name.clone(), encoder.identity()));
        Checked::new(&self.name, self.store.clone(), embedder)
    }

    /// The index as flows see it, and its embedder.
    pub fn entry(&self) -> IndexEntry {
        let embedder = self.encoder.as_ref().map(|encoder| encoder.name.clone());
        IndexEntry { index: Arc::new(self.checked()), embedder }
    }
}

/// The indexes of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Indexes(Arc<BTreeMap<String, Kept>>);

/// An index of a process, with what is needed to write it.
pub struct Written {
    /// The index.
    pub opened: Opened,
    /// What cuts its documents.
    pub cutter: Cutter,
    /// Whether the configuration names its files: then what is in it by itself is made of those, and of nothing else.
    pub is_of_files: bool,
}

struct Kept {
    written: Written,
    /// Who writes which part.
    turns: Mutex<BTreeMap<Namespace, Arc<tokio::sync::Mutex<()>>>>,
}

/// Why an index was not changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is none of this name.
    #[error("there is no index `{0}`")]
    Unknown(String),
    /// It is made of files, and would lose whatever else is in it.
    #[error("index `{0}` is made of the files that the configuration names")]
    OfFiles(String),
    /// Others are writing it, for longer than this waits.
    #[error("index `{0}` is being written; try again later")]
    Busy(String),
    /// Writing failed.
    #[error(transparent)]
    Indexing(#[from] indexing::Error),
}

impl Indexes {
    /// These indexes.
    pub fn new(indexes: impl IntoIterator<Item = Written>) -> Self {
        let kept =
            |written: Written| (written.opened.name.clone(), Kept { written, turns: Mutex::default() });
        Self(Arc::new(indexes.into_iter().map(kept).collect()))
    }

    /// The indexes as flows see them.
    pub fn entries(&self) -> BTreeMap<String, IndexEntry> {
        self.0.iter().map(|(name, kept)| (name.clone(), kept.written.opened.entry())).collect()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An index.
    pub fn get(&self, name: &str) -> Option<&Opened> {
        self.0.get(name).map(|kept| &kept.written.opened)
    }

    /// How much a part of an index holds; `None` if there is no such index.
    pub async fn stats(&self, name: &str, namespace: &Namespace) -> Result<Option<IndexStats>, StoreError> {
        let Some(kept) = self.0.get(name) else { return Ok(None) };
        Ok(Some(kept.written.opened.store.stats(namespace).await?))
    }

    /// Puts documents into a part of an index; those that it has under the same ids are replaced, all others stay.
    pub async fn put(
        &self,
        name: &str,
        namespace: &Namespace,
        documents: Vec<Given>,
        resources: &Arc<Resources>,
    ) -> Result<Summary, WriteError> {
        let kept = self.kept(name, namespace)?;
        let _turn = kept.turn(namespace).await?;
        let target = indexing::Target {
            index: kept.written.opened.store.clone(),
            namespace: namespace.clone(),
            cutter: kept.written.cutter.clone(),
            encoder: kept.written.opened.encoder.clone(),
            resources: resources.clone(),
        };
        // Whoever stops waiting drops this: what was not committed has not happened.
        target.put(documents, &CancellationToken::new()).await.map_err(|error| busy(name, error))
    }

    /// Takes a document out of a part of an index; `false` if it is not there.
    pub async fn remove(
        &self,
        name: &str,
        namespace: &Namespace,
        id: &DocumentId,
    ) -> Result<bool, WriteError> {
        let kept = self.kept(name, namespace)?;
        let _turn = kept.turn(namespace).await?;
        indexing::remove(&kept.written.opened.store, namespace, kept.written.opened.encoder.as_ref(), id)
            .await
            .map_err(|error| busy(name, error))
    }

    fn kept(&self, name: &str, namespace: &Namespace) -> Result<&Kept, WriteError> {
        let kept = self.0.get(name).ok_or_else(|| WriteError::Unknown(name.to_owned()))?;
        if kept.written.is_of_files && namespace.is_default() {
            return Err(WriteError::OfFiles(name.to_owned()));
        }
        Ok(kept)
    }
}

impl Kept {
    /// Waits until nobody else of this process writes the part.
    async fn turn(&self, namespace: &Namespace) -> Result<tokio::sync::OwnedMutexGuard<()>, WriteError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are forgotten, so that there are never more than requests.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(namespace.clone()).or_default().clone()
        };
        tokio::time::timeout(TURN_MAX, turn.lock_owned())
            .await
            .map_err(|_| WriteError::Busy(self.written.opened.name.clone()))
    }
}

fn busy(name: &str, error: indexing::Error) -> WriteError {
    match error {
        // Another process has it.
        indexing::Error::Index(error) if error.is_busy() => WriteError::Busy(name.to_owned()),
        error => error.into(),
    }
}
