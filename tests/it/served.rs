//! The real service, as a process of a test alone: a folder with a document, a flow and a store, on a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::root;

/// A flow that answers without a model: it quotes.
const FLOW: &str = "flow: quick\nabout: Answers from the documents.\ninputs: { question: text }\nnodes:\n  find: { op: \
                    retrieve.bm25, with: { index: docs }, in: { query: inputs.question } }\n  answer: { op: read.answer, \
                    in: { question: inputs.question, chunks: find.chunks } }\noutputs: { answer: answer.answer }\n";
const CONFIG: &str = "indexes: { docs: { paths: [herons.md] } }\nserver: { flows: flows }\n";

/// What a service is made of.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("flows")).unwrap();
        fs::write(folder.path().join("flows/quick.yaml"), FLOW).unwrap();
        fs::write(folder.path().join("herons.md"), "Herons nest in the tops of tall trees.\n").unwrap();
        fs::write(folder.path().join("anabranch.yaml"), CONFIG).unwrap();
        Self(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.path().join("anabranch.yaml")
    }
}

/// The program.
pub(crate) fn program() -> PathBuf {
    root().join("target/debug/anabranch")
}

/// A running service; gone with the test.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Served {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(place: &Place) -> Self {
        let mut child = Command::new(program())
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"])
            .arg(place.config())
            .current_dir(place.folder())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(place.folder().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(place.folder().join("log")).unwrap_or_default();
        let said: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`\n{}", log()));
        Self { child, url: said["url"].as_str().unwrap().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
