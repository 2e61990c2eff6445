//! Puts documents into the index and takes them out, a commit at a time.

use std::io;
use std::sync::Arc;

use anabranch_engine::value::{Chunk, DocumentId};
use tantivy::directory::error::LockError;
use tantivy::{IndexWriter, TantivyError};

use super::super::{Entry, Fingerprint, VectorSpace};
use super::part::Part;
use super::vectors::{self, Appender, Payload};
use super::{Error, damaged, guarded, nearest};

/// How much a writer holds in memory, and how often it makes sure of what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory for what is being indexed, in bytes; at least 15 MB.
    pub heap_bytes: usize,
    /// Documents after which it commits by itself, so that a killed run keeps its progress.
    pub commit_documents: usize,
    /// Bytes of chunks after which it commits by itself.
    pub commit_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { heap_bytes: 50_000_000, commit_documents: 256, commit_bytes: 16 << 20 }
    }
}

/// Changes the index. What was not committed when it is dropped (or killed) has not happened.
pub struct Writer {
    part: Arc<Part>,
    inner: IndexWriter,
    limits: Limits,
    payload: Payload,
    vectors: Option<Appender>,
    pending_documents: usize,
    pending_bytes: usize,
    /// Whether a change stopped halfway: it must never be committed.
    is_torn: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.part.path)
            .field("pending_documents", &self.pending_documents)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Begins to write vectors of `space`, or none. What was indexed with others is forgotten first.
    pub(super) fn new(part: Arc<Part>, space: Option<&VectorSpace>, limits: Limits) -> Result<Self, Error> {
        let path = part.path.clone();
        guarded(&path, move || Self::begin(part, space, limits))
    }

    fn begin(part: Arc<Part>, space: Option<&VectorSpace>, limits: Limits) -> Result<Self, Error> {
        // The lock below is the system's: it goes with the process that holds it, however that ends.
        let inner =
            part.index.writer_with_num_threads(1, limits.heap_bytes).map_err(|error| match error {
                TantivyError::LockFailure(LockError::LockBusy, _) => Error::Busy { path: part.path.clone() },
                TantivyError::LockFailure(LockError::IoError(error), _) => Error::Folder {
                    path: part.path.clone(),
                    source: io::Error::new(error.kind(), error.to_string()),
                },
                source => Error::Write { path: part.path.clone(), source },
            })?;
        // Nobody else commits from here on.
        let payload = part.index.load_metas().and_then(|metas| Payload::parse(metas.payload.as_deref()));
        let payload = payload.map_err(|error| damaged(&part.path, error))?;
        let mut this = Self {
            part,
            inner,
            limits,
            payload,
            vectors: None,
            pending_documents: 0,
            pending_bytes: 0,
            is_torn: false,
        };
        vectors::sweep(&this.part.path, &this.payload).map_err(|error| this.folder_error(error))?;
        let layout = this.payload.layout.clone();
        if layout.as_ref().map(vectors::Layout::space).as_ref() == space {
            this.vectors = layout
                .map(|layout| Appender::open(&this.part.path, &layout))
                .transpose()
                .map_err(|error| this.vectors_error(error))?;
        } else {
            this.move_to(space)?;
        }
        Ok(this)
    }

    /// Forgets everything, to begin with vectors of another space. One commit: nobody sees vectors of two.
    fn move_to(&mut self, space: Option<&VectorSpace>) -> Result<(), Error> {
        self.payload.layout = None;
        self.vectors = match space {
            Some(space) if space.dimensions == 0 => {
                return Err(self.entry_error("vectors of no numbers cannot be searched"));
            }
            Some(space) => Some(
                Appender::create(&self.part.path, &mut self.payload, space)
                    .map_err(|source| Error::Folder { path: self.part.path.clone(), source })?,
            ),
            None => None,
        };
        self.inner.delete_all_documents().map_err(|error| self.write_error(error))?;
        self.commit_all()?;
        vectors::sweep(&self.part.path, &self.payload).map_err(|error| self.folder_error(error))
    }

    /// Puts a document's chunks in the place of those that it had, in an index without vectors.
    ///
    /// A document without chunks is remembered too: it need not be read again until it changes.
    pub fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        chunks: &[Arc<Chunk>],
    ) -> Result<(), Error> {
        let entries: Vec<Entry> =
            chunks.iter().map(|chunk| Entry { chunk: Arc::clone(chunk), vector: None }).collect();
        self.replace_entries(doc, fingerprint, &entries)
    }

    /// Puts a document's chunks in the place of those that it had, each with its vector if the index has vectors.
    pub fn replace_entries(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        entries: &[Entry],
    ) -> Result<(), Error> {
        // Looked at before anything is changed: what is refused leaves the document as it was.
        let rows: Vec<Option<Vec<f32>>> =
            entries.iter().map(|entry| self.row_of(entry)).collect::<Result<_, _>>()?;
        self.whole(|this| {
            let fields = this.part.fields;
            this.inner.delete_term(fields.key(doc));
            for (Entry { chunk, .. }, row) in entries.iter().zip(&rows) {
                let number = match (&mut this.vectors, row) {
                    (Some(vectors), Some(row)) => Some(vectors.push(row)),
                    _ => None,
                };
                let number = number.transpose().map_err(|error| this.folder_error(error))?;
                let entry = if chunk.doc == *doc {
                    fields.chunk(chunk, number)
                } else {
                    // Else the document's next change would leave this chunk behind.
                    fields.chunk(&Chunk { doc: doc.clone(), ..Chunk::clone(chunk) }, number)
                };
                let entry = entry.map_err(|error| damaged(&this.part.path, error))?;
                this.inner.add_document(entry).map_err(|error| this.write_error(error))?;
                this.pending_bytes +=
                    chunk.text.len() + row.as_ref().map_or(0, |row| size_of_val(row.as_slice()));
            }
            let marker = fields.marker(doc, fingerprint.as_str());
            let marker = marker.map_err(|error| damaged(&this.part.path, error))?;
            this.inner.add_document(marker).map_err(|error| this.write_error(error))?;
            Ok(())
        })?;
        self.changed()
    }

    /// The vector of an entry, if the index has vectors and this is one of its space.
    fn row_of(&self, entry: &Entry) -> Result<Option<Vec<f32>>, Error> {
        let id = &entry.chunk.id;
        match (&self.vectors, &entry.vector) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.entry_error(format!("`{id}` has a vector, the index has none"))),
            (Some(_), None) => Err(self.entry_error(format!("`{id}` has no vector, the index has vectors"))),
            (Some(space), Some(vector)) if vector.len() != space.dimensions() => {
                Err(self.entry_error(format!(
                    "the vector of `{id}` has {} numbers, those of the index have {}",
                    vector.len(),
                    space.dimensions()
                )))
            }
            (Some(_), Some(vector)) => nearest::unit(vector).map(Some).ok_or_else(|| {
                self.entry_error(format!("the vector of `{id}` has an entry that is no number"))
            }),
        }
    }

    /// Takes a document and its chunks out.
    pub fn remove(&mut self, doc: &DocumentId) -> Result<(), Error> {
        self.whole(|this| {
            this.inner.delete_term(this.part.fields.key(doc));
            Ok(())
        })?;
        self.changed()
    }

    /// Makes everything so far last, and seen by searches from now on.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.pending_documents > 0 { self.commit_all() } else { Ok(()) }
    }

    /// Commits and waits until the files are in order, so that the next search is fast.
    pub fn finish(mut self) -> Result<(), Error> {
        self.commit()?;
        self.compact()?;
        let Self { part, inner, payload, .. } = self;
        inner.wait_merging_threads().map_err(|source| Error::Write { path: part.path.clone(), source })?;
        // What is left behind is removed by the next writer.
        vectors::sweep(&part.path, &payload).ok();
        part.forget_snapshot();
        Ok(())
    }

    /// Drops the vectors of chunks that have gone, once they are the majority.
    fn compact(&mut self) -> Result<(), Error> {
        if self.payload.layout.is_none() {
            return Ok(());
        }
        let snapshot = self.part.snapshot()?;
        let Some(vectors) = &snapshot.vectors else { return Ok(()) };
        let compacted = vectors::compact(&self.part.path, &mut self.payload.n_files, vectors);
        if let Some(layout) = compacted.map_err(|error| self.folder_error(error))? {
            self.payload.layout = Some(layout);
            // The rows are where the layout says; there is nothing to go on with.
            self.vectors = None;
            self.commit_all()?;
        }
        Ok(())
    }

    /// Vectors first: the commit speaks of them.
    fn commit_all(&mut self) -> Result<(), Error> {
        self.whole(|this| {
            if let Some(vectors) = &mut this.vectors {
                let layout = vectors.sync();
                this.payload.layout = Some(layout.map_err(|error| this.folder_error(error))?);
            }
            let payload =
                serde_json::to_string(&this.payload).map_err(|error| damaged(&this.part.path, error))?;
            let committed = this.inner.prepare_commit().and_then(|mut prepared| {
                prepared.set_payload(&payload);
                prepared.commit()
            });
            committed.map_err(|error| this.write_error(error))?;
            Ok(())
        })?;
        self.part.forget_snapshot();
        self.pending_documents = 0;
        self.pending_bytes = 0;
        Ok(())
    }

    /// Between documents, never within one: a commit holds whole documents only.
    fn changed(&mut self) -> Result<(), Error> {
        self.pending_documents += 1;
        let is_due = self.pending_documents >= self.limits.commit_documents
            || self.pending_bytes >= self.limits.commit_bytes;
        if is_due { self.commit() } else { Ok(()) }
    }

    /// Does something that must be done whole; nothing is committed after it has failed.
    fn whole(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.is_torn {
            return Err(self.entry_error("an earlier change failed; begin to write anew"));
        }
        self.is_torn = true;
        work(self)?;
        self.is_torn = false;
        Ok(())
    }

    fn entry_error(&self, message: impl Into<String>) -> Error {
        Error::Entry { path: self.part.path.clone(), message: message.into() }
    }

    fn folder_error(&self, source: io::Error) -> Error {
        Error::Folder { path: self.part.path.join(super::folder::VECTORS), source }
    }

    /// Why the vectors of the last commit cannot be gone on with.
    fn vectors_error(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => damaged(&self.part.path, error),
            _ => self.folder_error(error),
        }
    }

    fn write_error(&self, source: TantivyError) -> Error {
        Error::Write { path: self.part.path.clone(), source }
    }
}
