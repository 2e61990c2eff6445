//! Reads `.jsonl` corpora: a document a line, `{"id", "title", "text", "meta"}`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

use anabranch_engine::value::{DocumentId, Metadata, Text};
use serde::{Deserialize, Serialize};

use super::source::{self, Content, Source};
use super::walk::Listed;
use super::{FILE_BYTES_MAX, LINE_STARTS, Loaded, SOURCE_MAP, Skipped, Why};

/// A document as a corpus has it.
#[derive(Deserialize, Serialize)]
pub(super) struct Line {
    id: Option<serde_json::Value>,
    title: Option<Text>,
    text: Text,
    #[serde(default)]
    meta: Option<Metadata>,
}

/// The documents of a corpus, a line at a time: the file may be larger than memory.
pub(super) fn sources(listed: Listed) -> impl Iterator<Item = Loaded> + Send {
    Lines { listed, reader: None, line_no: 0, n_documents: 0, is_done: false, seen: HashSet::new() }
}

struct Lines {
    listed: Listed,
    reader: Option<BufReader<File>>,
    line_no: usize,
    n_documents: usize,
    is_done: bool,
    seen: HashSet<String>,
}

impl Iterator for Lines {
    type Item = Loaded;

    fn next(&mut self) -> Option<Loaded> {
        while !self.is_done {
            match self.read_line() {
                Ok(None) => self.is_done = true,
                Ok(Some(bytes)) if bytes.trim_ascii().is_empty() => {}
                Ok(Some(bytes)) => {
                    let loaded = self.document(&bytes).map(Loaded::Source);
                    return Some(loaded.unwrap_or_else(|why| self.skipped(why)));
                }
                Err(why) => {
                    self.is_done = true;
                    return Some(self.skipped(why));
                }
            }
        }
        None
    }
}

impl Lines {
    fn skipped(&self, why: Why) -> Loaded {
        Loaded::Skipped(Skipped { path: self.listed.path.clone(), why })
    }

    /// The next line, without its end; an error ends the file.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, Why> {
        let unreadable = |error: std::io::Error| Why::Unreadable(error.to_string());
        let reader = if let Some(reader) = &mut self.reader {
            reader
        } else {
            let file = File::open(&self.listed.path).map_err(unreadable)?;
            self.reader.insert(BufReader::new(file))
        };
        let mut bytes = Vec::new();
        let n_read = reader.take(FILE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(unreadable)?;
        self.line_no += 1;
        if n_read as u64 == FILE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            return Err(Why::TooLarge);
        }
        Ok((n_read > 0).then_some(bytes))
    }

    fn document(&mut self, bytes: &[u8]) -> Result<Source, Why> {
        let text = source::text_of(bytes.trim_ascii().to_vec())?;
        let text = text.trim_start_matches('\u{feff}');
        let line: Line = serde_json::from_str(text).map_err(|error| {
            if self.n_documents == 0 {
                // Queries, results, logs: one complaint is enough.
                self.is_done = true;
                Why::NotACorpus
            } else {
                Why::BadLine { line: self.line_no, message: error.to_string() }
            }
        })?;
        let fallback = self.line_no;
        let bad = |message| Why::BadLine { line: fallback, message };
        let source = line.source(&self.listed, fallback, text.as_bytes(), &mut self.seen).map_err(bad)?;
        self.n_documents += 1;
        Ok(source)
    }
}

impl Line {
    /// The document; called `n` if it has no name of its own. `bytes` are what it is hashed by.
    pub(super) fn source(
        self,
        listed: &Listed,
        n: usize,
        bytes: &[u8],
        seen: &mut HashSet<String>,
    ) -> Result<Source, String> {
        let id = match self.id {
            Some(serde_json::Value::String(id)) => id,
            Some(id @ serde_json::Value::Number(_)) => id.to_string(),
            _ => n.to_string(),
        };
        if !seen.insert(id.clone()) {
            return Err(format!("another one has the id `{id}`"));
        }
        let mut meta = self.meta.unwrap_or_default();
        // They would be taken for the loader's own.
        meta.remove(SOURCE_MAP);
        meta.remove(LINE_STARTS);
        let title = self.title.filter(|title| !title.is_empty());
        let content = Content::Line { title, text: self.text, meta };
        Ok(Source::new(DocumentId(format!("{}#{id}", listed.id).into()), bytes, content))
    }
}
