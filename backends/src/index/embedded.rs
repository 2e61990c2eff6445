//! The built-in index: BM25 over chunks in a folder of this machine, nothing to install.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::{By, Error as BackendError, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;
use tantivy::{IndexReader, ReloadPolicy, TantivyError};

mod folder;
mod schema;
mod search;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

pub use folder::FORMAT;
pub use schema::searched_text;
pub use writer::{Limits, Writer};

// Every kind of index finds the same chunks by the same words.
pub(super) use schema::words_of;
pub(super) use search::weighted_words;

use super::Manifest;
use folder::Generation;
use schema::Fields;
use search::Snapshot;

/// Why the index cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, read or written.
    #[error("cannot use the index folder `{}`", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds something else.
    #[error(
        "`{}` is not an index: it holds `{found}`; name an empty folder, or one that does not exist yet",
        path.display()
    )]
    NotAnIndex {
        /// Which folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// Another version of the program wrote it.
    #[error(
        "the index in `{}` has format {found}, this program reads format {FORMAT}; \
         use the version that wrote it, or delete the folder and index again",
        path.display()
    )]
    Format {
        /// Which folder.
        path: PathBuf,
        /// The format it says it has.
        found: u64,
    },
    /// What it holds cannot be read.
    #[error("the index in `{}` is damaged: {message}; delete the folder and index again", path.display())]
    Damaged {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Somebody else is writing.
    #[error(
        "the index in `{}` is being written by another process; wait until that has ended, then try again",
        path.display()
    )]
    Busy {
        /// Which folder.
        path: PathBuf,
    },
    /// Writing failed, with everything up to the last commit kept.
    #[error("cannot write the index in `{}`; indexing again goes on from the last commit", path.display())]
    Write {
        /// Which folder.
        path: PathBuf,
        /// What happened.
        #[source]
        source: TantivyError,
    },
}

/// A BM25 index in a folder. Cloning it copies a pointer.
///
/// Chunks enter and leave it a document at a time, with the fingerprint of what they were made from, and one commit
/// makes all of a document's changes at once: whoever is killed finds the state of the last commit, in which content
/// and manifest agree.
#[derive(Debug, Clone)]
pub struct EmbeddedIndex {
    shared: Arc<Shared>,
}

/// What the index, its writer and its searches share.
struct Shared {
    path: PathBuf,
    index: tantivy::Index,
    fields: Fields,
    reader: IndexReader,
    /// The newest state that was read, and the files' generation at that time.
    latest: Mutex<Option<(Generation, Arc<Snapshot>)>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl EmbeddedIndex {
    /// Opens the index in the folder `path`, or makes an empty one where there is none.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        // The files come from a disk: a damaged one may trip an assertion of the library below.
        guarded(path, || {
            let index = folder::open_or_create(path)?;
            let fields = Fields::of(&index.schema()).ok_or_else(|| damaged(path, "a field is missing"))?;
            let reader = index
                .reader_builder()
                // Files are looked at when a search begins: no watching thread, no search behind a commit.
                .reload_policy(ReloadPolicy::Manual)
                .try_into()
                .map_err(|error: TantivyError| damaged(path, error))?;
            let latest = Mutex::new(None);
            let this =
                Self { shared: Arc::new(Shared { path: path.to_owned(), index, fields, reader, latest }) };
            this.shared.snapshot()?;
            Ok(this)
        })
    }

    /// The folder it lives in.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Begins to write; one writer at a time, over all processes.
    pub fn begin(&self) -> Result<Writer, Error> {
        self.begin_with(Limits::default())
    }

    /// Begins to write under limits other than the usual ones.
    pub fn begin_with(&self, limits: Limits) -> Result<Writer, Error> {
        guarded(&self.shared.path, || Writer::new(Arc::clone(&self.shared), limits))
    }

    /// Which documents it holds, and what each was made from.
    pub fn manifest(&self) -> Result<Manifest, Error> {
        guarded(&self.shared.path, || {
            let snapshot = self.shared.snapshot()?;
            snapshot.manifest(self.shared.fields).map_err(|error| damaged(&self.shared.path, error))
        })
    }

    /// The chunks that match best; see [`Index::search`]. Reads files: not for an async task.
    pub fn search_blocking(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        guarded(&self.shared.path, || {
            let snapshot = self.shared.snapshot()?;
            let By::Words { text, k1, b } = &query.by else {
                return Err(damaged(&self.shared.path, "it has no vectors"));
            };
            let words = search::Words { text, k1: *k1, b: *b };
            snapshot
                .search(self.shared.fields, &words, query)
                .map_err(|error| damaged(&self.shared.path, error))
        })
    }

    /// See [`Index::chunks_of`]. Reads files: not for an async task.
    pub fn chunks_of_blocking(&self, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        guarded(&self.shared.path, || {
            let snapshot = self.shared.snapshot()?;
            snapshot.chunks_of(self.shared.fields, doc).map_err(|error| damaged(&self.shared.path, error))
        })
    }

    /// How much it holds. Reads files: not for an async task.
    pub fn stats_blocking(&self) -> Result<IndexStats, Error> {
        guarded(&self.shared.path, || {
            let snapshot = self.shared.snapshot()?;
            Ok(IndexStats {
                documents: snapshot.n_documents,
                chunks: snapshot.n_chunks,
                vectors: 0,
                dimensions: 0,
            })
        })
    }
}

impl Shared {
    /// The state of the last commit, whoever made it.
    fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let generation = Generation::of(&self.path);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, snapshot)) = latest.as_ref()
            && *seen == generation
        {
            return Ok(Arc::clone(snapshot));
        }
        let open = || -> tantivy::Result<Snapshot> {
            self.reader.reload()?;
            Snapshot::new(self.reader.searcher())
        };
        let snapshot = Arc::new(open().map_err(|error| damaged(&self.path, error))?);
        *latest = Some((generation, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Makes the next search look at the files again.
    fn forget_snapshot(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn damaged(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::Damaged { path: path.to_owned(), message: message.to_string() }
}

/// Runs `work`; a panic of the library below means that the files are not what it once wrote.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged(path, "its files contradict each other")))
}

/// Runs `work` beside the async tasks: it waits for a disk.
async fn aside<T: Send + 'static>(
    index: &EmbeddedIndex,
    work: impl FnOnce(&EmbeddedIndex) -> Result<T, Error> + Send + 'static,
) -> Result<T, BackendError> {
    let name = || format!("index `{}`", index.path().display());
    let this = index.clone();
    match tokio::task::spawn_blocking(move || work(&this)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ (Error::Folder { .. } | Error::Busy { .. } | Error::Write { .. }))) => {
            Err(BackendError::Unavailable { backend: name(), message: error.to_string(), retry_after: None })
        }
        Ok(Err(error)) => Err(BackendError::Rejected { backend: name(), message: error.to_string() }),
        Err(_) => Err(BackendError::Unavailable {
            backend: name(),
            message: "the search was cancelled".into(),
            retry_after: None,
        }),
    }
}

#[async_trait]
impl Index for EmbeddedIndex {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, BackendError> {
        let query = query.clone();
        aside(self, move |index| index.search_blocking(&query)).await
    }

    async fn chunks_of(
        &self,
        _namespace: &Namespace,
        doc: &DocumentId,
    ) -> Result<Vec<Arc<Chunk>>, BackendError> {
        let doc = doc.clone();
        aside(self, move |index| index.chunks_of_blocking(&doc)).await
    }

    async fn stats(&self, _namespace: &Namespace) -> Result<IndexStats, BackendError> {
        aside(self, EmbeddedIndex::stats_blocking).await
    }
}
