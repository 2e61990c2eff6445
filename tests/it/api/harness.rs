//! A service of its own for a test: in this process, on a free port, with a store in a folder that goes away with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::api::{App, Roles};
use anabranch::config::Config;
use anabranch::indexes::Indexes;
use anabranch::process::{Process, Start};
use anabranch::resources::Pools;
use anabranch_engine::cx::Resources;
use anabranch_engine::testing;
use reqwest::{Client, Method, Response};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::client;

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Flows that every service of these tests has.
const FLOWS: &[(&str, &str)] = &[
    (
        "quick",
        "flow: quick
inputs:
  n: { type: int, default: 1 }
nodes:
  a: { op: test.work, in: { a: inputs.n } }
  b: { op: test.work, in: { a: a.value } }
outputs:
  text: b.text
",
    ),
    (
        "slow",
        "flow: slow
inputs:
  n: { type: int, default: 1 }
nodes:
  a: { op: test.work, in: { a: inputs.n } }
  b: { op: test.work, in: { a: a.value }, with: { delay_ms: 30000 } }
outputs:
  text: b.text
",
    ),
    (
        "steps",
        "flow: steps
inputs:
  n: { type: int, default: 1 }
nodes:
  a: { op: test.work, in: { a: inputs.n }, with: { delay_ms: 5 } }
  b: { op: test.work, in: { a: a.value }, with: { delay_ms: 5 } }
  c: { op: test.work, in: { a: b.value }, with: { delay_ms: 5 } }
  d: { op: test.work, in: { a: c.value }, with: { delay_ms: 5 } }
outputs:
  text: d.text
",
    ),
    (
        "broken",
        "flow: broken
inputs:
  n: { type: int, default: 1 }
nodes:
  a: { op: test.work, in: { a: inputs.n } }
  b: { op: test.work, in: { a: a.value }, with: { fail_times: 99, fail: rejected } }
outputs:
  text: b.text
",
    ),
    (
        "asking",
        "flow: asking
inputs:
  n: { type: int, default: 1 }
nodes:
  a: { op: test.work, in: { a: inputs.n } }
  approve: { wait: { for: bool, about: \"may it go on?\", deadline: 1h }, in: { draft: a.text } }
  b: { op: test.work, when: approve.value, in: { a: a.value } }
outputs:
  text: b.text
",
    ),
];

/// A running service.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) app: App,
    client: Client,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    folder: Arc<TempDir>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A service with another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let flows = folder.path().join("flows");
        std::fs::create_dir(&flows).unwrap();
        for (name, text) in FLOWS {
            std::fs::write(flows.join(format!("{name}.yaml")), text).unwrap();
        }
        Self::on(folder, change).await
    }

    async fn on(folder: Arc<TempDir>, change: impl FnOnce(&mut Config)) -> Self {
        Self::of(folder, testing::resources(), change).await
    }

    /// A service with one flow more and these models.
    pub(crate) async fn with_flow(name: &str, yaml: &str, resources: Resources) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        std::fs::create_dir(folder.path().join("flows")).unwrap();
        std::fs::write(folder.path().join(format!("flows/{name}.yaml")), yaml).unwrap();
        Self::of(folder, resources, |_| {}).await
    }

    async fn of(folder: Arc<TempDir>, resources: Resources, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { data: folder.path().join("data"), ..Config::default() };
        config.server.flows = Some(folder.path().join("flows"));
        config.server.drain = Duration::from_millis(200);
        change(&mut config);
        let start = Start {
            config,
            resources: Arc::new(resources),
            pools: Pools::default(),
            indexes: Indexes::default(),
            registry: Arc::new(testing::registry()),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            roles: Roles { api: true, worker: true },
            migrate: true,
            env: &|_| None,
        };
        let process = Process::start(start).await.unwrap();
        let (url, app) = (format!("http://{}", process.address().unwrap()), process.app().clone());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(process.serve(stop.clone().cancelled_owned()));
        Self { url, app, client: client(), stop, serving: Some(serving), folder }
    }

    /// Stops it and starts another one on the same data.
    pub(crate) async fn restarted(mut self) -> Self {
        self.stopped().await;
        Self::on(self.folder.clone(), |_| {}).await
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stopped(&mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(SOON, serving).await.expect("it stops in time").unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    /// Runs a job to its end, or until it waits for something.
    pub(crate) async fn run(&self, flow: &str) -> Json {
        let request = self.request(Method::POST, "/v1/jobs").header("prefer", "wait=20");
        let answer = Answer::of(request.json(&json!({ "flow": flow })).send().await.unwrap()).await;
        assert!(answer.status == 200 || answer.body["status"] == "waiting", "{answer:?}");
        answer.body
    }

    /// Submits a job, and does not wait for it.
    pub(crate) async fn submit(&self, flow: &str) -> String {
        let answer = self.post("/v1/jobs", &json!({ "flow": flow })).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// The job, once it is as `is_so` says.
    pub(crate) async fn until(&self, id: &str, is_so: impl Fn(&Json) -> bool) -> Json {
        let until = Instant::now() + SOON;
        loop {
            let job = self.get(&format!("/v1/jobs/{id}")).await.body;
            if is_so(&job) {
                return job;
            }
            assert!(Instant::now() < until, "it does not come to that: {job}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn ended(&self, id: &str) -> Json {
        self.until(id, |job| job["outcome"].is_string()).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Json,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Json::Null);
        Self { status, headers, body, text }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The code of the problem, once it is one of the right form.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], status);
        for key in ["type", "title", "detail", "code", "request_id", "trace_id"] {
            assert!(self.body[key].is_string(), "`{key}` of {self:?}");
        }
        assert_eq!(self.body["request_id"].as_str(), self.header("x-request-id"));
        self.body["code"].as_str().unwrap().to_owned()
    }

    /// Where each mistake is.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
