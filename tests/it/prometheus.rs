//! A real Prometheus asks a real service: every query of every panel finds something, and every rule can be worked out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::faults::server::{Fake, Step, response};
use crate::sdk::said;
use crate::served::{CONFIG, Place, ROOT_KEY, Served};
use crate::support::{client, files, read, root};

/// Longest time until every query has found something.
const SOON: Duration = Duration::from_mins(2);
/// How far back queries look that leave it to Grafana.
const RATE_INTERVAL: &str = "1m";
/// Flows that together do everything that is counted.
const FLOWS: [(&str, &str); 5] = [
    (
        "route",
        "flow: route\ninputs: { text: text }\nnodes:\n  pick: { op: route.llm, in: { text: inputs.text }, with: { \
         routes: { left: to the left, right: to the right } }, retry: { attempts: 4, backoff: 1ms } }\noutputs: { \
         label: pick.label }\n",
    ),
    (
        "near",
        "flow: near\ninputs: { text: text }\nnodes:\n  find: { op: retrieve.dense, with: { index: docs }, in: { query: \
         inputs.text } }\noutputs: { chunks: find.chunks }\n",
    ),
    (
        "kept",
        "flow: kept\ninputs: { text: text }\nnodes:\n  find: { op: retrieve.bm25, with: { index: docs }, in: { query: \
         \"'herons'\" }, cache: 1h }\n  keep: { op: select.budget, with: { max_tokens: 100 }, in: { chunks: find.chunks \
         } }\noutputs: { chunks: keep.chunks }\n",
    ),
    (
        "around",
        "flow: around\ninputs: { text: text }\nnodes:\n  turn:\n    loop:\n      max_turns: 3\n      carry: { n: 0 }\n      \
         nodes:\n        look: { op: judge.rule, in: { n: carry.n }, with: { pass: n > 0 } }\n      next: { n: carry.n + 1 \
         }\n      until: { found: look.pass }\n  all:\n    each: \"[1, 2, 3]\"\n    nodes:\n      \
         look: { op: judge.rule, in: { n: item }, with: { pass: n > 1 } }\n    outputs: { pass: look.pass }\noutputs: { n: \
         turn.n }\n",
    ),
    (
        "poor",
        "flow: poor\ninputs: { text: text }\nbudget: { model_tokens: 1 }\nnodes:\n  pick: { op: route.llm, in: { text: \
         inputs.text }, with: { routes: { left: to the left, right: to the right } } }\noutputs: { label: pick.label }\n",
    ),
];

/// A program of Prometheus.
fn program(name: &str) -> PathBuf {
    let folder = std::env::var("ANABRANCH_TEST_PROMETHEUS");
    Path::new(&folder.expect("ANABRANCH_TEST_PROMETHEUS: the folder that `.ci/prometheus` prints")).join(name)
}

/// A good answer in pieces, of a model that read 100 tokens, 40 of them from its cache.
fn streamed() -> Vec<u8> {
    let part = |part: &Json| format!("data: {part}\n\n");
    let content = json!({ "reason": "it says so", "label": "left" }).to_string();
    let choice = |delta: Json, end: Json| {
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m",
                "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] })
    };
    let usage = json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [],
        "usage": { "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
                   "prompt_tokens_details": { "cached_tokens": 40 } } });
    let text = part(&choice(json!({ "content": content }), Json::Null))
        + &part(&choice(json!({}), json!("stop")))
        + &part(&usage)
        + "data: [DONE]\n\n";
    response("200 OK", &[("content-type", "text/event-stream")], text.as_bytes())
}

/// A server of which every fourth answer is none.
async fn server() -> Fake {
    let broken = || response("500 Internal Server Error", &[], b"broken");
    Fake::start(move |n| vec![Step::Send(if n % 4 == 1 { broken() } else { streamed() })]).await
}

/// A service with two such servers and all flows.
fn place(servers: &[&Fake]) -> Place {
    let place = Place::new();
    for (name, flow) in FLOWS {
        fs::write(place.folder().join(format!("flows/{name}.yaml")), flow).unwrap();
    }
    let replicas: Vec<String> =
        servers.iter().map(|server| format!("{{ url: \"{}\" }}", server.url)).collect();
    let config = format!(
        "indexes: {{ docs: {{ paths: [herons.md], embedder: default }} }}\nmodels: {{ default: {{ model: m, replicas: [{}] }}, \
         silent: extractive }}\nprices: {{ default: {{ prompt: 1, completion: 2 }} }}\nserver: {{ flows: flows, root_key: \
         \"${{env:ROOT_KEY}}\", webhook_allow: [127.0.0.1] }}\n",
        replicas.join(", ")
    );
    fs::write(place.folder().join(CONFIG), config).unwrap();
    place
}

/// A running Prometheus; gone with the test.
struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that asks `service` every second, and works out our rules.
    async fn start(service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: anabranch\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            root().join("deploy/prometheus/alerts.yaml").display(),
            service.trim_start_matches("http://"),
        );
        let path = folder.path().join("prometheus.yaml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            // It takes a free port, and does not say which.
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + SOON;
        loop {
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < until, "{}", log());
            if let Some(port) = port_of(child.id()) {
                let url = format!("http://127.0.0.1:{port}");
                let ready = client().get(format!("{url}/-/ready")).send().await;
                if ready.is_ok_and(|ready| ready.status() == 200) {
                    return Self { child, url, _folder: folder };
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// What it answers to a question of its API.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Json {
        let address = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), query).unwrap();
        let answer: Json =
            serde_json::from_str(&client().get(address).send().await.unwrap().text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether a query finds a number.
    async fn finds(&self, query: &str) -> bool {
        let found = self.get("query", &[("query", query)]).await;
        let mut series = found["result"].as_array().into_iter().flatten();
        series.any(|one| one["value"][1].as_str().is_some_and(|number| number != "NaN"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The port on which a process listens: the one of its sockets that the kernel's list shows as listening.
fn port_of(process: u32) -> Option<u16> {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .ok()?
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let sockets = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let is_own = *state == "0A" && own.contains(*inode);
        is_own.then(|| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok())?
    })
}

/// Every query of every panel: where it stands, and the query.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for path in files("deploy/grafana", "json") {
        let board: Json = serde_json::from_str(&read(&path)).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", RATE_INTERVAL);
                let query = query.replace("$flow", ".*").replace("$model", ".*");
                assert!(!query.contains('$'), "{path}: {title}: {query}");
                queries.push((format!("{path}: {title}"), query));
            }
        }
    }
    queries
}

/// The lists that panels can be narrowed to: the metric, and the label.
fn lists() -> Vec<(String, String)> {
    let mut lists = Vec::new();
    for path in files("deploy/grafana", "json") {
        let board: Json = serde_json::from_str(&read(&path)).unwrap();
        for variable in board["templating"]["list"].as_array().unwrap() {
            if let Some(definition) = variable["definition"].as_str() {
                let inner = definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
                let (metric, label) = inner.split_once(", ").unwrap();
                lists.push((metric.to_owned(), label.to_owned()));
            }
        }
    }
    lists
}

/// Does a bit of everything that is counted.
async fn work(service: &str, poor_key: &str, hook: &str, log: &Path) {
    let post = async |key: &str, path: &str, body: Json| {
        let request = client().post(format!("{service}{path}")).bearer_auth(key).header("prefer", "wait=30");
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (flow, status) in [
        ("route", "succeeded"),
        ("near", "succeeded"),
        ("around", "succeeded"),
        ("kept", "succeeded"),
        ("poor", "failed"),
    ] {
        let body = json!({ "flow": flow, "inputs": { "text": "herons" }, "webhook": hook });
        let (code, said) = post(ROOT_KEY, "/v1/jobs", body).await;
        let job: Json = serde_json::from_str(&said).unwrap();
        let log = || fs::read_to_string(log).unwrap_or_default();
        assert_eq!((code, job["status"].as_str()), (200, Some(status)), "{flow}: {said}\n{}", log());
    }
    let refused = post(poor_key, "/v1/jobs", json!({ "flow": "near", "inputs": { "text": "x" } })).await;
    assert_eq!(refused.0, 429, "{}", refused.1);
}

#[test]
fn the_rules_are_taken_and_do_what_their_tests_say() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        said(Command::new(program("promtool")).args(arguments).current_dir(root().join("deploy/prometheus")));
    }
}

#[tokio::test]
async fn every_query_of_every_panel_finds_something_in_a_real_run() {
    let (one, two) = (server().await, server().await);
    let place = place(&[&one, &two]);
    let served = Served::start(&place);
    let made = async |path: &str, body: Json| -> Json {
        let request = client().post(format!("{}{path}", served.url)).bearer_auth(ROOT_KEY);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let said = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&said).unwrap()
    };
    let key = made("/v1/keys", json!({ "name": "poor", "scopes": ["run"], "tokens_per_day": 0 })).await;
    let poor = key["key"].as_str().unwrap_or_else(|| panic!("{key}")).to_owned();
    // Nobody listens there: attempts are made, and fail.
    let hook = made("/v1/webhooks", json!({ "url": "http://127.0.0.1:1/", "events": [] })).await;
    let hook = hook["id"].as_str().unwrap_or_else(|| panic!("{hook}")).to_owned();
    let prometheus = Prometheus::start(&served.url).await;
    let all = queries();
    assert!(all.len() > 60, "{} queries", all.len());
    let mut left = all;
    let until = Instant::now() + SOON;
    while !left.is_empty() {
        assert!(Instant::now() < until, "these find nothing: {left:#?}");
        work(&served.url, &poor, &hook, &place.folder().join("log")).await;
        let mut empty = Vec::new();
        for (place, query) in left {
            if !prometheus.finds(&query).await {
                empty.push((place, query));
            }
        }
        left = empty;
    }
    for (metric, label) in lists() {
        let values = prometheus.get(&format!("label/{label}/values"), &[("match[]", &metric)]).await;
        assert!(values.as_array().is_some_and(|values| !values.is_empty()), "{metric} {label}");
    }
    let rules = prometheus.get("rules", &[]).await;
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<&Json> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 10, "{rules:?}");
    assert!(rules.iter().all(|rule| rule["lastError"].is_null() && rule["health"] != "err"), "{rules:#?}");
    // A service that does its work alarms nobody; only what this test breaks on purpose may be seen.
    let alarms = prometheus.get("alerts", &[]).await;
    let critical =
        alarms["alerts"].as_array().unwrap().iter().filter(|alarm| alarm["labels"]["severity"] == "critical");
    assert_eq!(critical.filter(|alarm| alarm["state"] == "firing").count(), 0, "{alarms:#}");
}
