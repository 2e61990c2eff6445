//! The first and the last stage of indexing: reading and hashing files, writing chunks into the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::{Fingerprint, IndexStore, IndexWriter, Manifest, StoreError};
use anabranch_backends::load::{Found, Loaded, Skipped, Source, walk};
use anabranch_engine::backend::Namespace;
use anabranch_engine::value::DocumentId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::encoder::{Encoded, Encoder, Failure};
use super::{Error, FAILURES_IN_A_ROW_MAX, Prune, Summary, Watch};

/// One step of reading, in the order of the files.
pub(super) enum Read {
    Listed(usize),
    Unchanged(DocumentId),
    Changed(Box<Source>, Fingerprint),
    Skipped(Skipped),
    FileDone,
    Interrupted,
}

/// One step of writing: what was read, and for a changed document what goes into the index.
pub(super) enum Done {
    Read(Read),
    Encoded(Encoded),
}

/// Lists, reads and hashes; gives up as soon as nobody wants more.
pub(super) fn read(
    roots: &[PathBuf],
    manifest: &Manifest,
    stamp: &str,
    cancel: &CancellationToken,
    to: &mpsc::Sender<Read>,
) {
    let found: Vec<Found> = walk(roots).take_while(|_| !cancel.is_cancelled()).collect();
    let files = found.iter().filter(|found| matches!(found, Found::File(_))).count();
    let mut wanted = to.blocking_send(Read::Listed(files)).is_ok();
    for found in found {
        let listed = match found {
            Found::File(listed) => listed,
            Found::Skipped(skipped) => {
                wanted = wanted && to.blocking_send(Read::Skipped(skipped)).is_ok();
                continue;
            }
        };
        for loaded in listed.sources() {
            if !wanted || cancel.is_cancelled() {
                break;
            }
            let step = match loaded {
                Loaded::Skipped(skipped) => Read::Skipped(skipped),
                Loaded::Source(source) => {
                    let fingerprint = Fingerprint::new(&source.hash, stamp);
                    if manifest.is_current(&source.id, &fingerprint) {
                        Read::Unchanged(source.id)
                    } else {
                        Read::Changed(Box::new(source), fingerprint)
                    }
                }
            };
            wanted = to.blocking_send(step).is_ok();
        }
        if cancel.is_cancelled() {
            break;
        }
        wanted = wanted && to.blocking_send(Read::FileDone).is_ok();
    }
    if cancel.is_cancelled() {
        // Nobody listens any more if this fails, and nothing is lost.
        drop(to.blocking_send(Read::Interrupted));
    }
}

/// The last stage.
pub(super) struct Write {
    pub(super) index: Arc<dyn IndexStore>,
    pub(super) namespace: Namespace,
    pub(super) encoder: Option<Encoder>,
    /// Begun with the first change: an index that is up to date is not touched, and stays free for others.
    pub(super) writer: Option<Box<dyn IndexWriter>>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) roots: Vec<PathBuf>,
    pub(super) prune: Prune,
    pub(super) watch: Arc<dyn Watch>,
    pub(super) present: BTreeSet<DocumentId>,
    pub(super) files: usize,
    /// Documents that the embedder failed on, one after the other.
    pub(super) failures_in_a_row: usize,
    /// Stops the stages before.
    pub(super) stop: CancellationToken,
    pub(super) summary: Summary,
}

impl Write {
    pub(super) async fn run(mut self, mut from: mpsc::Receiver<Done>) -> Result<Summary, Error> {
        while let Some(step) = from.recv().await {
            self.step(step).await?;
        }
        // Whoever gave up has stopped the others, which is no interruption from outside.
        self.summary.interrupted &= self.summary.gave_up.is_none();
        if !self.summary.interrupted && self.summary.gave_up.is_none() {
            self.remove_vanished().await?;
        }
        if let Some(writer) = self.writer {
            writer.finish().await?;
        }
        Ok(self.summary)
    }

    async fn step(&mut self, step: Done) -> Result<(), Error> {
        match step {
            Done::Read(Read::Listed(files)) => self.watch.listed(files),
            Done::Read(Read::Unchanged(id)) => {
                self.summary.unchanged += 1;
                self.present.insert(id);
            }
            Done::Read(Read::Skipped(skipped)) => self.summary.skipped.push(skipped),
            Done::Read(Read::FileDone) => self.files += 1,
            Done::Read(Read::Interrupted) => self.summary.interrupted = true,
            // The stages before turn every changed document into an encoded one.
            Done::Read(Read::Changed(..)) => {}
            Done::Encoded(Encoded { id, fingerprint, entries }) => match entries {
                Ok(None) => self.summary.interrupted = true,
                Ok(Some(entries)) => {
                    let chunks = entries.len();
                    self.writer().await?.replace(&id, &fingerprint, entries).await?;
                    match self.manifest.get(&id) {
                        Some(_) => self.summary.changed += 1,
                        None => self.summary.added += 1,
                    }
                    self.summary.chunks += chunks;
                    self.failures_in_a_row = 0;
                    self.present.insert(id);
                }
                Err(failure) => self.failed(id, failure),
            },
        }
        let documents = self.summary.added + self.summary.changed;
        self.watch.at(Progress { files: self.files, documents, chunks: self.summary.chunks });
        Ok(())
    }

    fn failed(&mut self, id: DocumentId, failure: Failure) {
        if let Failure::Embedding(error) = &failure {
            self.failures_in_a_row += 1;
            if self.failures_in_a_row >= FAILURES_IN_A_ROW_MAX && self.summary.gave_up.is_none() {
                self.summary.gave_up = Some(error.clone());
                self.stop.cancel();
            }
        }
        self.present.insert(id.clone());
        self.summary.failed.push((id, failure));
    }

    async fn remove_vanished(&mut self) -> Result<(), Error> {
        let is_gone =
            |id: &&DocumentId| self.prune == Prune::All || self.roots.iter().any(|root| is_below(id, root));
        let gone: Vec<DocumentId> = self.manifest.vanished(&self.present).filter(is_gone).cloned().collect();
        for id in &gone {
            self.writer().await?.remove(id).await?;
            self.summary.removed += 1;
        }
        Ok(())
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn IndexWriter>, Error> {
        let writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let space = match &self.encoder {
                Some(encoder) => Some(encoder.space().await.map_err(StoreError::Backend)?),
                None => None,
            };
            self.index.writer(&self.namespace, space.as_ref()).await?
        };
        Ok(self.writer.insert(writer))
    }
}

/// How far indexing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files that have been looked at.
    pub files: usize,
    /// Documents that were indexed, again or for the first time.
    pub documents: usize,
    /// Their chunks.
    pub chunks: usize,
}

/// Whether a document came from below `root`: documents are named by root and path, and lines of corpora by `#` too.
pub(super) fn is_below(id: &DocumentId, root: &Path) -> bool {
    let parts = root.components().filter(|part| *part != std::path::Component::CurDir);
    let root: PathBuf = parts.collect();
    let (file, _) = id.0.rsplit_once('#').unwrap_or((&id.0, ""));
    let is_relative = root.as_os_str().is_empty();
    [file, &id.0].iter().any(|name| {
        let path = Path::new(name);
        if is_relative { path.is_relative() && !path.starts_with("..") } else { path.starts_with(&root) }
    })
}
