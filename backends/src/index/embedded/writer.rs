//! Puts documents into the index and takes them out, a commit at a time.

use std::sync::Arc;

use anabranch_engine::value::{Chunk, DocumentId};
use tantivy::{IndexWriter, TantivyError};

use super::super::Fingerprint;
use super::{Error, Shared, damaged};

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
    shared: Arc<Shared>,
    inner: IndexWriter,
    limits: Limits,
    pending_documents: usize,
    pending_bytes: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.shared.path)
            .field("pending_documents", &self.pending_documents)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, limits: Limits) -> Result<Self, Error> {
        // The lock below is the system's: it goes with the process that holds it, however that ends.
        let inner =
            shared.index.writer_with_num_threads(1, limits.heap_bytes).map_err(|error| match error {
                TantivyError::LockFailure(..) => Error::Busy { path: shared.path.clone() },
                source => Error::Write { path: shared.path.clone(), source },
            })?;
        Ok(Self { shared, inner, limits, pending_documents: 0, pending_bytes: 0 })
    }

    /// Puts a document's chunks in the place of those that it had.
    ///
    /// A document without chunks is remembered too: it need not be read again until it changes.
    pub fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        chunks: &[Arc<Chunk>],
    ) -> Result<(), Error> {
        let fields = self.shared.fields;
        let unwritable = |error: serde_json::Error| damaged(&self.shared.path, error);
        self.inner.delete_term(fields.key(doc));
        for chunk in chunks {
            let entry = if chunk.doc == *doc {
                fields.chunk(chunk)
            } else {
                // Else the document's next change would leave this chunk behind.
                fields.chunk(&Chunk { doc: doc.clone(), ..Chunk::clone(chunk) })
            };
            self.inner.add_document(entry.map_err(unwritable)?).map_err(|error| self.write_error(error))?;
            self.pending_bytes += chunk.text.len();
        }
        let marker = fields.marker(doc, fingerprint.as_str()).map_err(unwritable)?;
        self.inner.add_document(marker).map_err(|error| self.write_error(error))?;
        self.changed()
    }

    /// Takes a document and its chunks out.
    pub fn remove(&mut self, doc: &DocumentId) -> Result<(), Error> {
        self.inner.delete_term(self.shared.fields.key(doc));
        self.changed()
    }

    /// Makes everything so far last, and seen by searches from now on.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.pending_documents > 0 {
            self.inner.commit().map_err(|error| self.write_error(error))?;
            self.shared.forget_snapshot();
            self.pending_documents = 0;
            self.pending_bytes = 0;
        }
        Ok(())
    }

    /// Commits and waits until the files are in order, so that the next search is fast.
    pub fn finish(mut self) -> Result<(), Error> {
        self.commit()?;
        let Self { shared, inner, .. } = self;
        inner.wait_merging_threads().map_err(|source| Error::Write { path: shared.path.clone(), source })?;
        shared.forget_snapshot();
        Ok(())
    }

    /// Between documents, never within one: a commit holds whole documents only.
    fn changed(&mut self) -> Result<(), Error> {
        self.pending_documents += 1;
        let is_due = self.pending_documents >= self.limits.commit_documents
            || self.pending_bytes >= self.limits.commit_bytes;
        if is_due { self.commit() } else { Ok(()) }
    }

    fn write_error(&self, source: TantivyError) -> Error {
        Error::Write { path: self.shared.path.clone(), source }
    }
}
