//! The file of results: a line that says what was asked how, then a line a question, each written when it has ended.
//!
//! Whoever is killed loses the questions that were under way, and nothing else: a last line that was cut off is taken
//! away when the file is opened again. Of two lines for one question the later one counts.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anabranch_engine::backend::Usage;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::figures::Figures;
use super::looked::Found;

/// Version of the format.
const VERSION: u32 = 1;

/// What an evaluation is of: whatever is different makes other results. Names in the order in which they are told.
pub type Settings = IndexMap<String, Json>;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the format.
    pub anabranch_eval: u32,
    /// The flow's name.
    pub flow: String,
    /// The variant: settings of nodes that a sweep changed, as `node.with.key=value`.
    pub variant: Vec<String>,
    /// Everything else that makes the results what they are.
    pub settings: Settings,
}

impl Head {
    /// What is asked how.
    pub fn new(flow: &str, variant: Vec<String>, settings: Settings) -> Self {
        Self { anabranch_eval: VERSION, flow: flow.to_owned(), variant, settings }
    }

    /// What `other` says differently, a sentence each.
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |name: &str, was: Option<&Json>, is: Option<&Json>| {
            let shown = |json: Option<&Json>| json.map_or("not set".to_owned(), Json::to_string);
            if was == is {
            } else if let Some(what) = FINGERPRINTS.iter().find(|(known, _)| *known == name) {
                told.push(what.1.to_owned());
            } else {
                told.push(format!("`{name}` was {} and is {}", shown(was), shown(is)));
            }
        };
        tell("flow", Some(&self.flow.as_str().into()), Some(&other.flow.as_str().into()));
        for (name, was) in &self.settings {
            tell(name, Some(was), other.settings.get(name));
        }
        for (name, is) in other.settings.iter().filter(|(name, _)| !self.settings.contains_key(*name)) {
            tell(name, None, Some(is));
        }
        told
    }
}

/// Settings that are fingerprints: their values say nothing to anybody.
const FINGERPRINTS: [(&str, &str); 4] = [
    ("flow_hash", "the flow is another"),
    ("questions", "the questions are others"),
    ("index", "the corpus, or how it is indexed, is another"),
    ("models", "the models are others"),
];

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The question.
    pub id: String,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failed>,
    /// What was found.
    #[serde(flatten)]
    pub found: Found,
    /// How that is judged.
    pub figures: Figures,
    /// What it used.
    pub usage: Usage,
    /// How long it took.
    pub elapsed_ms: f64,
}

/// Why a question failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What kind of failure, as runs name them, or `waiting` for a flow that waits for somebody.
    pub kind: String,
    /// What happened.
    pub message: String,
}

/// Why results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is none of ours.
    #[error("`{}`, line {line}: no results of `anabranch eval`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version.
    #[error("`{}` has results of format {found}, and this version writes format {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// They are of another evaluation.
    #[error("`{}` has results of another evaluation: {}", path.display(), differences.join("; "))]
    Other {
        /// The file.
        path: PathBuf,
        /// What is different.
        differences: Vec<String>,
    },
    /// Somebody else is writing them.
    #[error("`{}` is being written by another process", .0.display())]
    Busy(PathBuf),
}

/// Results that are being written.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    /// What they are of.
    pub head: Head,
    /// The questions so far, by id.
    pub lines: IndexMap<String, Line>,
}

impl Results {
    /// Opens the results of `head` in the file `path`, with what is there already; begins them where there are none.
    pub fn open(path: &Path, head: Head) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let Parsed { head: found, lines, whole_bytes } = parse(path, &file)?;
        let is_new = found.is_none();
        if let Some(found) = found {
            let differences = found.differences(&head);
            if !differences.is_empty() {
                return Err(Error::Other { path: path.to_owned(), differences });
            }
        }
        // What was cut off would run into the next line.
        file.set_len(whole_bytes).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut results = Self { path: path.to_owned(), file, head, lines };
        if is_new {
            let head = serde_json::to_string(&results.head);
            results.write(head)?;
        }
        Ok(results)
    }

    /// Adds what became of a question.
    pub fn append(&mut self, line: Line) -> Result<(), Error> {
        self.write(serde_json::to_string(&line))?;
        self.lines.insert(line.id.clone(), line);
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, line: Result<String, serde_json::Error>) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let mut line = line.map_err(|error| io(error.into()))?;
        line.push('\n');
        // One call: whoever is killed in between leaves the line whole, or cut off, and never mixed with another.
        self.file.write_all(line.as_bytes()).map_err(io)
    }
}

/// The results in the file `path`, or in `results.jsonl` of that folder.
pub fn read(path: &Path) -> Result<(Head, IndexMap<String, Line>), Error> {
    let path = if path.is_dir() { path.join(file_name(&[])) } else { path.to_owned() };
    let io = |source| Error::Io { path: path.clone(), source };
    let parsed = parse(&path, &File::open(&path).map_err(io)?)?;
    let missing = || io(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
    Ok((parsed.head.ok_or_else(missing)?, parsed.lines))
}

struct Parsed {
    head: Option<Head>,
    lines: IndexMap<String, Line>,
    /// Bytes of whole lines.
    whole_bytes: u64,
}

fn parse(path: &Path, file: &File) -> Result<Parsed, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut parsed = Parsed { head: None, lines: IndexMap::new(), whole_bytes: 0 };
    let (mut reader, mut text, mut line) = (BufReader::new(file), Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        let n_read = reader.read_until(b'\n', &mut text).map_err(io)?;
        if n_read == 0 || !text.ends_with(b"\n") {
            return Ok(parsed);
        }
        parsed.whole_bytes += n_read as u64;
        let bad = |source| Error::Line { path: path.to_owned(), line, source };
        if parsed.head.is_some() {
            let line: Line = serde_json::from_slice(&text).map_err(bad)?;
            parsed.lines.insert(line.id.clone(), line);
        } else {
            let head: Head = serde_json::from_slice(&text).map_err(bad)?;
            if head.anabranch_eval != VERSION {
                return Err(Error::Version { path: path.to_owned(), found: head.anabranch_eval });
            }
            parsed.head = Some(head);
        }
    }
}

/// Longest part of a file's name that tells the variant.
const NAME_CHARS: usize = 100;

/// The file of a variant: `results.jsonl`, or `results-search.with.top_k=5.jsonl`.
pub fn file_name(variant: &[String]) -> String {
    if variant.is_empty() {
        return "results.jsonl".to_owned();
    }
    let told = variant.join(",");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._=,-".contains(c);
    let name: String = told.chars().map(|c| if is_plain(c) { c } else { '_' }).take(NAME_CHARS).collect();
    if name == told {
        return format!("results-{name}.jsonl");
    }
    // Two variants never share a file.
    let hash = blake3::hash(told.as_bytes()).to_hex();
    format!("results-{name}-{}.jsonl", hash.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn head(seed: u64, flow_hash: &str) -> Head {
        let settings = [("flow_hash".to_owned(), json!(flow_hash)), ("seed".to_owned(), json!(seed))];
        Head::new("f", Vec::new(), settings.into_iter().collect())
    }

    fn line(id: &str, f1: f64) -> Line {
        Line {
            id: id.to_owned(),
            failure: None,
            found: Found { answer: Some("yes".to_owned()), ..Found::default() },
            figures: [("f1".to_owned(), f1)].into_iter().collect(),
            usage: Usage::default(),
            elapsed_ms: 1.5,
        }
    }

    #[test]
    fn results_go_on_where_they_were_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.jsonl");
        let mut results = Results::open(&path, head(1, "a")).unwrap();
        results.append(line("q1", 0.5)).unwrap();
        results.append(line("q2", 1.0)).unwrap();
        drop(results);
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere: what had ended before is there, and the rest can be written again.
        let second = whole
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .nth(1)
            .unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut results = Results::open(&path, head(1, "a")).unwrap();
            assert_eq!(results.lines.len(), usize::from(cut >= second));
            for id in ["q1", "q2"] {
                if !results.lines.contains_key(id) {
                    results.append(line(id, if id == "q1" { 0.5 } else { 1.0 })).unwrap();
                }
            }
            drop(results);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut after {cut} bytes");
        }
    }

    #[test]
    fn results_of_another_evaluation_are_refused_with_what_is_different() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        drop(Results::open(&path, head(1, "a")).unwrap());
        let mut other = head(2, "b");
        other.settings.insert("answer".to_owned(), json!("text"));
        let error = Results::open(&path, other).unwrap_err().to_string();
        let told = "has results of another evaluation: the flow is another; `seed` was 1 and is 2; `answer` was not set \
                    and is \"text\"";
        assert!(error.ends_with(told), "{error}");
    }

    #[test]
    fn two_do_not_write_the_same_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let first = Results::open(&path, head(1, "a")).unwrap();
        assert!(matches!(Results::open(&path, head(1, "a")), Err(Error::Busy(_))));
        drop(first);
        Results::open(&path, head(1, "a")).unwrap();
    }

    #[test]
    fn of_two_lines_for_a_question_the_later_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let mut results = Results::open(&path, head(1, "a")).unwrap();
        let failure = Some(Failed { kind: "timed_out".to_owned(), message: "late".to_owned() });
        results.append(Line { failure, ..line("q1", 0.0) }).unwrap();
        results.append(line("q1", 0.5)).unwrap();
        let (_, lines) = read(folder.path()).unwrap();
        assert_eq!(lines["q1"], line("q1", 0.5));
    }

    #[test]
    fn other_files_are_no_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        std::fs::write(&path, "{\"id\": \"a\"}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("line 1: no results of `anabranch eval`"));
        std::fs::write(&path, "").unwrap();
        assert!(crate::exit::chain(&read(&path).unwrap_err()).ends_with("it is empty"));
        let mut old = head(1, "a");
        old.anabranch_eval = 0;
        std::fs::write(&path, format!("{}\n", json!(old))).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("format 0"));
    }

    #[test]
    fn each_variant_has_a_file_of_its_own() {
        assert_eq!(file_name(&[]), "results.jsonl");
        assert_eq!(
            file_name(&["a.with.k=5".to_owned(), "b.with.k=6".to_owned()]),
            "results-a.with.k=5,b.with.k=6.jsonl"
        );
        let (one, other) =
            (file_name(&["a.with.k=\"/\"".to_owned()]), file_name(&["a.with.k=\"?\"".to_owned()]));
        assert_ne!(one, other);
        assert!(one.starts_with("results-a.with.k=___-"), "{one}");
    }
}
