//! Processes of one installation, on a database of their own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::model::Model;
use super::reader::Reader;
use crate::stores::postgres::Postgres;

const FLOW: &str = "flow: writes\ninputs: { question: text }\nnodes:\n  a: { op: read.closed_book, in: { question: \
                    inputs.question } }\noutputs: { answer: a.answer }\n";

/// What the processes share.
pub(super) struct World {
    pub(super) model: Model,
    folder: TempDir,
    _postgres: Postgres,
}

/// A running process; gone with the test.
pub(super) struct Process {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl World {
    /// With these lines in the section `server`.
    pub(super) async fn new(server: &str) -> Self {
        let (model, postgres, folder) =
            (Model::start().await, Postgres::start().await, TempDir::new().unwrap());
        let config = format!(
            "models: {{ default: {{ url: {}, model: fake, single_flight: false }} }}\nstore: {{ url: '{}' }}\n\
             server: {{ flows: flows, {server} }}\n",
            model.url,
            postgres.url("anabranch"),
        );
        fs::create_dir(folder.path().join("flows")).unwrap();
        fs::write(folder.path().join("flows/writes.yaml"), FLOW).unwrap();
        fs::write(folder.path().join("anabranch.yaml"), config).unwrap();
        Self { model, folder, _postgres: postgres }
    }

    /// Starts a process, and waits until it works.
    pub(super) fn start(&self, args: &[&str]) -> Process {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut child = Command::new(crate::cli::program())
            .args(args)
            .arg("--json")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let said: Json =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`\n{}", log()));
        Process {
            child,
            url: said["url"].as_str().unwrap_or_default().to_owned(),
            client: crate::support::client(),
        }
    }
}

impl Process {
    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Submits a job, and reads what happens in it.
    pub(super) async fn submit(&self) -> Reader {
        let body = json!({ "flow": "writes", "inputs": { "question": "what is red" } });
        let request = self.request(Method::POST, "/v1/jobs").header("accept", "text/event-stream");
        Reader::of(request.json(&body)).await
    }

    /// Asks the flow as a model, and reads its answer.
    pub(super) async fn chat(&self) -> Reader {
        let body = json!({
            "model": "flow/writes", "stream": true, "messages": [{ "role": "user", "content": "what is red" }],
        });
        Reader::of(self.request(Method::POST, "/v1/chat/completions").json(&body)).await
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
