//! Lists the files under some roots, in an order that is the same every time.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use anabranch_engine::value::DocumentId;
use ignore::{DirEntry, WalkBuilder};

use super::{FILE_BYTES_MAX, Kind, Loaded, Skipped, Why, corpus, json, source};

/// A file that can be read, as far as its name and size tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// The document's name: the root as it was given, and the path below it, `/`-separated.
    pub id: DocumentId,
    /// How it is read.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, where the system says so.
    pub modified: Option<SystemTime>,
}

/// What a walk finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file to read.
    File(Listed),
    /// Something that is not read.
    Skipped(Skipped),
}

impl Listed {
    /// Reads and hashes the file: one document, many for a corpus, or the reason why there is none.
    pub fn sources(self) -> Box<dyn Iterator<Item = Loaded> + Send> {
        match self.kind {
            Kind::Corpus => Box::new(corpus::sources(self)),
            Kind::Json => json::sources(self),
            Kind::Markdown | Kind::Text | Kind::Html | Kind::Code | Kind::Csv | Kind::Pdf => {
                Box::new(std::iter::once_with(move || source::read(self)))
            }
        }
    }
}

/// Lists the files under `roots`, each once.
///
/// A root is a folder or a file. Left out are hidden files, what `.gitignore` and `.ignore` files name, and symbolic
/// links, so that there are no loops. The order is that of the roots, then of the names in each folder.
pub fn walk<P: AsRef<Path>>(roots: impl IntoIterator<Item = P>) -> Walk {
    let roots = roots.into_iter().map(|root| root.as_ref().to_owned()).collect();
    Walk { roots, current: None, seen: BTreeSet::new() }
}

/// The iterator of [`walk`].
pub struct Walk {
    roots: VecDeque<PathBuf>,
    current: Option<ignore::Walk>,
    seen: BTreeSet<DocumentId>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("roots", &self.roots).finish_non_exhaustive()
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let Some(current) = &mut self.current else {
                self.current = Some(walk_root(&self.roots.pop_front()?));
                continue;
            };
            match current.next() {
                None => self.current = None,
                Some(Ok(entry)) => match examine(&entry) {
                    // Roots may overlap.
                    Some(Found::File(listed)) if !self.seen.insert(listed.id.clone()) => {}
                    Some(found) => return Some(found),
                    None => {}
                },
                Some(Err(error)) => return Some(Found::Skipped(unreadable(&error))),
            }
        }
    }
}

fn walk_root(root: &Path) -> ignore::Walk {
    WalkBuilder::new(root)
        .follow_links(false)
        // A folder that was copied out of its repository means its `.gitignore` no less.
        .require_git(false)
        // What one person's machine ignores everywhere is no property of the documents.
        .git_global(false)
        .sort_by_file_name(Ord::cmp)
        .build()
}

/// What to do with an entry; `None` for a folder.
fn examine(entry: &DirEntry) -> Option<Found> {
    let path = entry.path();
    let skip = |why| Some(Found::Skipped(Skipped { path: path.to_owned(), why }));
    // A root that is a link was named on purpose.
    let is_link = entry.path_is_symlink() && entry.depth() > 0;
    if is_link {
        return skip(Why::Link);
    }
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(metadata) => metadata,
        Err(error) => return skip(Why::Unreadable(error.to_string())),
    };
    // Reading a pipe or a device would wait for ever.
    let kind = Kind::of_path(path).filter(|_| metadata.is_file());
    match kind {
        None => skip(Why::UnknownKind),
        Some(_) if metadata.len() == 0 => skip(Why::Empty),
        Some(kind) if kind != Kind::Corpus && metadata.len() > FILE_BYTES_MAX => skip(Why::TooLarge),
        Some(kind) => Some(Found::File(Listed {
            path: path.to_owned(),
            id: document_id(path),
            kind,
            size: metadata.len(),
            modified: metadata.modified().ok(),
        })),
    }
}

/// The path as it was reached, without `./`: unique over several roots, and it opens from where the user stands.
fn document_id(path: &Path) -> DocumentId {
    let mut id = String::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::RootDir => id.push('/'),
            Component::Prefix(prefix) => id.push_str(&prefix.as_os_str().to_string_lossy()),
            Component::ParentDir | Component::Normal(_) => {
                if !id.is_empty() && !id.ends_with('/') {
                    id.push('/');
                }
                id.push_str(&component.as_os_str().to_string_lossy());
            }
        }
    }
    DocumentId(id.into())
}

fn unreadable(error: &ignore::Error) -> Skipped {
    fn path_of(error: &ignore::Error) -> Option<&Path> {
        match error {
            ignore::Error::WithPath { path, .. } | ignore::Error::Loop { child: path, .. } => Some(path),
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
            ignore::Error::Partial(errors) => errors.iter().find_map(path_of),
            _ => None,
        }
    }
    let message = match error.io_error() {
        Some(io) => io.to_string(),
        None => error.to_string(),
    };
    Skipped { path: path_of(error).unwrap_or(Path::new("")).to_owned(), why: Why::Unreadable(message) }
}
