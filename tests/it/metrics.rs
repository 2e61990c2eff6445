//! What Prometheus is told: every name stands in the documentation, and no caller can make a series.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anabranch::access::Scope;
use anabranch::metrics::names;
use serde_json::json;

use crate::access::service::Service;
use crate::support::{Expected, files_below, read};

/// The heading under which the table stands, to the end of the file.
const HEADING: &str = "## All metrics\n\n";
/// Jobs that are submitted, each with its own labels, session, flow and seed.
const JOBS: usize = 10_000;

/// Longest wait for a batch.
const SOON: Duration = Duration::from_mins(2);

/// A flow that needs neither a model nor an index.
fn flow(name: &str) -> String {
    format!(
        "flow: {name}\ninputs: {{ n: int }}\nnodes:\n  compare: {{ op: judge.rule, in: {{ n: inputs.n }}, with: {{ \
         pass: n > 5 }} }}\noutputs: {{ larger: compare.pass }}\n"
    )
}

/// What is told.
async fn told(service: &Service) -> String {
    let answer = service.ask("GET", "/metrics").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, anabranch::metrics::MEDIA_TYPE)
    );
    answer.text
}

/// Names with their labels, without the numbers.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn number(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no `{series}`:\n{text}")).parse().unwrap()
}

#[test]
fn the_documentation_lists_every_metric() {
    let path = "docs/metrics.md";
    let written = read(path);
    let (before, _) = written.split_once(HEADING).unwrap();
    let mut table = "| name | kind | labels | what it says |\n|---|---|---|---|\n".to_owned();
    for metric in names::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.shown(), labels.join(", "), metric.help)
            .unwrap();
    }
    let mut expected = Expected::default();
    expected.file(path, format!("{before}{HEADING}{table}"));
    expected.compare();
}

#[test]
fn every_metric_that_is_looked_at_is_there() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for metric in names::ALL {
        let name = metric.shown();
        match metric.kind {
            names::Kind::Histogram => {
                known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
            }
            _ => drop(known.insert(name)),
        }
    }
    let looks = files_below("deploy/grafana").into_iter().chain(files_below("deploy/prometheus"));
    let looks = looks.chain(["deploy/helm/anabranch/values.yaml".to_owned(), "docs/deploy.md".to_owned()]);
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let (mut seen, mut n_files) = (BTreeSet::new(), 0);
    for path in looks {
        n_files += 1;
        let text = read(&path);
        let words = text.split(|c| !is_part(c));
        let is_metric = |word: &&str| {
            ["anabranch_", "gen_ai_client_", "process_"].iter().any(|prefix| word.starts_with(prefix))
        };
        for name in words.filter(is_metric) {
            assert!(known.contains(name), "{path} looks at `{name}`, which is not told");
            seen.insert(name.to_owned());
        }
    }
    assert!(n_files >= 8 && seen.len() > 40, "{n_files} files, {seen:?}");
}

#[tokio::test]
async fn what_is_told_is_what_is_documented() {
    let service = Service::start("models: { default: { url: 'http://127.0.0.1:9' } }\n").await;
    let key = service.key("default", &Scope::ALL).await;
    let put = service.ask("PUT", "/v1/flows/larger").key(&key).yaml(&flow("larger")).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    let body = json!({ "flow": "larger", "inputs": { "n": 7 } });
    let job = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=30").json(&body).send().await;
    assert_eq!(job.status, 200, "{}", job.text);
    let text = told(&service).await;
    let known: BTreeSet<String> = names::ALL.iter().map(names::Metric::shown).collect();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(known.contains(name), "`{name}` is not in `metrics/names.rs`");
    }
    assert_eq!(number(&text, "anabranch_jobs_submitted_total{flow=\"other\"}").to_string(), "1");
    assert_eq!(
        number(&text, "anabranch_jobs_finished_total{flow=\"other\",outcome=\"succeeded\"}").to_string(),
        "1"
    );
    assert_eq!(number(&text, "anabranch_run_duration_seconds_count{flow=\"other\"}").to_string(), "1");
    assert_eq!(
        number(&text, "anabranch_node_attempts_total{op=\"judge.rule\",outcome=\"succeeded\"}").to_string(),
        "1"
    );
    assert_eq!(number(&text, "anabranch_queue_wait_seconds_count").to_string(), "1");
    assert!(number(&text, "anabranch_journal_commit_seconds_count") >= 1.0);
    assert_eq!(
        number(&text, "anabranch_backend_up{model=\"default\",replica=\"127.0.0.1:9\"}").to_string(),
        "1"
    );
    assert_eq!(number(&text, "anabranch_store_up").to_string(), "1");
    assert!(number(&text, "process_resident_memory_bytes") > 1e6);
}

#[tokio::test]
async fn refusals_are_counted_by_their_reason() {
    let service = Service::start("limits: { requests_per_minute: 2 }\n").await;
    let key = service.key("acme", &Scope::ALL).await;
    for status in [200, 200, 429, 429] {
        assert_eq!(service.ask("GET", "/v1/jobs").key(&key).send().await.status, status);
    }
    let text = told(&service).await;
    assert_eq!(number(&text, "anabranch_admission_refusals_total{reason=\"too_many\"}").to_string(), "2");
    assert_eq!(number(&text, "anabranch_requests_total{class=\"4xx\"}").to_string(), "2");
}

#[tokio::test]
async fn no_caller_can_make_a_series() {
    let service =
        Service::start("limits: { requests_per_minute: 1000000, running: 64, queued: 20000 }\n").await;
    let (ours, theirs) = (service.key("default", &Scope::ALL).await, service.key("acme", &Scope::ALL).await);
    let jobs = async |key: &str, tag: &str, jobs: usize| {
        let name = format!("flow_{tag}");
        let put = service.ask("PUT", &format!("/v1/flows/{name}")).key(key).yaml(&flow(&name)).send().await;
        assert_eq!(put.status, 201, "{}", put.text);
        let lines: String = (0..jobs)
            .map(|n| {
                let labels = json!({ format!("label-{tag}-{n}"): format!("value {n}") });
                let session = format!("session-{tag}-{n}");
                json!({ "flow": name, "inputs": { "n": n }, "labels": labels, "session_id": session, "seed": n }).to_string() + "\n"
            })
            .collect();
        let batch =
            service.ask("POST", "/v1/batches").key(key).body("application/x-ndjson", lines).send().await;
        assert_eq!(batch.status, 202, "{}", batch.text);
        let path = batch.json()["links"]["self"].as_str().unwrap().to_owned();
        let until = Instant::now() + SOON;
        while service.ask("GET", &path).key(key).send().await.json()["ended"] != true {
            assert!(Instant::now() < until, "the batch does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    jobs(&ours, "warm", 5).await;
    jobs(&theirs, "warm", 5).await;
    let before = series(&told(&service).await);
    jobs(&ours, "crowd", JOBS / 2).await;
    jobs(&theirs, "other", JOBS / 2).await;
    let text = told(&service).await;
    let after = series(&text);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert_eq!(
        number(&text, "anabranch_jobs_finished_total{flow=\"other\",outcome=\"succeeded\"}").to_string(),
        (JOBS + 10).to_string()
    );
    for word in ["crowd", "session", "label-", "job_0", "acme"] {
        assert!(!text.contains(word), "`{word}` in\n{text}");
    }
}

#[tokio::test]
async fn what_retrievals_find_what_is_kept_of_it_and_what_caches_have_is_counted() {
    let service = Service::start("models: { default: extractive }\n").await;
    let key = service.key("default", &Scope::ALL).await;
    let document = |id: &str, text: &str| json!({ "id": id, "text": text });
    let documents = [document("a", "Herons nest in trees."), document("b", "Herons eat fish.")];
    let put = service.ask("POST", "/v1/indexes/notes/documents").key(&key);
    let put = put.json(&json!({ "documents": documents })).send().await;
    assert_eq!(put.status, 200, "{}", put.text);
    let flow = "flow: found\nnodes:\n  \
                find: { op: retrieve.bm25, with: { index: notes }, in: { query: \"'herons'\" }, cache: 1h }\n  \
                keep: { op: select.budget, with: { max_tokens: 100 }, in: { chunks: find.chunks } }\n\
                outputs: { chunks: keep.chunks }\n";
    let put = service.ask("PUT", "/v1/flows/found").key(&key).yaml(flow).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    for _ in 0..2 {
        let asked = json!({ "flow": "found", "inputs": {} });
        let job = service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=30").json(&asked);
        let job = job.send().await;
        assert_eq!(job.json()["status"], "succeeded", "{}", job.text);
    }
    let text = told(&service).await;
    for (series, count) in [
        ("anabranch_node_cache_total{op=\"retrieve.bm25\",outcome=\"miss\"}", 1.0),
        ("anabranch_node_cache_total{op=\"retrieve.bm25\",outcome=\"hit\"}", 1.0),
        ("anabranch_retrieved_chunks_count{op=\"retrieve.bm25\"}", 2.0),
        ("anabranch_retrieved_chunks_sum{op=\"retrieve.bm25\"}", 4.0),
        ("anabranch_kept_ratio_count{op=\"select.budget\"}", 2.0),
        ("anabranch_kept_ratio_sum{op=\"select.budget\"}", 2.0),
    ] {
        assert!((number(&text, series) - count).abs() < 1e-9, "{series}: {}", number(&text, series));
    }
}

#[tokio::test]
async fn a_server_is_down_until_it_has_answered_again() {
    // Nobody listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "models: {{ default: {{ url: 'http://127.0.0.1:{port}', model: m, breaker: {{ failures: 1, cooldown: 1ms }} }} }}\n"
    );
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    let flow = "flow: pick\nnodes:\n  pick: { op: route.llm, in: { text: \"'x'\" }, with: { routes: { left: l, right: r } } }\n\
                outputs: { label: pick.label }\n";
    service.ask("PUT", "/v1/flows/pick").key(&key).yaml(flow).send().await;
    let of = format!("{{model=\"default\",replica=\"127.0.0.1:{port}\"}}");
    assert!(number(&told(&service).await, &format!("anabranch_backend_up{of}")) > 0.0);
    let asked = json!({ "flow": "pick", "inputs": {} });
    service.ask("POST", "/v1/jobs").key(&key).header("prefer", "wait=30").json(&asked).send().await;
    let until = Instant::now() + SOON;
    loop {
        let text = told(&service).await;
        assert!(number(&text, &format!("anabranch_backend_up{of}")) < 1.0, "{text}");
        // Its cooldown is over, and nobody has tried it.
        if (number(&text, &format!("anabranch_backend_breaker{of}")) - 1.0).abs() < 1e-9 {
            return;
        }
        assert!(Instant::now() < until, "the cooldown does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
