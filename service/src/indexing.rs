//! Indexing: files become documents, an indexing flow cuts them into chunks, the chunks go into an index.
//!
//! ```text
//!  read and hash (a thread) ──► cut (runs of the flow, several at once, order kept) ──► write (a thread)
//!     unchanged documents stop here                                       commits as it goes: a kill loses little
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::EmbeddedIndex;
use anabranch_backends::index::embedded;
use anabranch_backends::load::Skipped;
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::Diagnostics;
use anabranch_engine::value::DocumentId;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod cutter;
mod stages;
#[cfg(test)]
mod tests;

pub use cutter::Cutter;
use stages::{Done, Read, Write, read};

/// Documents that wait between two stages.
const WAITING: usize = 32;

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
        "flow `{flow}` cannot index: {why}; it takes one input `document: document` and gives `chunks: list<chunk>`"
    )]
    NoIndexer {
        /// The flow.
        flow: String,
        /// What is missing.
        why: String,
    },
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] embedded::Error),
    /// A stage broke down.
    #[error("indexing broke down; this is a bug, please report it")]
    Broken(#[from] tokio::task::JoinError),
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
    /// So many of them have been, and so many documents were indexed.
    fn at(&self, files: usize, indexed: usize);
}

/// What came of an update.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
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
    /// Documents that the indexing flow failed on, with the reason; they stay as they were.
    pub failed: Vec<(DocumentId, String)>,
    /// Whether it was stopped before the end. What was done is kept.
    pub interrupted: bool,
}

impl Summary {
    /// Whether the index is another than before.
    pub fn has_changes(&self) -> bool {
        self.added + self.changed + self.removed > 0
    }
}

/// The folder of the index `name`.
pub fn folder(data: &Path, name: &str) -> PathBuf {
    data.join("indexes").join(name)
}

/// The indexes that are there.
pub fn existing(data: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(data.join("indexes")) else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect()
}

/// Whether an index can be called `name`: `[a-z][a-z0-9_-]*`, since it becomes a folder.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// Brings `index` up to date with the documents under `roots`.
pub async fn update(
    index: &EmbeddedIndex,
    roots: &[PathBuf],
    prune: Prune,
    cutter: &Cutter,
    resources: Arc<Resources>,
    cancel: &CancellationToken,
    watch: Arc<dyn Watch>,
) -> Result<Summary, Error> {
    let opened = index.clone();
    let manifest = Arc::new(tokio::task::spawn_blocking(move || opened.manifest()).await??);
    let (to_cut, mut from_reader) = mpsc::channel(WAITING);
    let (to_writer, from_cutters) = mpsc::channel(WAITING);
    let reader = {
        let (roots, stamp) = (roots.to_owned(), cutter.stamp.clone());
        let (manifest, cancel) = (manifest.clone(), cancel.clone());
        tokio::task::spawn_blocking(move || read(&roots, &manifest, &stamp, &cancel, &to_cut))
    };
    let writer = {
        let stage = Write {
            index: index.clone(),
            writer: None,
            manifest,
            roots: roots.to_owned(),
            prune,
            watch,
            present: BTreeSet::new(),
            files: 0,
            summary: Summary::default(),
        };
        tokio::task::spawn_blocking(move || stage.run(from_cutters))
    };
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut done = futures::stream::poll_fn(move |cx| from_reader.poll_recv(cx))
        .map(|read| {
            let (cutter, resources, cancel) = (cutter.clone(), resources.clone(), cancel.child_token());
            async move {
                let Read::Changed(source, fingerprint) = read else { return Ok(Done::Read(read)) };
                let id = source.id.clone();
                // A task of its own: cutting is work for the processor, and there are several of those.
                let cut = tokio::spawn(async move { cutter.cut(*source, resources, cancel).await });
                Ok::<_, tokio::task::JoinError>(Done::Cut(id, fingerprint, cut.await?))
            }
        })
        .buffered(at_once);
    while let Some(step) = done.next().await {
        if to_writer.send(step?).await.is_err() {
            break;
        }
    }
    // Lets the reader see that nobody listens, if the writer gave up.
    drop(done);
    drop(to_writer);
    reader.await?;
    writer.await?
}
