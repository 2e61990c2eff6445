//! The real service as a process of a test alone: on a free port, in a folder that goes away with it; it can be killed and
//! started again on what it left.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::cli;
use crate::support::client;

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Flows that need neither a model nor an index.
const FLOWS: [(&str, &str); 3] = [
    (
        "larger",
        "flow: larger
about: Whether a number is larger than five.
inputs: { n: int }
nodes:
  compare: { op: judge.rule, in: { n: inputs.n }, with: { pass: n > 5 } }
outputs: { larger: compare.pass }
",
    ),
    (
        "asks",
        "flow: asks
about: Asks somebody.
nodes:
  approve: { wait: { for: bool, about: May it go on?, deadline: 1h } }
outputs: { approved: approve.value }
",
    ),
    // More items than it may have: it fails while it runs.
    (
        "few",
        "flow: few
inputs: { items: list<int> }
nodes:
  fan: { each: inputs.items, max_items: 1, op: judge.rule, in: { n: item }, with: { pass: n > 0 } }
outputs: { pass: fan.pass }
",
    ),
];

/// A running service.
pub(crate) struct Service {
    folder: Arc<TempDir>,
    child: Child,
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Service {
    /// A service with this configuration.
    pub(crate) fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("flows")).unwrap();
        for (name, text) in FLOWS {
            fs::write(folder.path().join("flows").join(format!("{name}.yaml")), text).unwrap();
        }
        fs::write(folder.path().join("anabranch.yaml"), config).unwrap();
        let (child, url) = begin(folder.path(), "api,worker");
        Self { folder: Arc::new(folder), child, url, http: client() }
    }

    /// Another process with the same configuration.
    pub(crate) fn beside(&self, roles: &str) -> Self {
        let (child, url) = begin(self.folder.path(), roles);
        Self { folder: self.folder.clone(), child, url, http: client() }
    }

    /// Its folder: the current one of whoever started it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The most memory that it ever had.
    pub(crate) fn most_memory_mb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it and starts another one on what it left, with these roles.
    pub(crate) fn again(&mut self, roles: &str) {
        self.kill();
        (self.child, self.url) = begin(self.folder.path(), roles);
    }

    /// Sends a request; the status and the body of the answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Json>) -> (u16, Json) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> Json {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}\n{}", log(self.folder()));
        body
    }

    /// Posts something that must go well.
    pub(crate) async fn post(&self, path: &str, body: &Json) -> Json {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}\n{}", log(self.folder()));
        answer
    }

    /// Submits a job; its id.
    pub(crate) async fn submit(&self, flow: &str, inputs: Json) -> String {
        let job = self.post("/v1/jobs", &json!({ "flow": flow, "inputs": inputs })).await;
        job["id"].as_str().unwrap().to_owned()
    }

    /// What is at `path`, once it is as `is_so` says.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Json) -> bool) -> Json {
        let begun = Instant::now();
        loop {
            let found = self.get(path).await;
            if is_so(&found) {
                return found;
            }
            assert!(begun.elapsed() < SOON, "it does not come to that: {found}\n{}", log(self.folder()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The job, once it has this status.
    pub(crate) async fn job(&self, id: &str, status: &str) -> Json {
        self.until(&format!("/v1/jobs/{id}"), |job| job["status"] == status).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a service in `folder`, and waits until it answers; its process and its address.
fn begin(folder: &Path, roles: &str) -> (Child, String) {
    let log_file = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = cli::anabranch(&["serve", "--listen", "127.0.0.1:0", "--json", "--role", roles])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Json =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`\n{}", log(folder)));
    (child, said["url"].as_str().unwrap().to_owned())
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
