//! Loading: files become documents, and whatever does not is named with the reason.
//!
//! It goes in three steps, each as cheap as it can be: [`walk`] lists files, [`Listed::sources`] reads and hashes
//! them, [`Source::into_document`] makes the document. Who keeps the hashes of last time can stop after the second.
//!
//! A document's text is its file's, byte for byte, so that ranges in the one are ranges in the other. Three kinds of
//! file differ. HTML, and files that begin with a byte order mark, have a source map among their metadata (see
//! [`SOURCE_MAP`]). Of a `.jsonl` corpus every line is a document, and so is every element of a `.json` file that is a
//! list of documents; ranges count bytes of that document's text. So do those of a PDF, where lines are pages.

use std::path::{Path, PathBuf};

mod corpus;
mod html;
mod json;
mod kind;
pub mod pdf;
mod source;
#[cfg(test)]
mod tests;
mod title;
mod walk;

pub use kind::Kind;
pub use source::Source;
pub use walk::{Found, Listed, Walk, walk};

/// Metadata: where pieces of the text stand in the file, as `[[text_start, source_start, length], …]`, sorted, in
/// bytes. What lies between two pieces was put in by the loader, or is white space that it shortened.
pub const SOURCE_MAP: &str = "source_map";
/// Metadata: the byte offsets at which the lines of the file begin.
pub const LINE_STARTS: &str = "line_starts";

/// Larger files are logs, dumps and data, not reading matter.
pub const FILE_BYTES_MAX: u64 = 32 << 20;

/// What came of a file, or of a line of a corpus.
#[derive(Debug)]
pub enum Loaded {
    /// A document that was read and hashed.
    Source(Source),
    /// Something that gives no document.
    Skipped(Skipped),
}

/// Something that gives no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub why: Why,
}

/// Why something gives no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its name says nothing that the loader knows.
    #[error("not a kind of file that is read")]
    UnknownKind,
    /// It holds NUL bytes.
    #[error("binary: it holds NUL bytes")]
    Binary,
    /// It is text in another encoding.
    #[error("not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first byte that does not fit.
        at: usize,
    },
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("larger than {} MiB", FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// It is a PDF that cannot be read.
    #[error("a PDF that cannot be read: {0}")]
    BadPdf(String),
    /// It is a PDF that needs a password.
    #[error("a PDF that needs a password")]
    Encrypted,
    /// It is a PDF of pictures.
    #[error("a PDF without text: a scan has to go through text recognition first")]
    NoText,
    /// There is nothing in it.
    #[error("empty")]
    Empty,
    /// It points elsewhere; what it points to is read where it is.
    #[error("a symbolic link")]
    Link,
    /// The system does not let us.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A `.jsonl` file of something other than documents.
    #[error("its lines are not documents (`{{\"id\", \"title\", \"text\"}}`)")]
    NotACorpus,
    /// A line of a corpus that is no document.
    #[error("line {line} is not a document: {message}")]
    BadLine {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads everything under `roots` that can be read.
pub fn load<P: AsRef<Path>>(roots: impl IntoIterator<Item = P>) -> impl Iterator<Item = Loaded> {
    walk(roots).flat_map(|found| -> Box<dyn Iterator<Item = Loaded> + Send> {
        match found {
            Found::File(listed) => listed.sources(),
            Found::Skipped(skipped) => Box::new(std::iter::once(Loaded::Skipped(skipped))),
        }
    })
}
