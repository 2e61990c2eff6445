//! One namespace of an index: a folder of its own, and the newest state that was read from it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::{By, IndexStats, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};
use tantivy::{IndexReader, ReloadPolicy, TantivyError};

use super::super::{Manifest, VectorSpace};
use super::folder::{self, Generation};
use super::schema::Fields;
use super::snapshot::Snapshot;
use super::vectors::Payload;
use super::{Error, damaged, guarded, nearest, words};

/// How often a commit may come between two looks at the files before that counts as damage.
const LOOKS_MAX: usize = 16;

/// A namespace that is there.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) index: tantivy::Index,
    pub(super) fields: Fields,
    reader: IndexReader,
    /// The newest state that was read, and the files' generation at that time.
    latest: Mutex<Option<(Generation, Arc<Snapshot>)>>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Part {
    /// Opens the one in the folder `path`; `None` if there is none. Writes nothing.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        // The files come from a disk: a damaged one may trip an assertion of the library below.
        guarded(path, || folder::open(path)?.map(|index| Self::of(path, index)).transpose())
    }

    /// Opens the one in the folder `path`, or makes an empty one.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, Error> {
        guarded(path, || Self::of(path, folder::open_or_create(path)?))
    }

    fn of(path: &Path, index: tantivy::Index) -> Result<Self, Error> {
        let fields = Fields::of(&index.schema()).ok_or_else(|| damaged(path, "a field is missing"))?;
        let reader = index
            .reader_builder()
            // Files are looked at when a search begins: no watching thread, no search behind a commit.
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(|error: TantivyError| damaged(path, error))?;
        let this = Self { path: path.to_owned(), index, fields, reader, latest: Mutex::new(None) };
        this.snapshot()?;
        Ok(this)
    }

    pub(super) fn manifest(&self) -> Result<Manifest, Error> {
        self.with_snapshot(|snapshot| snapshot.manifest().map_err(|error| damaged(&self.path, error)))
    }

    pub(super) fn chunks_of(&self, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        self.with_snapshot(|snapshot| snapshot.chunks_of(doc).map_err(|error| damaged(&self.path, error)))
    }

    pub(super) fn stats(&self) -> Result<IndexStats, Error> {
        self.with_snapshot(|snapshot| {
            let vectors = snapshot.vectors.as_ref();
            let n_vectors = vectors.map_or(0, |vectors| vectors.len() as u64);
            Ok(IndexStats {
                documents: snapshot.n_documents,
                chunks: snapshot.n_chunks,
                vectors: n_vectors,
                dimensions: vectors.filter(|_| n_vectors > 0).map_or(0, |vectors| vectors.layout.dimensions),
            })
        })
    }

    /// What its vectors are, if it has any.
    pub(super) fn space(&self) -> Result<Option<VectorSpace>, Error> {
        self.with_snapshot(|snapshot| Ok(snapshot.vectors.as_ref().map(|vectors| vectors.layout.space())))
    }

    pub(super) fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        self.with_snapshot(|snapshot| {
            let unreadable = |error| damaged(&self.path, error);
            let passing = snapshot.passing(&query.filter).map_err(unreadable)?;
            let passing = passing.as_deref();
            let hits = match &query.by {
                By::Words { text, k1, b } => {
                    let asked = words::Words { text, k1: *k1, b: *b };
                    words::search(snapshot, &asked, passing, query.top_k).map_err(unreadable)?
                }
                By::Vector(vector) => match &snapshot.vectors {
                    Some(vectors) => {
                        let vector = self.fitting(vector, vectors.layout.dimensions)?;
                        let order = snapshot.order().map_err(unreadable)?;
                        nearest::search(vectors, &vector, passing, query.top_k, order)
                    }
                    None if snapshot.n_chunks == 0 => Vec::new(),
                    None => {
                        return Err(self.refused("it has no vectors; index again with an embedder".into()));
                    }
                },
            };
            snapshot.read(&hits).map_err(unreadable)
        })
    }

    /// A query's vector at unit length, if it can be compared with those of the index.
    fn fitting(&self, vector: &[f32], dimensions: u32) -> Result<Vec<f32>, Error> {
        if u32::try_from(vector.len()) != Ok(dimensions) {
            let found = vector.len();
            return Err(self.refused(format!(
                "the query's vector has {found} numbers, those of the index have {dimensions}; \
                 ask with the embedder that the index was made with"
            )));
        }
        nearest::unit(vector)
            .ok_or_else(|| self.refused("the query's vector has an entry that is no number".into()))
    }

    fn refused(&self, message: String) -> Error {
        Error::Query { path: self.path.clone(), message }
    }

    fn with_snapshot<T>(&self, work: impl FnOnce(&Snapshot) -> Result<T, Error>) -> Result<T, Error> {
        guarded(&self.path, || work(&*self.snapshot()?))
    }

    /// The state of the last commit, whoever made it.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let generation = Generation::of(&self.path);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, snapshot)) = latest.as_ref()
            && *seen == generation
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.look().map_err(|error| damaged(&self.path, error))?);
        *latest = Some((generation, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Reads words and vectors of one commit, though others may come meanwhile.
    fn look(&self) -> tantivy::Result<Snapshot> {
        let mut n_looks = 0;
        loop {
            n_looks += 1;
            let before = self.index.load_metas()?;
            let payload = Payload::parse(before.payload.as_deref())?;
            let files = payload.layout.map(|layout| {
                let (rows, ids) = layout.open(&self.path)?;
                Ok((layout, rows, ids))
            });
            let searcher = self.reader.reload().map(|()| self.reader.searcher());
            let after = self.index.load_metas()?;
            // Else a commit came between: files may have gone, or segments may speak of other vectors.
            if (before.opstamp, &before.payload) == (after.opstamp, &after.payload) || n_looks == LOOKS_MAX {
                let files: tantivy::Result<Option<_>> = files.transpose();
                return Snapshot::new(searcher?, self.fields, files?);
            }
        }
    }

    /// Makes the next search look at the files again.
    pub(super) fn forget_snapshot(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
