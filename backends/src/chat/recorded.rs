//! Exchanges with chat models, kept in a file: recorded once, replayed without a server.
//!
//! A file has one JSON object a line: `hash`, `model`, `request` and `response`. `model` is the name that flows use,
//! not the server's, so that a file recorded on one server replays wherever there is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest part of a request that an error shows, in characters.
const SHOWN_CHARS: usize = 200;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Exchange {
    hash: String,
    model: String,
    request: ChatRequest,
    response: ChatResponse,
}

/// Why a file of exchanges cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// It cannot be read or written.
    #[error("cannot open the recorded exchanges in `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no exchange.
    #[error("`{}:{line}` is no recorded exchange; record the file anew with --record", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It holds exchanges with several models, none of them the one that is asked for.
    #[error("`{}` has no exchanges with model `{model}`, only with {}", path.display(), listed(recorded))]
    Model {
        /// The file.
        path: PathBuf,
        /// The model that was asked for.
        model: String,
        /// The models in the file.
        recorded: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Names an exchange: the hash of the model's name and the request, whatever the order of keys in schemas.
pub fn request_hash(model: &str, request: &ChatRequest) -> String {
    request_digest(model, request).to_hex().to_string()
}

/// As [`request_hash`], in bytes: the one canonical form of a request, for whatever tells requests apart.
pub(crate) fn request_digest(model: &str, request: &ChatRequest) -> blake3::Hash {
    let request = serde_json::to_value(request).unwrap_or_default();
    let mut text = String::new();
    write_canonical(&mut text, &Value::Array(vec![model.into(), request]));
    blake3::hash(text.as_bytes())
}

/// JSON without spaces, keys in alphabetical order.
fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(out, item);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (key, value) in entries.iter().collect::<BTreeMap<_, _>>() {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(out, value);
                out.push(',');
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The exchanges in a file, and how many bytes of it are whole lines.
fn read(path: &Path) -> Result<(Vec<Exchange>, usize), TapeError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TapeError::Io { path: path.to_owned(), source })?;
    let mut exchanges = Vec::new();
    let mut n_whole = 0;
    for (line_idx, line) in text.split_inclusive('\n').enumerate() {
        // A last line without its end is what a killed recorder leaves behind: as if never written.
        if !line.ends_with('\n') && serde_json::from_str::<Exchange>(line).is_err() {
            break;
        }
        n_whole += line.len();
        if !line.trim().is_empty() {
            exchanges.push(serde_json::from_str(line).map_err(|source| TapeError::Line {
                path: path.to_owned(),
                line: line_idx + 1,
                source,
            })?);
        }
    }
    Ok((exchanges, n_whole))
}

/// A file that exchanges are added to. One for all recorders of a process.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    state: Mutex<RecordingState>,
}

#[derive(Debug)]
struct RecordingState {
    file: File,
    hashes: BTreeSet<String>,
}

impl Recording {
    /// Opens `path` to add to it, or makes it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>, TapeError> {
        let path = path.into();
        let io = |source| TapeError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        let (exchanges, n_whole) = read(&path)?;
        file.set_len(n_whole as u64).map_err(io)?;
        let hashes = exchanges.into_iter().map(|exchange| exchange.hash).collect();
        Ok(Arc::new(Self { path, state: Mutex::new(RecordingState { file, hashes }) }))
    }

    /// Adds an exchange, unless the file has one with the same request.
    fn add(&self, model: &str, request: &ChatRequest, response: &ChatResponse) -> io::Result<()> {
        let hash = request_hash(model, request);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.hashes.contains(&hash) {
            return Ok(());
        }
        let exchange = Exchange {
            hash: hash.clone(),
            model: model.to_owned(),
            request: request.clone(),
            response: response.clone(),
        };
        let mut line = serde_json::to_vec(&exchange)?;
        line.push(b'\n');
        // One write at the end of the file: another process that records there cannot come in between.
        state.file.write_all(&line)?;
        state.hashes.insert(hash);
        Ok(())
    }
}

/// A chat model whose answers are recorded.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    inner: Arc<dyn ChatModel>,
    recording: Arc<Recording>,
}

impl Recorder {
    /// Records what `inner` answers, under the name that flows give the model.
    pub fn new(name: impl Into<String>, inner: Arc<dyn ChatModel>, recording: Arc<Recording>) -> Self {
        Self { name: name.into(), inner, recording }
    }
}

#[async_trait]
impl ChatModel for Recorder {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let response = self.inner.chat(request, call).await?;
        // Going on without the line would end in a file that cannot be replayed.
        self.recording.add(&self.name, request, &response).map_err(|error| Error::Rejected {
            backend: format!("the recording in `{}`", self.recording.path.display()),
            message: format!("the exchange cannot be written: {error}"),
        })?;
        Ok(response)
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.inner.count_tokens(text)
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        self.inner.estimate_prompt_tokens(request)
    }
}

/// The exchanges of a file, by hash. One for all replays of a process.
#[derive(Debug)]
pub struct Tape {
    path: PathBuf,
    models: BTreeSet<String>,
    answers: HashMap<String, ChatResponse>,
}

impl Tape {
    /// Reads the exchanges in `path`.
    pub fn load(path: impl Into<PathBuf>) -> Result<Arc<Self>, TapeError> {
        let path = path.into();
        let (exchanges, _) = read(&path)?;
        let mut tape = Self { path, models: BTreeSet::new(), answers: HashMap::new() };
        for exchange in exchanges {
            tape.models.insert(exchange.model);
            // The first stands, as for the recorder: later lines come from a second process.
            tape.answers.entry(exchange.hash).or_insert(exchange.response);
        }
        Ok(Arc::new(tape))
    }

    /// The names of the models in it.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(String::as_str)
    }
}

/// A chat model that answers what was recorded, and nothing else.
#[derive(Debug)]
pub struct Replay {
    name: String,
    tape: Arc<Tape>,
}

impl Replay {
    /// Replays what was recorded under `name`.
    pub fn new(name: impl Into<String>, tape: Arc<Tape>) -> Self {
        Self { name: name.into(), tape }
    }

    /// Replays what was recorded under `name`, or under whatever name the file has if it has only one.
    pub fn sole(name: &str, tape: &Arc<Tape>) -> Result<Self, TapeError> {
        let mut recorded = tape.models();
        let name = match (recorded.next(), recorded.next()) {
            _ if tape.models.contains(name) => name,
            (None, _) => name,
            (Some(only), None) => only,
            (Some(_), Some(_)) => {
                return Err(TapeError::Model {
                    path: tape.path.clone(),
                    model: name.to_owned(),
                    recorded: tape.models().map(str::to_owned).collect(),
                });
            }
        };
        Ok(Self::new(name.to_owned(), tape.clone()))
    }
}

#[async_trait]
impl ChatModel for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let hash = request_hash(&self.name, request);
        let Some(response) = self.tape.answers.get(&hash) else {
            let asked = request.messages.last().map_or("", |message| &message.content);
            let shown: String = asked.chars().take(SHOWN_CHARS).collect();
            let path = self.tape.path.display();
            return Err(Error::Rejected {
                backend: format!("the recording in `{path}`"),
                message: format!(
                    "it has no answer of model `{}` to the request {hash}, whose last message begins {shown:?}; \
                     run once with a server and --record {path}",
                    self.name
                ),
            });
        };
        (call.on_delta)(&response.text);
        Ok(response.clone())
    }
}

#[cfg(test)]
mod tests;
