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
use anabranch_backends::index::embedded::{self, Fingerprint, Manifest, Writer};
use anabranch_backends::load::{Found, Loaded, Skipped, Source, walk};
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::{Diagnostics, SourceFile};
use anabranch_engine::event::RunId;
use anabranch_engine::operator::Registry;
use anabranch_engine::plan::{self, Plan};
use anabranch_engine::run::{self, Options, Outcome};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, DocumentId, Map, Value};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::library::{self, Files};

/// The indexing flow that is used where none is named.
const DEFAULT_FLOW: &str = include_str!("../../flows/index.yaml");
/// The name under which diagnostics show it.
const DEFAULT_FLOW_NAME: &str = "flows/index.yaml (built in)";
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

/// A flow that cuts documents into chunks.
#[derive(Debug, Clone)]
pub struct Cutter {
    plan: Arc<Plan>,
    /// Names the way of cutting: a document is cut again when it changes.
    stamp: String,
}

impl Cutter {
    /// The indexing flow in the file `path`, or the built-in one.
    pub fn load(path: Option<&Path>, registry: &Registry) -> Result<Self, Error> {
        let file = match path {
            Some(path) => {
                let read = |source| Error::Read { path: path.to_owned(), source };
                SourceFile::new(path.display().to_string(), library::read_bounded(path).map_err(read)?)
            }
            None => SourceFile::new(DEFAULT_FLOW_NAME, DEFAULT_FLOW),
        };
        let library = Files::beside(Path::new(&file.name));
        let environment = plan::Environment { registry, names: None, library: &library };
        let (plan, _) = plan::compile(&file, &environment).map_err(Error::Flow)?;
        if let Some(why) = why_no_indexer(&plan) {
            return Err(Error::NoIndexer { flow: plan.name.to_string(), why });
        }
        // A new version of the program may cut the same document in another way.
        let stamp = format!("{} {}", env!("CARGO_PKG_VERSION"), plan.hash);
        Ok(Self { plan: Arc::new(plan), stamp })
    }

    /// The chunks of one document; `None` if the run was cancelled, an error text if it failed.
    async fn cut(
        &self,
        source: Source,
        resources: Arc<Resources>,
        cancel: CancellationToken,
    ) -> Result<Option<Vec<Arc<Chunk>>>, String> {
        let inputs: Map =
            [("document".into(), Value::Document(Arc::new(source.into_document())))].into_iter().collect();
        let options = Options { id: RunId("index".into()), cancel, ..Options::default() };
        let report = run::run(self.plan.clone(), inputs, resources, options)
            .await
            .map_err(|error| crate::exit::chain(&error))?;
        match report.outcome {
            Outcome::Succeeded => {}
            Outcome::Failed(failure) => return Err(failure.to_string()),
            Outcome::Cancelled { .. } => return Ok(None),
        }
        let chunks = report.outputs.get("chunks").and_then(Value::as_list).unwrap_or_default();
        Ok(Some(
            chunks
                .iter()
                .filter_map(|value| match value {
                    Value::Chunk(chunk) => Some(chunk.clone()),
                    _ => None,
                })
                .collect(),
        ))
    }
}

fn why_no_indexer(plan: &Plan) -> Option<String> {
    let inputs = &plan.root.inputs;
    let Some(document) = inputs.iter().find(|input| &*input.port.name == "document") else {
        return Some("it has no input `document`".to_owned());
    };
    if *document.port.ty.required() != Type::Document {
        return Some(format!("its input `document` is of type `{}`", document.port.ty));
    }
    let needed = |input: &&plan::Input| {
        &*input.port.name != "document" && input.default.is_none() && !input.port.ty.is_optional()
    };
    if let Some(other) = inputs.iter().find(needed) {
        return Some(format!("it needs an input `{}` too", other.port.name));
    }
    match plan.root.outputs.iter().find(|output| &*output.port.name == "chunks") {
        None => Some("it has no output `chunks`".to_owned()),
        Some(output) if *output.port.ty.required() != Type::list(Type::Chunk) => {
            Some(format!("its output `chunks` is of type `{}`", output.port.ty))
        }
        Some(_) => None,
    }
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

/// One step of reading, in the order of the files.
enum Read {
    Listed(usize),
    Unchanged(DocumentId),
    Changed(Box<Source>, Fingerprint),
    Skipped(Skipped),
    FileDone,
    Interrupted,
}

/// One step of writing: what was read, and for a changed document its chunks.
enum Done {
    Read(Read),
    Cut(DocumentId, Fingerprint, Result<Option<Vec<Arc<Chunk>>>, String>),
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

/// Lists, reads and hashes; gives up as soon as nobody wants more.
fn read(
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
struct Write {
    index: EmbeddedIndex,
    /// Begun with the first change: an index that is up to date is not touched, and stays free for others.
    writer: Option<Writer>,
    manifest: Arc<Manifest>,
    roots: Vec<PathBuf>,
    prune: Prune,
    watch: Arc<dyn Watch>,
    present: BTreeSet<DocumentId>,
    files: usize,
    summary: Summary,
}

impl Write {
    fn run(mut self, mut from: mpsc::Receiver<Done>) -> Result<Summary, Error> {
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
fn is_below(id: &DocumentId, root: &Path) -> bool {
    let parts = root.components().filter(|part| *part != std::path::Component::CurDir);
    let root: PathBuf = parts.collect();
    let (file, _) = id.0.rsplit_once('#').unwrap_or((&id.0, ""));
    let is_relative = root.as_os_str().is_empty();
    [file, &id.0].iter().any(|name| {
        let path = Path::new(name);
        if is_relative { path.is_relative() && !path.starts_with("..") } else { path.starts_with(&root) }
    })
}

#[cfg(test)]
mod tests;
