//! The first and the last stage of indexing: reading and hashing files, writing chunks into the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::embedded::Writer;
use anabranch_backends::index::{EmbeddedIndex, Fingerprint, Manifest};
use anabranch_backends::load::{Found, Loaded, Skipped, Source, walk};
use anabranch_engine::value::{Chunk, DocumentId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Error, Prune, Summary, Watch};

/// One step of reading, in the order of the files.
pub(super) enum Read {
    Listed(usize),
    Unchanged(DocumentId),
    Changed(Box<Source>, Fingerprint),
    Skipped(Skipped),
    FileDone,
    Interrupted,
}

/// One step of writing: what was read, and for a changed document its chunks.
pub(super) enum Done {
    Read(Read),
    Cut(DocumentId, Fingerprint, Result<Option<Vec<Arc<Chunk>>>, String>),
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
    pub(super) index: EmbeddedIndex,
    /// Begun with the first change: an index that is up to date is not touched, and stays free for others.
    pub(super) writer: Option<Writer>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) roots: Vec<PathBuf>,
    pub(super) prune: Prune,
    pub(super) watch: Arc<dyn Watch>,
    pub(super) present: BTreeSet<DocumentId>,
    pub(super) files: usize,
    pub(super) summary: Summary,
}

impl Write {
    pub(super) fn run(mut self, mut from: mpsc::Receiver<Done>) -> Result<Summary, Error> {
        while let Some(step) = from.blocking_recv() {
            self.step(step)?;
        }
        if !self.summary.interrupted {
            self.remove_vanished()?;
        }
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        Ok(self.summary)
    }

    fn step(&mut self, step: Done) -> Result<(), Error> {
        match step {
            Done::Read(Read::Listed(files)) => self.watch.listed(files),
            Done::Read(Read::Unchanged(id)) => {
                self.summary.unchanged += 1;
                self.present.insert(id);
            }
            Done::Read(Read::Skipped(skipped)) => self.summary.skipped.push(skipped),
            Done::Read(Read::FileDone) => self.files += 1,
            Done::Read(Read::Interrupted) | Done::Cut(_, _, Ok(None)) => self.summary.interrupted = true,
            // The cutting stage turns every changed document into a cut one.
            Done::Read(Read::Changed(..)) => {}
            Done::Cut(id, fingerprint, Ok(Some(chunks))) => {
                self.writer()?.replace(&id, &fingerprint, &chunks)?;
                match self.manifest.get(&id) {
                    Some(_) => self.summary.changed += 1,
                    None => self.summary.added += 1,
                }
                self.summary.chunks += chunks.len();
                self.present.insert(id);
            }
            Done::Cut(id, _, Err(why)) => {
                self.present.insert(id.clone());
                self.summary.failed.push((id, why));
            }
        }
        self.watch.at(self.files, self.summary.added + self.summary.changed);
        Ok(())
    }

    fn remove_vanished(&mut self) -> Result<(), Error> {
        let is_gone =
            |id: &&DocumentId| self.prune == Prune::All || self.roots.iter().any(|root| is_below(id, root));
        let gone: Vec<DocumentId> = self.manifest.vanished(&self.present).filter(is_gone).cloned().collect();
        for id in &gone {
            self.writer()?.remove(id)?;
            self.summary.removed += 1;
        }
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut Writer, Error> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.index.begin()?,
        };
        Ok(self.writer.insert(writer))
    }
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
