//! The real service, as a process of a test alone: a folder with a document, a flow and a store, on a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::root;

/// The configuration, as it is named in the folder: documents get their names from it.
pub(crate) const CONFIG: &str = "anabranch.yaml";
/// A key that may do everything.
pub(crate) const ROOT_KEY: &str = "anb_a_key_of_the_tests_that_is_long_enough_to_be_one";
/// A flow that answers without a model: it quotes.
const FLOW: &str = "flow: quick\nabout: Answers from the documents.\ninputs: { question: text }\nnodes:\n  find: { op: \
                    retrieve.bm25, with: { index: docs }, in: { query: inputs.question } }\n  answer: { op: read.answer, \
                    in: { question: inputs.question, chunks: find.chunks } }\noutputs: { answer: answer.answer }\n";
/// One whose model never answers: it ends when somebody stops it.
const SLOW: &str = "flow: slow\nabout: Asks a model that says nothing.\ninputs: { question: text }\nnodes:\n  find: { op: \
                    retrieve.bm25, with: { index: docs }, in: { query: inputs.question } }\n  answer: { op: read.answer, \
                    with: { model: silent }, in: { question: inputs.question, chunks: find.chunks } }\noutputs: { answer: \
                    answer.answer }\n";

/// What a service is made of.
pub(crate) struct Place {
    folder: TempDir,
    /// Takes connections in, and says nothing on them.
    _silent: TcpListener,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("flows")).unwrap();
        fs::write(folder.path().join("flows/quick.yaml"), FLOW).unwrap();
        fs::write(folder.path().join("flows/slow.yaml"), SLOW).unwrap();
        fs::write(folder.path().join("herons.md"), "Herons nest in the tops of tall trees.\n").unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = format!(
            "indexes: {{ docs: {{ paths: [herons.md] }} }}\nmodels: {{ default: extractive, silent: {{ url: \
             \"http://{}\", model: m }} }}\nserver: {{ flows: flows, root_key: \"${{env:ROOT_KEY}}\" }}\nlimits: {{ \
             requests_per_minute: 1000000, tenant_requests_per_minute: 1000000 }}\n",
            silent.local_addr().unwrap()
        );
        fs::write(folder.path().join(CONFIG), config).unwrap();
        Self { folder, _silent: silent }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
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
            .arg(CONFIG)
            .current_dir(place.folder())
            .env("ROOT_KEY", ROOT_KEY)
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
