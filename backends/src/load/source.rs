//! Reads a file, refuses what is not text, and makes a document of the rest.

use std::fs::File;
use std::io::Read as _;

use anabranch_engine::value::{Document, DocumentId, Metadata, Text};

use super::walk::Listed;
use super::{FILE_BYTES_MAX, Kind, LINE_STARTS, Loaded, SOURCE_MAP, Skipped, Why, html, pdf, title};

/// Goes into every hash: it changes when the same bytes begin to give another document.
const VERSION: &[u8] = b"load 1\n";

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The content of a document-to-be, and its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The document's name.
    pub id: DocumentId,
    /// Tells whether the document has changed.
    pub hash: blake3::Hash,
    pub(super) content: Content,
}

/// What a document is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A file.
    File { kind: Kind, text: String },
    /// A PDF file; reading it takes long, so it is put off until it is known to have changed.
    Pdf(Vec<u8>),
    /// A line of a corpus.
    Line { title: Option<Text>, text: Text, meta: Metadata },
}

impl Source {
    pub(super) fn new(id: DocumentId, bytes: &[u8], content: Content) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION).update(bytes);
        Self { id, hash: hasher.finalize(), content }
    }

    /// A text that somebody gives, as a document of this name.
    pub fn given(id: DocumentId, title: Option<Text>, text: Text, meta: Metadata) -> Self {
        // Lengths keep the parts apart: no two documents have the same bytes here.
        let facts = serde_json::to_string(&(&title, &meta)).unwrap_or_default();
        let bytes = [facts.len().to_string().as_bytes(), b" ", facts.as_bytes(), text.as_bytes()].concat();
        Self::new(id, &bytes, Content::Line { title, text, meta })
    }

    /// The document, or why the file gives none after all.
    pub fn into_document(self) -> Result<Document, Why> {
        let id = self.id;
        Ok(match self.content {
            Content::Pdf(bytes) => return pdf::document(id, bytes),
            Content::Line { title, text, meta } => {
                Document { id, title, text, kind: Kind::Corpus.name().into(), meta }
            }
            Content::File { kind: Kind::Html, text } => html_document(id, &text),
            Content::File { kind, text } => plain_document(id, kind, &text),
        })
    }
}

/// Reads the file.
pub(super) fn read(listed: Listed) -> Loaded {
    match source(&listed) {
        Ok(source) => Loaded::Source(source),
        Err(why) => Loaded::Skipped(Skipped { path: listed.path, why }),
    }
}

fn source(listed: &Listed) -> Result<Source, Why> {
    let bytes = read_bytes(listed)?;
    if listed.kind == Kind::Pdf {
        let hashed = Source::new(listed.id.clone(), &bytes, Content::Pdf(Vec::new()));
        return Ok(Source { content: Content::Pdf(bytes), ..hashed });
    }
    Ok(of_text(listed, text_of(bytes)?))
}

/// A file of this text.
pub(super) fn of_text(listed: &Listed, text: String) -> Source {
    let kind = listed.kind;
    let hashed = Source::new(listed.id.clone(), text.as_bytes(), Content::File { kind, text: String::new() });
    Source { content: Content::File { kind, text }, ..hashed }
}

pub(super) fn read_bytes(listed: &Listed) -> Result<Vec<u8>, Why> {
    let unreadable = |error: std::io::Error| Why::Unreadable(error.to_string());
    let file = File::open(&listed.path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(usize::try_from(listed.size.min(FILE_BYTES_MAX)).unwrap_or_default());
    // It may have grown since it was listed.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Why::TooLarge);
    }
    if bytes.is_empty() {
        return Err(Why::Empty);
    }
    Ok(bytes)
}

/// The bytes as text, if they are text.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<String, Why> {
    if bytes.contains(&0) {
        return Err(Why::Binary);
    }
    String::from_utf8(bytes).map_err(|error| Why::NotUtf8 { at: error.utf8_error().valid_up_to() })
}

fn plain_document(id: DocumentId, kind: Kind, source: &str) -> Document {
    let text = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
    let mut meta = Metadata::new();
    let mark_bytes = source.len() - text.len();
    if mark_bytes > 0 {
        put_source_map(&mut meta, &[(0, mark_bytes, text.len())], source);
    }
    let title = if kind == Kind::Markdown { title::of_markdown(text) } else { None };
    Document { id, title, text: text.into(), kind: kind.name().into(), meta }
}

fn html_document(id: DocumentId, source: &str) -> Document {
    let page = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
    let mark_bytes = source.len() - page.len();
    let mut read = html::read(page);
    for (_, source_start, _) in &mut read.segments {
        *source_start += mark_bytes;
    }
    let mut meta = Metadata::new();
    put_source_map(&mut meta, &read.segments, source);
    let title = read.title.map(Text::from).or_else(|| title::of_markdown(&read.text));
    Document { id, title, text: read.text.into(), kind: Kind::Html.name().into(), meta }
}

fn put_source_map(meta: &mut Metadata, segments: &[(usize, usize, usize)], source: &str) {
    let line_ends = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let line_starts: Vec<usize> = std::iter::once(0).chain(line_ends.map(|(at, _)| at + 1)).collect();
    meta.insert(SOURCE_MAP.into(), serde_json::json!(segments));
    meta.insert(LINE_STARTS.into(), serde_json::json!(line_starts));
}
