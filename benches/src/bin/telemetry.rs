//! What tracing costs: a flow of four model calls with export on against off, in turns, in this process.
//!
//! The model answers at once and computes nothing, so that what is left is the engine's own time and that of the spans;
//! a second figure has a model that takes as long as a fast one does. The collector is a real one on a port of this
//! machine that reads and answers.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::config::{self, Config};
use anabranch::job::{End, Progress, Status, Usage as JobUsage};
use anabranch::telemetry::{JobOfRun, RunSpans, Telemetry};
use anabranch_benches::Failed;
use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Asking, Model, Resources, WatchCall};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::Library;
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::run::{self, Notice, Observer, Options};
use anabranch_engine::value::{Map, Value};
use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;

/// Four calls, one after the other.
const FLOW: &str = "flow: four\ninputs: { question: text }\nnodes:\n  one: { op: query.hyde, in: { question: inputs.question } }\n  \
                    two: { op: query.hyde, in: { question: one.passage } }\n  three: { op: query.hyde, in: { question: two.passage } }\n  \
                    four: { op: query.hyde, in: { question: three.passage } }\noutputs: { passage: four.passage }\n";
/// Runs of each kind in a round, and rounds.
const RUNS: usize = 200;
const ROUNDS: usize = 9;

#[derive(Debug)]
struct Answers(Duration);

#[async_trait]
impl ChatModel for Answers {
    fn name(&self) -> &'static str {
        "m"
    }

    async fn chat(&self, _: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        if !self.0.is_zero() {
            tokio::time::sleep(self.0).await;
        }
        let usage = Usage { prompt_tokens: 900, completion_tokens: 60, ..Usage::default() };
        let text = "A heron builds its nest in the top of a tall tree.".to_owned();
        Ok(ChatResponse {
            text,
            finish_reason: FinishReason::Stop,
            usage,
            model: "m".to_owned(),
            logprobs: Vec::new(),
            tool_calls: vec![],
        })
    }
}

struct Watching(RunSpans);

impl Observer for Watching {
    fn notice(&self, notice: &Notice) {
        self.0.notice(notice, false);
    }

    fn calling(&self, asking: &Asking<'_>) -> Option<Box<dyn WatchCall>> {
        Some(self.0.calling(asking))
    }
}

struct Nothing;

impl Library for Nothing {
    fn flow(&self, _: &str, _: &SourceFile) -> Option<Arc<SourceFile>> {
        None
    }

    fn prompt(&self, path: &str, _: &SourceFile) -> Result<String, String> {
        Err(format!("there is no file `{path}`"))
    }

    fn flows(&self) -> Vec<String> {
        Vec::new()
    }
}

async fn once(
    plan: &Arc<Plan>,
    resources: &Arc<Resources>,
    telemetry: &Telemetry,
    n: usize,
) -> Result<(), Failed> {
    let job = JobOfRun {
        id: format!("job_{n}"),
        flow: "four".into(),
        tenant: "default".into(),
        ..JobOfRun::default()
    };
    // Observed either way, as the service's runs are.
    let watching = Arc::new(Watching(RunSpans::new(telemetry, job)));
    let options = Options { observer: Some(watching.clone()), details: false, ..Options::default() };
    let inputs: Map = [("question".into(), Value::text("Where do herons nest?"))].into_iter().collect();
    run::run(plan.clone(), inputs, resources.clone(), options).await?;
    watching.0.end(&End {
        status: Status::Succeeded,
        outputs: serde_json::Map::new(),
        absent: serde_json::Map::new(),
        error: None,
        usage: JobUsage::default(),
        progress: Progress::default(),
    });
    Ok(())
}

async fn round(plan: &Arc<Plan>, resources: &Arc<Resources>, telemetry: &Telemetry) -> Result<f64, Failed> {
    let began = Instant::now();
    for n in 0..RUNS {
        once(plan, resources, telemetry, n).await?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / RUNS as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let registry = anabranch_operators::registry();
    let environment = Environment { registry: &registry, names: None, library: &Nothing };
    let file = SourceFile::new("four.yaml", FLOW.to_owned());
    let plan = compile(&file, &environment).map_err(|problems| format!("{problems:?}"))?.0;
    let plan = Arc::new(plan);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let collector = listener.local_addr()?;
    // It answers as collectors do: an empty message.
    let router = Router::new().route("/v1/traces", post(async |_: Bytes| ()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (about, delay) in [("no model time", Duration::ZERO), ("10 ms a call", Duration::from_millis(10))] {
        let model = Model::Chat(Arc::new(Answers(delay)));
        let resources = Resources { models: [("default".to_owned(), model)].into(), ..Resources::default() };
        let resources = Arc::new(resources);
        for content in ["none", "full"] {
            let text = format!(
                "telemetry: {{ endpoint: \"http://{collector}\", protocol: http, queue: 1000000, content: {content} }}\n"
            );
            let config = Config::parse(config::FILE, &text)?;
            let (on, off) =
                (Telemetry::start(&config.telemetry, Arc::default(), &|_| None)?, Telemetry::off());
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for n in 0..=ROUNDS {
                let pair = (round(&plan, &resources, &off).await?, round(&plan, &resources, &on).await?);
                // The first warms up.
                if n > 0 {
                    without.push(pair.0);
                    with.push(pair.1);
                }
            }
            on.close().await;
            let (with, without) = (median(with), median(without));
            writeln!(
                std::io::stdout(),
                "{about}, content {content}: {without:.1} µs a run without, {with:.1} µs with traces: {:+.2} % ({:.1} µs a span)",
                100.0 * (with / without - 1.0),
                (with - without) / 9.0
            )?;
        }
    }
    Ok(())
}
