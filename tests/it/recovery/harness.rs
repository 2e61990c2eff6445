//! The built service in a process of its own, on a database of its own, and a client of its API.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::model::Model;
use super::shapes::Shape;
use crate::stores::postgres::Postgres;

/// Longest time for anything here.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks at something that is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(15);

/// Where the service keeps its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

/// Where databases are made.
pub(super) enum Server {
    /// A file for each.
    Files,
    /// On a server of their own.
    Postgres(Postgres),
}

impl Server {
    pub(super) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Files,
            Kind::Postgres => Self::Postgres(Postgres::start().await),
        }
    }

    /// The address of a new database.
    async fn database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        match self {
            Self::Files => "sqlite:jobs.db".to_owned(),
            Self::Postgres(postgres) => {
                let name = format!("jobs_{}", COUNT.fetch_add(1, Ordering::Relaxed));
                postgres.create(&name).await;
                postgres.url_of(&name, "anabranch")
            }
        }
    }
}

/// A folder with a configuration, a database and a model server; services are started in it.
pub(super) struct World {
    folder: TempDir,
    pub(super) model: Model,
    client: reqwest::Client,
    n_starts: AtomicUsize,
}

/// A running service.
pub(super) struct Service {
    child: Child,
    url: String,
    client: reqwest::Client,
}

/// What a service answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Json,
    pub(super) retry_after: Option<String>,
}

impl World {
    /// A world with the flows of all `shapes`, whose model takes `delay` for an answer. `settings` are lines of the
    /// section `server`.
    pub(super) async fn new(server: &Server, shapes: &[Shape], delay: Duration, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let model = Model::start(delay).await;
        let store = server.database().await;
        let config = format!(
            "models: {{ default: {{ url: {}, model: fake, stream: false, single_flight: false }} }}\nstore: {{ url: '{store}' }}\n\
             server: {{ listen: '127.0.0.1:0', flows: flows, {settings} }}\n",
            model.url
        );
        fs::create_dir(folder.path().join("flows")).unwrap();
        fs::write(folder.path().join("anabranch.yaml"), config).unwrap();
        for shape in shapes {
            fs::write(folder.path().join(format!("flows/{}.yaml", shape.name)), &shape.yaml).unwrap();
        }
        let client = crate::support::client();
        Self { folder, model, client, n_starts: AtomicUsize::new(0) }
    }

    /// How many services were started in it.
    pub(super) fn n_starts(&self) -> usize {
        self.n_starts.load(Ordering::Relaxed)
    }

    /// How often a service said so far that it lost its lease: a process that gets no time loses it without any fault.
    pub(super) fn n_lost_leases(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.matches("the lease is lost").count()
    }

    /// A service that fails where `failpoints` says; once it answers, or has ended before it could.
    pub(super) fn try_start(&self, failpoints: &str) -> Result<Service, ExitStatus> {
        self.n_starts.fetch_add(1, Ordering::Relaxed);
        let mut child = Command::new(program())
            .args(["serve"])
            .current_dir(self.folder.path())
            .env("FAILPOINTS", failpoints)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log())
            .spawn()
            .unwrap();
        let lines = lines(&mut child);
        let begun = Instant::now();
        let mut said = String::new();
        loop {
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    if let Some(url) = url_in(&line) {
                        return Ok(Service { child, url, client: self.client.clone() });
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(_) => {
                    if let Some(status) = child.try_wait().unwrap() {
                        return Err(status);
                    }
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the service does not say where it listens:\n{said}");
        }
    }

    /// Where services write their logs, one after the other.
    fn log(&self) -> fs::File {
        fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap()
    }

    pub(super) fn start(&self) -> Service {
        self.start_with("")
    }

    pub(super) fn start_with(&self, failpoints: &str) -> Service {
        self.try_start(failpoints).unwrap_or_else(|status| panic!("the service has ended: {status}"))
    }
}

impl Service {
    pub(super) async fn get(&self, path: &str) -> Option<Answer> {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(super) async fn post(&self, path: &str, body: &Json, key: Option<&str>) -> Option<Answer> {
        let mut request = self.client.post(format!("{}{path}", self.url)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request).await
    }

    /// The answer, if there is one: the service may be gone.
    async fn send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let answer = request.timeout(PATIENCE).send().await.ok()?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Json::String(text));
        Some(Answer { status, body, retry_after })
    }

    /// Submits a job of `shape`; its id, unless the service is gone.
    pub(super) async fn submit(&self, shape: &Shape, question: &str, key: &str) -> Option<String> {
        let body = json!({ "flow": shape.name, "inputs": (shape.inputs)(question) });
        let answer = self.post("/v1/jobs", &body, Some(key)).await?;
        assert!(matches!(answer.status, 200 | 202 | 503), "{answer:?}");
        (answer.status != 503).then(|| answer.body["id"].as_str().unwrap().to_owned())
    }

    pub(super) async fn job(&self, id: &str) -> Option<Json> {
        let answer = self.get(&format!("/v1/jobs/{id}")).await?;
        assert!(matches!(answer.status, 200 | 503), "{id}: {answer:?}");
        (answer.status == 200).then_some(answer.body)
    }

    /// Answers what the job waits for.
    pub(super) async fn resume(&self, id: &str, wait: &str, value: Json) -> Option<Answer> {
        self.post(&format!("/v1/jobs/{id}/resume"), &json!({ "wait": wait, "value": value }), None).await
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -SIGNAL`.
    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> PathBuf {
    crate::cli::program()
}

/// The first address in what the service says.
fn url_in(line: &str) -> Option<String> {
    let from = line.find("http://127.0.0.1:")?;
    let rest = line.get(from..)?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || "/:.".contains(c))).unwrap_or(rest.len());
    Some(rest.get(..end)?.trim_end_matches(['/', '.']).to_owned())
}

/// What the process says, line by line; read to its end, so that it never waits for a reader.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Whoever waited for the address has it by now.
            drop(sender.send(line));
        }
    });
    receiver
}
