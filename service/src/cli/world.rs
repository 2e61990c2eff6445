//! What a command has to work with: the configuration, the data folder, the indexes and models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anabranch_backends::index::{EmbeddedIndex, embedded};
use anabranch_engine::cx::{IndexEntry, Resources};
use anabranch_engine::diagnostic;
use anabranch_engine::operator::{Names, Registry};
use anabranch_engine::value::Text;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::print;
use crate::config::{self, Config};
use crate::exit::{self, Error, Exit};
use crate::indexing::{self, Cutter, Prune, Summary, Watch};
use crate::resources::{self, Overrides};

/// Where the configuration and the data are.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "world")]
pub(crate) struct Args {
    /// Configuration file; `anabranch.yaml` of the current folder if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder that indexes are kept in, over `data` of the configuration
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The configuration, and what there is by it.
pub(crate) struct World {
    pub(crate) config: Config,
    /// Whether there is a configuration file.
    is_configured: bool,
}

impl World {
    /// Reads the configuration.
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let mut config = Config::find(args.config.as_deref())
            .map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))?;
        if let Some(data) = &args.data {
            config.data.clone_from(data);
        }
        let is_configured = args.config.is_some() || Path::new(config::FILE).is_file();
        Ok(Self { config, is_configured })
    }

    /// The names that flows can use: configured models, and indexes that are configured or there already.
    pub(crate) fn names(&self) -> Names {
        let mut indexes = indexing::existing(&self.config.data);
        indexes.extend(self.config.indexes.keys().cloned());
        Names { models: self.config.models.keys().cloned().collect(), indexes, ..Names::defaults([]) }
    }

    /// As [`World::names`], if anything says what there is: a flow can be checked where it will not run.
    pub(crate) fn declared_names(&self) -> Option<Names> {
        (self.is_configured || !indexing::existing(&self.config.data).is_empty()).then(|| self.names())
    }

    /// The models, with what the command line says on top, and these indexes.
    pub(crate) fn resources(
        &self,
        overrides: &Overrides,
        indexes: BTreeMap<String, IndexEntry>,
    ) -> Result<Arc<Resources>, Error> {
        let env = |name: &str| std::env::var(name).ok();
        resources::resources(&self.config, overrides, indexes, &env)
            .map(Arc::new)
            .map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))
    }

    /// The folder of the index `name`.
    pub(crate) fn index_folder(&self, name: &str) -> PathBuf {
        indexing::folder(&self.config.data, name)
    }

    /// Opens the index `name`, which must be there.
    pub(crate) fn open(&self, name: &str) -> Result<EmbeddedIndex, Error> {
        let folder = self.index_folder(name);
        if !indexing::is_name(name) || !folder.is_dir() {
            let names = self.names().indexes;
            let near = diagnostic::nearest(name, names.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("make it with `anabranch index PATH --into {name}`"),
            };
            return Err(Error::new(Exit::Invalid, format!("there is no index `{name}`")).hint(hint));
        }
        EmbeddedIndex::open_or_create(folder).map_err(|error| index_error(&error))
    }

    /// The indexes `names`, those with `paths` in the configuration built or brought up to date.
    pub(crate) async fn indexes(
        &self,
        names: &[Text],
        registry: &Registry,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, IndexEntry>, Error> {
        let mut indexes: BTreeMap<String, IndexEntry> = BTreeMap::new();
        for name in names {
            let index = match self.config.indexes.get(&**name) {
                Some(config) => {
                    if !indexing::is_name(name) {
                        let message = format!("`{name}` is no name for an index");
                        return Err(Error::new(Exit::Invalid, message).hint(
                            "a name has small letters, digits, `_` and `-`, and begins with a letter",
                        ));
                    }
                    let cutter =
                        Cutter::load(config.flow.as_deref(), registry).map_err(|error| failed(&error))?;
                    for path in config.paths.iter().filter(|path| !path.exists()) {
                        print::remark(&format!("index `{name}`: there is no `{}`", path.display()));
                    }
                    let folder = self.index_folder(name);
                    let is_new = !folder.is_dir();
                    let index = EmbeddedIndex::open_or_create(folder).map_err(|error| index_error(&error))?;
                    let updated =
                        update(name, &index, &config.paths, Prune::All, &cutter, resources, cancel).await;
                    match updated {
                        Ok(summary) if summary.interrupted => return Err(Error::silent(Exit::Interrupted)),
                        Ok(summary) => tell(name, &summary, is_new),
                        // Somebody else is bringing it up to date: what it holds already will do.
                        Err(indexing::Error::Index(embedded::Error::Busy { .. })) if !is_new => {
                            print::remark(&format!(
                                "index `{name}` is being written by another process; it is used as it is"
                            ));
                        }
                        Err(error) => return Err(failed(&error)),
                    }
                    index
                }
                None => self.open(name)?,
            };
            indexes.insert(name.to_string(), IndexEntry::of_words(Arc::new(index)));
        }
        Ok(indexes)
    }
}

/// Brings an index up to date, and shows how far it is.
pub(crate) async fn update(
    name: &str,
    index: &EmbeddedIndex,
    roots: &[PathBuf],
    prune: Prune,
    cutter: &Cutter,
    resources: &Arc<Resources>,
    cancel: &CancellationToken,
) -> Result<Summary, indexing::Error> {
    let watch = Arc::new(Bar::new(name));
    let summary =
        indexing::update(index, roots, prune, cutter, resources.clone(), cancel, watch.clone()).await;
    watch.shown.finish_and_clear();
    summary
}

/// An indexing error as the command line tells it.
pub(crate) fn failed(error: &indexing::Error) -> Error {
    match error {
        indexing::Error::Flow(problems) => {
            print::complain(diagnostic::render(problems, true).trim_end());
            let summary = diagnostic::summary(problems);
            Error::new(Exit::Invalid, format!("the indexing flow is invalid: {summary}"))
        }
        indexing::Error::Read { .. } | indexing::Error::NoIndexer { .. } => {
            Error::new(Exit::Invalid, exit::chain(error))
        }
        indexing::Error::Index(error) => index_error(error),
        indexing::Error::Broken(_) => Error::new(Exit::Failed, exit::chain(error)),
    }
}

/// An error of an index as the command line tells it.
pub(crate) fn index_error(error: &embedded::Error) -> Error {
    Error::new(Exit::Unavailable, exit::chain(error))
}

/// Says what an update before a run did, if it did anything.
fn tell(name: &str, summary: &Summary, is_new: bool) {
    for (id, why) in &summary.failed {
        print::remark(&format!("index `{name}`: `{id}` is left as it was: {why}"));
    }
    if summary.has_changes() {
        let verb = if is_new { "built" } else { "updated" };
        print::remark(&format!(
            "index `{name}` {verb}: {} added, {} changed, {} removed",
            print::count(summary.added, "document"),
            summary.changed,
            summary.removed
        ));
    } else if summary.unchanged == 0 {
        print::remark(&format!("index `{name}` is empty: its paths hold no documents"));
    }
}

/// Cancels on the first Ctrl-C and ends the process on the second.
pub(crate) fn cancel_on_interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let interrupted = token.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
            print::remark("stopping; press Ctrl-C again to stop at once");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
    token
}

/// A progress bar on a terminal; otherwise two lines, and one every so many files.
struct Bar {
    shown: ProgressBar,
    lines: bool,
    said: AtomicBool,
    name: String,
}

/// Files between two plain lines of progress.
const LINE_EVERY: usize = 500;
/// Time between two frames.
const TICK: Duration = Duration::from_millis(120);

impl Bar {
    fn new(name: &str) -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let bar = if is_terminal && !print::is_quiet() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let template = "{spinner} indexing {prefix} {wide_bar:.dim} {pos}/{len} files, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.set_message("listing files");
        bar.enable_steady_tick(TICK);
        Self { shown: bar, lines: !is_terminal, said: AtomicBool::new(false), name: name.to_owned() }
    }
}

impl Watch for Bar {
    fn listed(&self, files: usize) {
        self.shown.set_length(files as u64);
    }

    fn at(&self, files: usize, indexed: usize) {
        let before = self.shown.position();
        self.shown.set_position(files as u64);
        // An index that is up to date is not worth a word.
        if self.lines && indexed > 0 && !self.said.swap(true, Ordering::Relaxed) {
            let total = usize::try_from(self.shown.length().unwrap_or_default()).unwrap_or_default();
            print::remark(&format!("indexing {}: {} to look at", self.name, print::count(total, "file")));
        }
        self.shown.set_message(format!("{} indexed", print::count(indexed, "document")));
        if self.lines && indexed > 0 && files.is_multiple_of(LINE_EVERY) && before != files as u64 {
            print::remark(&format!("indexing {}: {} done", self.name, print::count(files, "file")));
        }
    }
}

/// Whether a path is there; if not, the error that says so.
pub(crate) fn must_exist(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::usage(format!("there is no file or folder `{}`", path.display())))
}
