//! Traces over OTLP, as a collector gets them: every span and attribute of the table in `ARCHITECTURE.md`, whose trace
//! they belong to, what is in them, and what a collector that is not there costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch::access::Scope;
use anabranch::config::{self, Config};
use anabranch::job::{End, Progress, Status, Usage};
use anabranch::telemetry::{JobOfRun, RunSpans, Telemetry};
use anabranch_backends::chat::{Replay, Rule, Scripted, Tape};
use anabranch_backends::embed::Hashed;
use anabranch_backends::program::Limits;
use anabranch_backends::rerank::Lexical;
use anabranch_backends::tool::program::{ProgramTool, RESULT};
use anabranch_engine::backend::{
    self, Call, ChatModel, ChatRequest, ChatResponse, FinishReason, Index, IndexStats, Namespace, SearchQuery,
};
use anabranch_engine::cx::{Asking, IndexEntry, Model, Resources, ToolEntry, WatchCall};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::event::FailureKind;
use anabranch_engine::flow::TestDecl;
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::run::{self, Notice, Observer, Options, Stub};
use anabranch_engine::value::{Chunk, DocumentId, Map, Value};
use async_trait::async_trait;
use serde_json::{Value as Json, json};

use crate::access::service::Service;
use crate::faults::server::{Fake, Step, response};
use crate::served::{Place, Served};
use crate::support::{Repository, files, read, root, source};

mod collector;
mod counts;
mod ends;
mod tools;

use collector::{Collector, Seen};

/// Models, encoders and indexes are asked by no test of a flow: what asks them is stubbed.
const ENCODERS: &str = "flow: encoders\ninputs: { question: text, chunks: list<chunk> }\nnodes:\n  \
                        find: { op: retrieve.bm25, in: { query: inputs.question }, with: { index: docs } }\n  \
                        rank: { op: rerank.cross_encoder, in: { query: inputs.question, chunks: inputs.chunks } }\n  \
                        differ: { op: filter.redundancy, in: { chunks: rank.chunks } }\n  \
                        imagine: { op: query.hyde, in: { question: inputs.question } }\n\
                        outputs: { chunks: differ.chunks, found: find.chunks, passage: imagine.passage }\n";

/// An index that finds what it is told.
#[derive(Debug)]
struct Found(Arc<Chunk>);

#[async_trait]
impl Index for Found {
    async fn search(&self, _: &SearchQuery) -> Result<Vec<Arc<Chunk>>, backend::Error> {
        Ok(vec![self.0.clone()])
    }

    async fn chunks_of(&self, _: &Namespace, _: &DocumentId) -> Result<Vec<Arc<Chunk>>, backend::Error> {
        Ok(Vec::new())
    }

    async fn stats(&self, _: &Namespace) -> Result<IndexStats, backend::Error> {
        Ok(IndexStats::default())
    }
}

/// A model that says the same to everybody.
#[derive(Debug)]
struct Says;

#[async_trait]
impl ChatModel for Says {
    fn name(&self) -> &'static str {
        "m"
    }

    async fn chat(&self, _: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, backend::Error> {
        (call.on_first_token)();
        Ok(ChatResponse {
            text: "Herons nest in trees.".to_owned(),
            finish_reason: FinishReason::Stop,
            usage: backend::Usage { prompt_tokens: 12, completion_tokens: 5, ..backend::Usage::default() },
            model: "m-1".to_owned(),
            logprobs: Vec::new(),
            tool_calls: vec![],
        })
    }
}

fn telemetry(endpoint: &str, more: &str) -> Telemetry {
    let text = format!("telemetry: {{ endpoint: \"{endpoint}\"{more} }}\n");
    let config = Config::parse(config::FILE, &text).unwrap();
    let env = |name: &str| (name == "KEY").then(|| "the-key-of-the-collector".to_owned());
    Telemetry::start(&config.telemetry, config.redactor(&env), &env).unwrap()
}

/// Tells the spans of a run what happens in it.
struct Watching(RunSpans);

impl Observer for Watching {
    fn notice(&self, notice: &Notice) {
        self.0.notice(notice, false);
    }

    fn calling(&self, asking: &Asking<'_>) -> Option<Box<dyn WatchCall>> {
        Some(self.0.calling(asking))
    }
}

fn job(flow: &str) -> JobOfRun {
    JobOfRun {
        id: format!("job_of_{flow}"),
        tenant: "acme".into(),
        flow: flow.into(),
        session: Some("talk".into()),
        user: Some("key_1".into()),
        inputs: [("question".to_owned(), json!("which?"))].into_iter().collect(),
        ..JobOfRun::default()
    }
}

fn end() -> End {
    End {
        status: Status::Succeeded,
        outputs: [("answer".to_owned(), json!("that one"))].into_iter().collect(),
        absent: serde_json::Map::new(),
        error: None,
        usage: Usage::default(),
        progress: Progress::default(),
    }
}

/// Runs a plan, traced.
async fn traced(
    telemetry: &Telemetry,
    plan: Plan,
    inputs: Map,
    models: BTreeMap<String, Model>,
    stubs: BTreeMap<String, Stub>,
    indexes: BTreeMap<String, IndexEntry>,
) {
    let spans = Arc::new(Watching(RunSpans::new(telemetry, job(&plan.name))));
    let program = ProgramTool::new("program", RESULT, Limits::default());
    let resources = Resources {
        models,
        embedders: [("default".to_owned(), Arc::new(Hashed) as _)].into(),
        rerankers: [("default".to_owned(), Arc::new(Lexical) as _)].into(),
        indexes,
        tools: [("program".to_owned(), ToolEntry::One(Arc::new(program)))].into(),
        ..Resources::default()
    };
    let options = Options { observer: Some(spans.clone()), stubs, park: true, ..Options::default() };
    run::run(Arc::new(plan), inputs, Arc::new(resources), options).await.unwrap();
    spans.0.end(&end());
}

fn compiled(file: &Arc<SourceFile>) -> Plan {
    let registry = anabranch_operators::registry();
    let environment = Environment { registry: &registry, names: None, library: &Repository };
    compile(file, &environment).unwrap_or_else(|problems| panic!("{problems:?}")).0
}

fn stub(json: &Json) -> Stub {
    let kind =
        json.get("error").and_then(|kind| FailureKind::ALL.into_iter().find(|one| *kind == one.as_str()));
    if let Some(kind) = kind {
        return Stub::Fails(kind, "stubbed".to_owned());
    }
    let ports = json.as_object().unwrap().iter();
    Stub::Outputs(ports.map(|(port, json)| (port.as_str().into(), Value::from_json(json.clone()))).collect())
}

/// The models that a flow's test is run with.
fn models(test: &TestDecl) -> BTreeMap<String, Model> {
    let mut models = BTreeMap::from([("default".to_owned(), Model::Extractive)]);
    if !test.script.is_empty() {
        let model = Scripted::rules(test.script.iter().map(Rule::from)).unwrap();
        models.insert("default".to_owned(), Model::Chat(Arc::new(model)));
    }
    if let Some(replay) = &test.replay {
        let tape = Tape::load(root().join("flows").join(&replay.value)).unwrap();
        let names: Vec<String> = tape.models().map(str::to_owned).chain(["default".to_owned()]).collect();
        for name in names {
            models.insert(name.clone(), Model::Chat(Arc::new(Replay::new(&*name, tape.clone()))));
        }
    }
    models
}

/// Which row of the table a span belongs to.
fn row_of(seen: &Seen) -> &'static str {
    let operator = seen.text("anabranch.operator");
    match seen.text("openinference.span.kind") {
        _ if seen.span.name.starts_with("invoke_workflow ") => "run",
        "LLM" => "model call",
        "AGENT" => "agent (`tool.call`)",
        "TOOL" => "tool call",
        "EMBEDDING" => "embedder call",
        _ if seen.attributes.contains_key("anabranch.model") => "reranker call",
        _ if seen.attributes.contains_key("anabranch.index") => "turn or item",
        _ if ["flow", "loop", "each", "plan"].contains(&operator) => "scope",
        "RETRIEVER" => "retrieval",
        "RERANKER" => "rerank",
        _ => "node",
    }
}

/// The table of `ARCHITECTURE.md`: by span, what each has, and what those with content have.
fn table() -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let text = read("ARCHITECTURE.md");
    let table = text.split("\n## The spans of a run\n").nth(1).expect("the table of spans");
    let table = table.split("\n## ").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Span") && !line.starts_with("| ---"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), (names(cells[2]), names(cells[3])))
    })
    .collect()
}

/// `retrieval.documents.N.document.id` is there if it is there for any number.
fn has(seen: &Seen, name: &str) -> bool {
    match name.split_once(".N.") {
        None => seen.attributes.contains_key(name),
        Some((before, after)) => seen.attributes.keys().any(|key| {
            key.strip_prefix(before).and_then(|rest| rest.strip_prefix('.')?.split_once('.')).is_some_and(
                |(number, rest)| rest == after && number.bytes().all(|byte| byte.is_ascii_digit()),
            )
        }),
    }
}

#[tokio::test]
async fn every_flow_gives_every_span_and_attribute_of_the_table() {
    let (collector, url) = Collector::http().await;
    let telemetry = telemetry(&url, ", protocol: http, content: full, service: test");
    for path in files("flows", "yaml") {
        let file = source(&path);
        for test in compiled(&file).tests.clone() {
            let value = |json: &Json| Value::from_json(json.clone());
            let inputs = test
                .inputs
                .iter()
                .map(|one| (one.key.value.as_str().into(), value(&one.value.value)))
                .collect();
            let stubs =
                test.stub.iter().map(|one| (one.key.value.clone(), stub(&one.value.to_json()))).collect();
            traced(&telemetry, compiled(&file), inputs, models(&test), stubs, BTreeMap::new()).await;
        }
    }
    let chunk = |n: usize| {
        json!({ "id": format!("a.md#{n}-9"), "doc": "a.md", "text": format!("about herons {n}"), "range": { "start": n, "end": 9 },
                "lines": { "first": 1, "last": 1 }, "tokens": 3, "score": 0.5 })
    };
    let inputs: Map = [
        ("question".into(), Value::text("herons")),
        ("chunks".into(), Value::from_json(json!([chunk(1), chunk(2)]))),
    ]
    .into_iter()
    .collect();
    let encoders = compiled(&SourceFile::new("encoders.yaml", ENCODERS.to_owned()));
    let inputs = run::check_inputs(&encoders.root.inputs, inputs).unwrap();
    let found: Chunk = serde_json::from_value(chunk(3)).unwrap();
    let indexes = [("docs".to_owned(), IndexEntry::of_words(Arc::new(Found(Arc::new(found)))))].into();
    let models = [("default".to_owned(), Model::Chat(Arc::new(Says)))].into();
    traced(&telemetry, encoders, inputs, models, BTreeMap::new(), indexes).await;
    telemetry.close().await;

    let spans = collector.spans();
    assert_eq!((telemetry.lost(), telemetry.exported()), (0, spans.len() as u64));
    let ids: BTreeSet<(String, String)> = spans.iter().map(|seen| (seen.trace(), seen.id())).collect();
    let mut rows: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for seen in &spans {
        assert_eq!(seen.service, "test");
        let row = row_of(seen);
        rows.entry(row).or_default().push(seen);
        let is_root = row == "run";
        assert!(
            is_root || ids.contains(&(seen.trace(), seen.parent())),
            "`{}` hangs in the air",
            seen.span.name
        );
    }
    let table = table();
    assert_eq!(
        table.keys().map(String::as_str).collect::<Vec<_>>(),
        rows.keys().copied().collect::<Vec<_>>()
    );
    for (row, (always, with_content)) in table {
        let found = &rows[&*row];
        for name in &always {
            for seen in found.iter().filter(|seen| seen.is_ok()) {
                assert!(
                    has(seen, name),
                    "{row}: `{name}` is missing in `{}`: {:?}",
                    seen.span.name,
                    seen.attributes
                );
            }
        }
        for name in &with_content {
            assert!(found.iter().any(|seen| has(seen, name)), "{row}: no span has `{name}`");
        }
    }
}

fn answer() -> Vec<u8> {
    let content = json!({ "reason": "it says so", "label": "left" }).to_string();
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 0, "model": "m-1",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": { "cached_tokens": 40 } },
    });
    response("200 OK", &[("content-type", "application/json")], body.to_string().as_bytes())
}

const ROUTE: &str = "flow: route\ninputs: { text: text }\nnodes:\n  pick: { op: route.llm, in: { text: inputs.text }, with: \
                     { routes: { left: to the left, right: to the right } } }\noutputs: { label: pick.label }\n";

/// A service with a model, and the key of somebody who may do everything there.
async fn service(model: &Fake, telemetry: &str) -> (Service, String) {
    let config = format!(
        "models: {{ default: {{ url: '{}', model: m, stream: false }} }}\nprices: {{ default: {{ prompt: 1.0, completion: 2.0 }} }}\n{telemetry}",
        model.url
    );
    let service = Service::start(&config).await;
    let key = service.key("default", &Scope::ALL).await;
    let put = service.ask("PUT", "/v1/flows/route").key(&key).yaml(ROUTE).send().await;
    assert_eq!(put.status, 201, "{}", put.text);
    (service, key)
}

async fn routed(service: &Service, key: &str, traceparent: Option<&str>) -> Json {
    let asked = service.ask("POST", "/v1/jobs").key(key).header("prefer", "wait=60");
    let asked = traceparent.into_iter().fold(asked, |asked, trace| asked.header("traceparent", trace));
    let answer = asked
        .json(&json!({ "flow": "route", "inputs": { "text": "the secret is sk-0123456789abcdef0123" } }))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let job = answer.json();
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

#[tokio::test]
async fn a_trace_goes_from_the_caller_through_the_run_to_the_model_server() {
    let (collector, url) = Collector::grpc().await;
    let model = Fake::start(|_| vec![Step::Send(answer())]).await;
    let section = format!(
        "telemetry: {{ endpoint: '{url}', content: full, headers: {{ Authorization: '${{env:KEY}}' }} }}\n"
    );
    let (service, key) = service(&model, &section).await;
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let called = routed(&service, &key, Some(&format!("00-{trace}-{caller}-01"))).await;
    assert_eq!(called["trace_id"], trace);
    let own = routed(&service, &key, None).await;
    // A caller who does not trace is followed.
    routed(&service, &key, Some(&format!("00-{}-{caller}-00", "1".repeat(32)))).await;
    service.app.telemetry.close().await;

    let spans = collector.spans();
    assert!(
        !collector.keys().is_empty()
            && collector.keys().iter().all(|key| key == "a root key that is long enough to be one")
    );
    let of = |id: &str| spans.iter().filter(|seen| seen.trace() == id).cloned().collect::<Vec<_>>();
    let named =
        |spans: &[Seen], name: &str| spans.iter().find(|seen| seen.span.name == name).unwrap().clone();
    assert_eq!(spans.len(), 6, "{:?}", spans.iter().map(|seen| &seen.span.name).collect::<Vec<_>>());
    let all = of(trace);
    let (root, node, call) =
        (named(&all, "invoke_workflow route"), named(&all, "pick"), named(&all, "chat m"));
    assert_eq!((root.parent().as_str(), node.parent(), call.parent()), (caller, root.id(), node.id()));
    assert_eq!(root.text("anabranch.job.id"), called["id"].as_str().unwrap());
    assert_eq!(call.attributes["gen_ai.usage.input_tokens"], 100);
    assert_eq!(call.attributes["llm.token_count.prompt_details.cache_read"], 40);
    let cost = call.attributes["llm.cost.total"].as_f64().unwrap();
    assert!((cost - 120e-6).abs() < 1e-12, "{cost}");
    let alone = of(own["trace_id"].as_str().unwrap());
    assert_eq!(named(&alone, "invoke_workflow route").parent(), "", "it begins the trace");

    let sent: Vec<String> =
        model.requests().iter().map(|request| request.header("traceparent").unwrap().to_owned()).collect();
    assert_eq!(sent[0], format!("00-{trace}-{}-01", call.id()));
    assert_eq!(
        sent[1],
        format!("00-{}-{}-01", own["trace_id"].as_str().unwrap(), named(&alone, "chat m").id())
    );
    assert_eq!(sent[2], format!("00-{}-{caller}-00", "1".repeat(32)));
    let everything = format!("{spans:?}");
    assert!(everything.contains("to the left") && everything.contains("[redacted]"), "prompts, without keys");
    assert!(!everything.contains("sk-0123456789abcdef0123"), "a key has left");
}

#[tokio::test]
async fn contents_stay_here_unless_they_are_asked_for() {
    let (collector, url) = Collector::http().await;
    let model = Fake::start(|_| vec![Step::Send(answer())]).await;
    let (service, key) =
        service(&model, &format!("telemetry: {{ endpoint: '{url}', protocol: http }}\n")).await;
    routed(&service, &key, None).await;
    service.app.telemetry.close().await;
    let everything = format!("{:?}", collector.spans());
    assert_eq!(collector.spans().len(), 3);
    for content in ["to the left", "the secret is", "it says so", "input.value", "output.value"] {
        assert!(!everything.contains(content), "{content}");
    }
}

#[tokio::test]
async fn a_dead_collector_loses_spans_and_no_run() {
    // Nobody listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for protocol in ["grpc", "http"] {
        let model = Fake::start(|_| vec![Step::Send(answer())]).await;
        let section = format!(
            "telemetry: {{ endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, timeout: 1s, queue: 4 }}\n"
        );
        let (service, key) = service(&model, &section).await;
        for _ in 0..5 {
            routed(&service, &key, None).await;
        }
        service.app.telemetry.close().await;
        assert_eq!(service.app.telemetry.exported(), 0);
        assert_eq!(service.app.telemetry.lost(), 15, "all are counted: {protocol}");
        let told = service.ask("GET", "/metrics").send().await.text;
        for line in [
            "anabranch_spans_total{outcome=\"exported\"} 0.0",
            "anabranch_spans_total{outcome=\"lost\"} 15.0",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} in\n{told}");
        }
    }
}

#[tokio::test]
async fn only_the_asked_for_share_of_runs_is_traced() {
    let (collector, url) = Collector::http().await;
    let telemetry = telemetry(&url, ", protocol: http, sample: 0.25");
    for n in 0..400 {
        let job = JobOfRun {
            id: format!("job_{n}"),
            trace: Some(format!("00-{:032x}-{:016x}-01", fastrand::Rng::with_seed(n).u128(..), 0)),
            ..job("any")
        };
        RunSpans::new(&telemetry, job).end(&end());
    }
    telemetry.close().await;
    let n = collector.spans().len();
    assert!((60..140).contains(&n), "{n} of 400");
}

#[tokio::test]
async fn a_log_is_json_from_its_first_line_on() {
    let place = Place::new();
    let served = Served::start(&place);
    drop(served);
    let log = std::fs::read_to_string(place.folder().join("log")).unwrap();
    let lines: Vec<Json> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let said = |words: &str| lines.iter().any(|line| line.to_string().contains(words));
    assert!(said("indexing docs: 1 file to look at") && said("index `docs` built"), "{log}");
}
