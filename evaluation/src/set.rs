//! An evaluation set: a folder with a corpus and questions about it, one JSON object a line.
//!
//! `corpus.jsonl`: `{"id", "title", "text", "meta": {}}`; `queries.jsonl`: `{"id", "question", "answers": [],
//! "evidence": [{"doc", "start", "end", "bstart", "bend"}], "meta": {}}`. `start` and `end` count characters, `bstart`
//! and `bend` bytes of the document's text, half-open, where more than the document is known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::places::Place;

/// The file with the documents.
pub const CORPUS: &str = "corpus.jsonl";
/// The file with the questions.
pub const QUERIES: &str = "queries.jsonl";
/// Longest line that is read, in bytes: the longest document with its metadata.
pub const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("`{}`, line {line}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A line is too long.
    #[error("`{}`, line {line}: it is longer than {LINE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// Two lines have the same id.
    #[error("`{}`, line {line}: the id `{id}` is taken by a line above", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// The id.
        id: String,
    },
    /// There is nothing in it.
    #[error("`{}` holds no line", .0.display())]
    Empty(PathBuf),
    /// A question names evidence that is not there.
    #[error("question `{id}`: its evidence {why}")]
    Evidence {
        /// The question's id.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// A document.
#[derive(Debug, Clone, Deserialize)]
pub struct CorpusLine {
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub id: String,
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Its text.
    pub text: String,
    /// What else is known of it.
    #[serde(default)]
    pub meta: BTreeMap<String, Json>,
}

/// A question.
#[derive(Debug, Clone, Deserialize)]
pub struct QueryLine {
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub id: String,
    /// What is asked.
    pub question: String,
    /// What is right: each of them is.
    #[serde(default)]
    pub answers: Vec<Json>,
    /// Where that stands.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What else is known, such as `answerable`.
    #[serde(default)]
    pub meta: BTreeMap<String, Json>,
}

/// Where an answer stands.
#[derive(Debug, Clone, Deserialize)]
pub struct Evidence {
    /// The document.
    #[serde(deserialize_with = "name")]
    pub doc: String,
    /// Where it begins in the document's text, in characters, where that is known.
    #[serde(rename = "start", default)]
    pub char_start: Option<usize>,
    /// Where it ends.
    #[serde(rename = "end", default)]
    pub char_end: Option<usize>,
    /// Where it begins in the document's text, in bytes, where that is known.
    #[serde(rename = "bstart", default)]
    pub byte_start: Option<usize>,
    /// Where it ends.
    #[serde(rename = "bend", default)]
    pub byte_end: Option<usize>,
}

impl Evidence {
    /// Its bytes, where they are known.
    pub fn bytes(&self) -> Option<Range<usize>> {
        Some(self.byte_start?..self.byte_end?)
    }

    /// Its characters, where they are known.
    pub fn chars(&self) -> Option<Range<usize>> {
        Some(self.char_start?..self.char_end?)
    }

    /// The same as a place to compare with others.
    pub fn place(&self) -> Place<'_> {
        Place { doc: &self.doc, bytes: self.bytes().map(|bytes| bytes.start as u64..bytes.end as u64) }
    }

    /// Knows its bytes too, if it knows its characters; `text` is that of its document. What is wrong with its place is an
    /// error: scored as it is, a slip of the pen would look like a bad retriever.
    fn locate(&mut self, text: &str) -> Result<(), String> {
        let byte = |char: usize| text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(char);
        if let (None, Some(chars)) = (self.bytes(), self.chars()) {
            let (start, end) = (byte(chars.start), byte(chars.end));
            if start > end || end.is_none() {
                let n_chars = text.chars().count();
                return Err(format!(
                    "is from character {} to {} of `{}`, which has {n_chars}",
                    chars.start, chars.end, self.doc
                ));
            }
            (self.byte_start, self.byte_end) = (start, end);
        }
        match self.bytes() {
            Some(bytes) if text.get(bytes.clone()).is_none() => Err(format!(
                "is from byte {} to {} of `{}`, which has {} and is no text there",
                bytes.start,
                bytes.end,
                self.doc,
                text.len()
            )),
            _ => Ok(()),
        }
    }
}

impl QueryLine {
    /// The documents that hold the answer.
    pub fn relevant(&self) -> BTreeSet<&str> {
        self.evidence.iter().map(|evidence| evidence.doc.as_str()).collect()
    }

    /// The right answers as texts: a number as it is written, other JSON as JSON.
    pub fn right_answers(&self) -> Vec<String> {
        let text = |answer: &Json| answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        self.answers.iter().map(text).collect()
    }

    /// Whether the corpus is known to have no answer.
    pub fn is_unanswerable(&self) -> bool {
        self.meta.get("answerable").is_some_and(|known| known == false)
    }
}

/// The questions of the set in `folder`, in their order.
pub fn queries(folder: &Path) -> Result<Vec<QueryLine>, Error> {
    let path = folder.join(QUERIES);
    let queries: Vec<QueryLine> = read_lines(&path)?;
    unique(&path, queries.iter().map(|query| &query.id))?;
    Ok(queries)
}

/// Finds the evidence of `queries` in the documents of the set in `folder`, all of which must be there.
pub fn locate(folder: &Path, queries: &mut [QueryLine]) -> Result<(), Error> {
    if queries.iter().all(|query| query.evidence.is_empty()) {
        return Ok(());
    }
    let corpus = corpus(folder)?;
    let texts: HashMap<&str, &str> =
        corpus.iter().map(|line| (line.id.as_str(), line.text.as_str())).collect();
    for query in queries {
        for evidence in &mut query.evidence {
            let found = match texts.get(evidence.doc.as_str()) {
                Some(text) => evidence.locate(text),
                None => Err(format!("is in `{}`, which is no document of `{CORPUS}`", evidence.doc)),
            };
            found.map_err(|why| Error::Evidence { id: query.id.clone(), why })?;
        }
    }
    Ok(())
}

/// The documents of the set in `folder`, in their order.
pub fn corpus(folder: &Path) -> Result<Vec<CorpusLine>, Error> {
    let path = folder.join(CORPUS);
    let corpus: Vec<CorpusLine> = read_lines(&path)?;
    unique(&path, corpus.iter().map(|document| &document.id))?;
    Ok(corpus)
}

fn unique<'a>(path: &Path, ids: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    let mut line = 0;
    for id in ids {
        line += 1;
        if !seen.insert(id) {
            return Err(Error::Twice { path: path.to_owned(), line, id: id.clone() });
        }
    }
    if line == 0 { Err(Error::Empty(path.to_owned())) } else { Ok(()) }
}

/// The lines of a file, each of which is one JSON value; empty ones do not count.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut lines, mut text, mut line) = (Vec::new(), Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        let n_read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(unreadable)?;
        if n_read == 0 {
            return Ok(lines);
        }
        if n_read as u64 == LINE_BYTES_MAX && !text.ends_with(b"\n") {
            return Err(Error::TooLong { path: path.to_owned(), line });
        }
        if !text.trim_ascii().is_empty() {
            let read = serde_json::from_slice(&text);
            lines.push(read.map_err(|source| Error::Line { path: path.to_owned(), line, source })?);
        }
    }
}

/// A name: a text, or a number as it is written.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Json::deserialize(from)? {
        Json::String(name) => Ok(name),
        Json::Number(name) => Ok(name.to_string()),
        other => Err(serde::de::Error::custom(format!("expected a text or a number, found {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn folder(queries: &str, corpus: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(QUERIES), queries).unwrap();
        std::fs::write(folder.path().join(CORPUS), corpus).unwrap();
        folder
    }

    #[test]
    fn a_set_may_leave_out_whatever_it_does_not_know() {
        let folder = folder(
            "{\"id\": 7, \"question\": \"Who?\"}\n\n{\"id\": \"b\", \"question\": \"When?\", \"answers\": [1900, \"in 1900\"], \
             \"evidence\": [{\"doc\": \"d\", \"start\": 1, \"end\": 3, \"label\": \"x\"}, {\"doc\": \"d\", \"bstart\": null}], \
             \"meta\": {\"answerable\": false}}\n",
            "{\"id\": \"d\", \"text\": \"äöü\", \"more\": 1}\n",
        );
        let mut queries = queries(folder.path()).unwrap();
        assert_eq!(queries[0].id, "7");
        assert!(queries[0].relevant().is_empty() && !queries[0].is_unanswerable());
        assert_eq!(queries[1].right_answers(), ["1900", "in 1900"]);
        assert_eq!(queries[1].relevant(), BTreeSet::from(["d"]));
        assert!(queries[1].is_unanswerable());
        locate(folder.path(), &mut queries).unwrap();
        assert_eq!(queries[1].evidence[0].bytes(), Some(2..6), "a letter of two bytes before, two within");
        assert_eq!(queries[1].evidence[1].bytes(), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let asked = |text: &str| queries(folder(text, "").path()).unwrap_err();
        let wrong = asked("{\"id\": \"a\", \"question\": \"?\"}\n{\"id\": \"b\"}\n");
        assert!(wrong.to_string().ends_with("queries.jsonl`, line 2"), "{wrong}");
        assert!(wrong.source().unwrap().to_string().contains("missing field `question`"));
        let twice =
            asked("{\"id\": \"a\", \"question\": \"?\"}\n{\"id\": \"a\", \"question\": \"!\"}\n").to_string();
        assert!(twice.ends_with("line 2: the id `a` is taken by a line above"), "{twice}");
        assert!(asked("\n").to_string().ends_with("holds no line"));
        assert!(
            asked("{\"id\": [], \"question\": \"?\"}")
                .source()
                .unwrap()
                .to_string()
                .contains("expected a text")
        );
        assert!(matches!(corpus(Path::new("no/such/folder")), Err(Error::Read { .. })));
    }

    #[test]
    fn evidence_that_is_not_there_is_told() {
        let located = |evidence: &str| {
            let queries_text = format!("{{\"id\": \"q\", \"question\": \"?\", \"evidence\": [{evidence}]}}");
            let folder = folder(&queries_text, "{\"id\": \"d\", \"text\": \"äbc\"}");
            let mut queries = queries(folder.path()).unwrap();
            locate(folder.path(), &mut queries).map_err(|error| error.to_string())
        };
        for (evidence, why) in [
            (
                r#"{"doc": "e"}"#,
                "question `q`: its evidence is in `e`, which is no document of `corpus.jsonl`",
            ),
            (r#"{"doc": "d", "start": 2, "end": 9}"#, "is from character 2 to 9 of `d`, which has 3"),
            (r#"{"doc": "d", "start": 2, "end": 1}"#, "is from character 2 to 1"),
            (r#"{"doc": "d", "bstart": 0, "bend": 9}"#, "is from byte 0 to 9 of `d`, which has 4"),
            (r#"{"doc": "d", "bstart": 0, "bend": 1}"#, "is no text there"),
        ] {
            let problem = located(evidence).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        assert_eq!(located(r#"{"doc": "d", "start": 2, "end": 3}, {"doc": "d"}"#), Ok(()));
    }
}
