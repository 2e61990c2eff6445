//! Why the embedded index cannot be used.

use std::path::{Path, PathBuf};

use anabranch_engine::backend;
use tantivy::TantivyError;

use super::FORMAT;

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
    /// A writer was given, or asked for, what it cannot do.
    #[error("cannot write the index in `{}`: {message}", path.display())]
    Entry {
        /// Which folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A search asks for what the index does not have.
    #[error("the index in `{}` cannot be searched like this: {message}", path.display())]
    Query {
        /// Which folder.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
}

impl Error {
    /// What a step sees of it.
    pub(super) fn into_backend(self, backend: String) -> backend::Error {
        let message = self.to_string();
        match self {
            Self::Folder { .. } | Self::Busy { .. } | Self::Write { .. } => {
                backend::Error::Unavailable { backend, message, retry_after: None }
            }
            _ => backend::Error::Rejected { backend, message },
        }
    }
}

pub(super) fn damaged(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::Damaged { path: path.to_owned(), message: message.to_string() }
}

/// Runs `work`; a panic of the library below means that the files are not what it once wrote.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged(path, "its files contradict each other")))
}
