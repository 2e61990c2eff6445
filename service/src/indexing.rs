//! Indexing: files become documents, an indexing flow cuts them into chunks, an embedder gives them vectors, and all of
//! it goes into an index.
//!
//! ```text
//!  read and hash ──► cut ────────────────────► embed ─────────────────────► write
//!  (a thread)        (runs of the flow,        (several documents a call,   (one task; commits as it goes:
//!  unchanged          several at once,          several calls at once,       a kill loses little)
//!  documents stop     order kept)               order kept)
//!  here
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anabranch_backends::index::{IndexStore, StoreError};
use anabranch_backends::load::Skipped;
use anabranch_engine::backend::{self, Namespace};
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::Diagnostics;
use anabranch_engine::value::DocumentId;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

mod cutter;
mod direct;
mod encoder;
mod stages;
#[cfg(test)]
mod tests;

pub use cutter::Cutter;
pub use direct::{Given, Target, remove};
use encoder::{Cut, Encoded};
pub use encoder::{Encoder, Failure};
pub use stages::Progress;
use stages::{Done, Read, Write, read};

/// Documents that wait between two stages.
const WAITING: usize = 32;
/// Most documents that are embedded in one call.
const GROUP_DOCUMENTS: usize = 32;
/// Calls of the embedder that are under way at once.
const GROUPS_AT_ONCE: usize = 4;
/// Documents that the embedder may fail on, one after the other, before the rest is left for another time.
pub const FAILURES_IN_A_ROW_MAX: usize = 5;

/// Why an index could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The indexing flow cannot be read.
    #[error("cannot read the indexing flow `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The indexing flow is no valid flow.
    #[error("the indexing flow is invalid")]
    Flow(Diagnostics),
    /// The indexing flow does not do what one has to do.
    #[error(
        "flow `{flow}` cannot index: {why}; it takes one input `document: document` and gives `chunks: list<chunk>`, and `vectors: list<list<float>>` if it \
         makes them itself"
    )]
    NoIndexer {
        /// The flow.
        flow: String,
        /// What is missing.
        why: String,
    },
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// It has vectors of another embedder, and documents that would be lost with them.
    #[error(
        "it has vectors of `{found}`, which those of `{wanted}` cannot stand beside, and {n_elsewhere} of its documents \
         are not below the given paths"
    )]
    OtherVectors {
        /// What its vectors are.
        found: String,
        /// What they would become.
        wanted: String,
        /// Documents that could not be indexed again.
        n_elsewhere: usize,
    },
    /// A stage broke down.
    #[error("indexing broke down; this is a bug, please report it")]
    Broken(#[from] JoinError),
}

/// Which documents are taken out of an index when their files are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// All that were not found: the roots are the whole of the index.
    All,
    /// Those below the roots: others were indexed from elsewhere.
    BelowRoots,
}

/// Is told how far indexing is. Called from several threads.
pub trait Watch: Send + Sync {
    /// So many files will be looked at.
    fn listed(&self, files: usize);
    /// This is how far it is.
    fn at(&self, progress: Progress);
}

/// What came of an update.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Summary {
    /// Documents that are new.
    pub added: usize,
    /// Documents that were indexed again.
    pub changed: usize,
    /// Documents that are as they were.
    pub unchanged: usize,
    /// Documents whose files have gone.
    pub removed: usize,
    /// Chunks of the documents that are new or changed.
    pub chunks: usize,
    /// Files, and lines of corpora, that give no document.
    pub skipped: Vec<Skipped>,
    /// Documents that could not be indexed, with the reason; they stay as they were.
    pub failed: Vec<(DocumentId, Failure)>,
    /// Why it gave up before the end: the embedder failed on too many documents in a row. What was done is kept.
    pub gave_up: Option<backend::Error>,
    /// Whether it was stopped before the end. What was done is kept.
    pub interrupted: bool,
}

impl Summary {
    /// Whether the index is another than before.
    pub fn has_changes(&self) -> bool {
        self.added + self.changed + self.removed > 0
    }

    /// Whether documents failed, and every one of them for want of an embedder.
    pub fn wants_embedder(&self) -> bool {
        let is_embedding = |(_, failure): &(_, Failure)| matches!(failure, Failure::Embedding(_));
        !self.failed.is_empty() && self.failed.iter().all(is_embedding)
    }
}

/// What is to be brought up to date, and with what.
#[derive(Debug, Clone)]
pub struct Job {
    /// The index.
    pub index: Arc<dyn IndexStore>,
    /// Whose part of it.
    pub namespace: Namespace,
    /// Files and folders with the documents.
    pub roots: Vec<PathBuf>,
    /// What becomes of documents that are not there any more.
    pub prune: Prune,
    /// What cuts the documents.
    pub cutter: Cutter,
    /// What makes the vectors; none for an index without.
    pub encoder: Option<Encoder>,
    /// What the cutter's flow may use.
    pub resources: Arc<Resources>,
}

impl Job {
    /// Brings the index up to date.
    pub async fn run(self, cancel: &CancellationToken, watch: Arc<dyn Watch>) -> Result<Summary, Error> {
        let manifest = Arc::new(self.index.manifest(&self.namespace).await?);
        let space = self.index.space(&self.namespace).await?;
        let (found, wanted) = (space.as_ref().map(|space| &*space.identity), self.identity());
        if self.prune == Prune::BelowRoots && !manifest.is_empty() && found != wanted.as_deref() {
            let is_elsewhere = |id: &DocumentId| !self.roots.iter().any(|root| stages::is_below(id, root));
            let n_elsewhere = manifest.iter().filter(|(id, _)| is_elsewhere(id)).count();
            if n_elsewhere > 0 {
                let named = |identity: Option<&str>| identity.unwrap_or("no embedder").to_owned();
                let (found, wanted) = (named(found), named(wanted.as_deref()));
                return Err(Error::OtherVectors { found, wanted, n_elsewhere });
            }
        }
        if let (Some(encoder), Some(space)) = (&self.encoder, &space) {
            encoder.expect(space);
        }
        // Stopped from outside, or from the last stage.
        let stop = cancel.child_token();
        let (to_cut, from_reader) = mpsc::channel(WAITING);
        let (to_writer, from_encoders) = mpsc::channel(WAITING);
        let reader = {
            let (roots, stamp, manifest, stop) =
                (self.roots.clone(), self.stamp(), manifest.clone(), stop.clone());
            tokio::task::spawn_blocking(move || read(&roots, &manifest, &stamp, &stop, &to_cut))
        };
        let writer = Write {
            index: self.index.clone(),
            namespace: self.namespace.clone(),
            encoder: self.encoder.clone(),
            writer: None,
            manifest,
            roots: self.roots.clone(),
            prune: self.prune,
            watch,
            present: BTreeSet::new(),
            files: 0,
            failures_in_a_row: 0,
            stop: stop.clone(),
            summary: Summary::default(),
        };
        let writer = tokio::spawn(writer.run(from_encoders));
        let mut done = std::pin::pin!(self.prepared(from_reader, &stop));
        'stages: while let Some(group) = done.next().await {
            for step in group? {
                if to_writer.send(step).await.is_err() {
                    break 'stages;
                }
            }
        }
        // The reader sees that nobody listens, if the writer gave up.
        stop.cancel();
        drop(to_writer);
        while done.next().await.is_some() {}
        reader.await?;
        writer.await?
    }

    /// The stages between reading and writing: steps in the order of the files, some at a time.
    fn prepared(
        &self,
        mut from: mpsc::Receiver<Read>,
        stop: &CancellationToken,
    ) -> impl futures::Stream<Item = Result<Vec<Done>, JoinError>> {
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        futures::stream::poll_fn(move |cx| from.poll_recv(cx))
            .map(move |read| self.cut(read, stop))
            .buffered(at_once)
            // What is ready by now: few documents while the embedder keeps up, more while it does not.
            .ready_chunks(GROUP_DOCUMENTS)
            .map(move |group| self.encode(group, stop))
            .buffered(GROUPS_AT_ONCE)
    }

    /// A changed document in chunks; anything else as it is.
    async fn cut(&self, read: Read, stop: &CancellationToken) -> Result<Result<Cut, Read>, JoinError> {
        let Read::Changed(source, fingerprint) = read else { return Ok(Err(read)) };
        let id = source.id.clone();
        let (cutter, resources, stop) = (self.cutter.clone(), self.resources.clone(), stop.child_token());
        // A task of its own: cutting is work for the processor, and there are several of those.
        let cut = tokio::spawn(async move { cutter.cut(*source, resources, stop).await });
        let pieces = Aborting(cut).await?.map_err(Failure::Cutting);
        Ok(Ok(Cut { id, fingerprint, pieces }))
    }

    /// A group of documents with vectors, in order, and what came between them.
    async fn encode(
        &self,
        group: Vec<Result<Result<Cut, Read>, JoinError>>,
        stop: &CancellationToken,
    ) -> Result<Vec<Done>, JoinError> {
        let mut steps: Vec<Option<Done>> = Vec::with_capacity(group.len());
        let mut documents = Vec::new();
        for step in group {
            match step? {
                Err(read) => steps.push(Some(Done::Read(read))),
                Ok(cut) => {
                    steps.push(None);
                    documents.push(cut);
                }
            }
        }
        let mut encoded = match &self.encoder {
            Some(encoder) if !documents.is_empty() => {
                let names: Vec<_> =
                    documents.iter().map(|cut| (cut.id.clone(), cut.fingerprint.clone())).collect();
                let encoder = encoder.clone();
                // A task of its own, for the same reason: some embedders are on this machine.
                let encoding = tokio::spawn(async move { encoder.encode(documents).await });
                match stop.run_until_cancelled(Aborting(encoding)).await {
                    Some(done) => done?,
                    None => names.into_iter().map(|(id, print)| Cut::cancelled(id, print)).collect(),
                }
            }
            _ => documents.into_iter().map(Cut::bare).collect::<Vec<Encoded>>(),
        }
        .into_iter();
        Ok(steps.into_iter().filter_map(|step| step.or_else(|| encoded.next().map(Done::Encoded))).collect())
    }

    /// What the vectors will be, without their length.
    fn identity(&self) -> Option<String> {
        self.encoder.as_ref().map(Encoder::identity)
    }

    /// Names everything besides its content that a document's entries depend on.
    fn stamp(&self) -> String {
        format!("{} vectors: {}", self.cutter.stamp, self.identity().unwrap_or_default())
    }
}

/// A task that ends with whoever waits for it.
struct Aborting<T>(JoinHandle<T>);

impl<T> Future for Aborting<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
