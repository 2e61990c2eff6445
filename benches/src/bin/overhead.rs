//! What the engine costs: `cargo run --profile dist -p anabranch-benches --bin overhead`.
//!
//! Prints one JSON object: each figure (the median of several rounds), a baseline measured in the same run (the same
//! operators called one after the other by hand), the ratio, what peers measured on a like machine, and whether the
//! figure meets its goal. Every run writes its journal (in memory), as a durable run would.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_benches::Failed;
use anabranch_benches::load::median;
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::event::RunId;
use anabranch_engine::journal::MemoryJournal;
use anabranch_engine::operator::{OpError, Operator, Registry};
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::run::{Options, Outcome, Report, run};
use anabranch_engine::value::{Map, Value};
use anabranch_engine::{cx::Cx, ports};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Nodes of the chain that every peer was measured on.
const CHAIN: usize = 20;
/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 7;

/// Gives back its input.
///
/// ```yaml
/// same: { op: bench.same, in: { value: inputs.value } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Same {}

ports! {
    /// The one port of the operators here.
    struct Port {
        /// A number that is passed on.
        pub value: i64,
    }
}

#[async_trait]
impl Operator for Same {
    const NAME: &'static str = "bench.same";
    type In = Port;
    type Out = Port;

    async fn run(&self, _: &Cx, input: Port) -> Result<Port, OpError> {
        Ok(input)
    }
}

/// Gives back its input after a while.
///
/// ```yaml
/// wait: { op: bench.wait, in: { value: inputs.value }, with: { ms: 5 } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wait {
    /// Milliseconds.
    ms: u64,
}

#[async_trait]
impl Operator for Wait {
    const NAME: &'static str = "bench.wait";
    type In = Port;
    type Out = Port;

    async fn run(&self, _: &Cx, input: Port) -> Result<Port, OpError> {
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
        Ok(input)
    }
}

fn plan(yaml: &str) -> Result<Arc<Plan>, Failed> {
    let registry = Registry::default().with::<Same>().with::<Wait>();
    let environment = Environment { registry: &registry, names: None, library: &() };
    Ok(Arc::new(compile(&SourceFile::new("bench.yaml", yaml), &environment)?.0))
}

fn chain(n: usize) -> String {
    let mut yaml = "flow: chain\ninputs: { value: int }\nnodes:\n".to_owned();
    let mut previous = "inputs".to_owned();
    for node in 0..n {
        let from = std::mem::replace(&mut previous, format!("n{node}"));
        let _unfailing = writeln!(yaml, "  n{node}: {{ op: bench.same, in: {{ value: {from}.value }} }}");
    }
    yaml + &format!("outputs: {{ value: {previous}.value }}\n")
}

async fn once(plan: &Arc<Plan>, resources: &Arc<Resources>, input: (&str, Value)) -> Result<Report, Failed> {
    let inputs: Map = [(input.0.into(), input.1)].into_iter().collect();
    let options = Options {
        id: RunId("bench".into()),
        journal: Some(Arc::new(MemoryJournal::default())),
        details: false,
        ..Options::default()
    };
    let report = run(plan.clone(), inputs, resources.clone(), options).await?;
    match report.outcome {
        Outcome::Succeeded => Ok(report),
        other => Err(format!("the run ended otherwise: {other:?}").into()),
    }
}

/// Nanoseconds a node of one run of the chain.
async fn ns_per_node(resources: &Arc<Resources>) -> Result<f64, Failed> {
    let plan = plan(&chain(CHAIN))?;
    let n_runs = 2_000;
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..n_runs {
            once(&plan, resources, ("value", Value::Int(1))).await?;
        }
        samples.push(began.elapsed().as_nanos() as f64 / (n_runs * CHAIN) as f64);
    }
    Ok(median(samples))
}

/// Nanoseconds a node when the same boxed operators are called by hand.
async fn baseline_ns_per_node() -> Result<f64, Failed> {
    let registry = Registry::default().with::<Same>();
    let operator = registry.get(Same::NAME).ok_or("not registered")?.build(json!({}))?;
    let cx = anabranch_engine::testing::cx();
    let mut samples = Vec::new();
    let n_calls = 200_000;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut values = vec![Some(Value::Int(1))];
        for _ in 0..n_calls {
            values = operator.run(&cx, &[], values).await?;
        }
        samples.push(began.elapsed().as_nanos() as f64 / f64::from(n_calls));
    }
    Ok(median(samples))
}

/// Nodes a second with 200 runs of the chain at once.
async fn nodes_per_s(resources: &Arc<Resources>) -> Result<f64, Failed> {
    let plan = plan(&chain(CHAIN))?;
    let (n_at_once, n_each) = (200, 50);
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..n_at_once {
            let (plan, resources) = (plan.clone(), resources.clone());
            tasks.spawn(async move {
                for _ in 0..n_each {
                    once(&plan, &resources, ("value", Value::Int(1))).await?;
                    // As a server would: the next run is another request.
                    tokio::task::yield_now().await;
                }
                Ok::<_, Failed>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        samples.push((n_at_once * n_each * CHAIN) as f64 / began.elapsed().as_secs_f64());
    }
    Ok(median(samples))
}

/// Seconds for two branches of two uneven steps; 0.55 is ideal.
async fn branches_s(resources: &Arc<Resources>) -> Result<f64, Failed> {
    let plan = plan(
        "flow: branches\ninputs: { value: int }\nnodes:\n  \
         a1: { op: bench.wait, in: { value: inputs.value }, with: { ms: 50 } }\n  \
         a2: { op: bench.wait, in: { value: a1.value }, with: { ms: 500 } }\n  \
         b1: { op: bench.wait, in: { value: inputs.value }, with: { ms: 500 } }\n  \
         b2: { op: bench.wait, in: { value: b1.value }, with: { ms: 50 } }\n\
         outputs: { a: a2.value, b: b2.value }\n",
    )?;
    let mut samples = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        once(&plan, resources, ("value", Value::Int(1))).await?;
        samples.push(began.elapsed().as_secs_f64());
    }
    Ok(median(samples))
}

/// Milliseconds for an each over `n` trivial items.
async fn fanout_ms(n: i64, resources: &Arc<Resources>) -> Result<f64, Failed> {
    let plan = plan(
        "flow: fanout\ninputs: { items: list<int> }\nnodes:\n  \
         fan: { each: inputs.items, op: bench.same, in: { value: item }, concurrency: 64 }\n\
         outputs: { values: fan.value }\n",
    )?;
    let items = Value::list((0..n).map(Value::Int));
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let report = once(&plan, resources, ("items", items.clone())).await?;
        samples.push(began.elapsed().as_secs_f64() * 1e3);
        if report.outputs.get("values") != Some(&items) {
            return Err("the outputs are not in the order of the input".into());
        }
    }
    Ok(median(samples))
}

/// Resident memory of this process at its most, in MB.
fn rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn row(ours: f64, must_be: &str, met: bool, peers: &Json) -> Json {
    json!({ "ours": (ours * 1000.0).round() / 1000.0, "must_be": must_be, "met": met, "peers": peers })
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let resources = Arc::new(Resources::default());
    // Warm up: the first run pays for pages and caches.
    for _ in 0..200 {
        once(&plan(&chain(CHAIN))?, &resources, ("value", Value::Int(1))).await?;
    }
    let baseline = baseline_ns_per_node().await?;
    let chain_ns = tokio::spawn({
        let resources = resources.clone();
        async move { ns_per_node(&resources).await }
    })
    .await??;
    let throughput = nodes_per_s(&resources).await?;
    let branches = branches_s(&resources).await?;
    let thousand_ms = fanout_ms(1_000, &resources).await?;
    let ten_thousand_ms = fanout_ms(10_000, &resources).await?;
    let rss = rss_mb().unwrap_or(f64::NAN);
    // Peers: newest releases of November 2026 on a like 2-core machine, ± 30 %.
    let report = json!({
        "ns_per_node": row(chain_ns, "<= 5000", chain_ns <= 5_000.0, &json!({
            "haystack_3.4": 103_000, "haystack_async": 133_000, "langgraph_1.2": 221_000,
            "langgraph_checkpointed": 314_000, "llamaindex_workflows_2.26": 412_000 })),
        "ns_per_node_by_hand": (baseline * 10.0).round() / 10.0,
        "ratio_to_by_hand": (chain_ns / baseline * 10.0).round() / 10.0,
        "nodes_per_s": row(throughput, ">= 500000", throughput >= 500_000.0, &json!({
            "haystack_3.4": 5_960, "langgraph_1.2": 3_790, "llamaindex_workflows_2.26": 1_900 })),
        "branches_s": row(branches, "<= 0.556", branches <= 0.556, &json!({
            "langgraph_1.2": 1.005, "haystack_async": 0.553, "haystack_3.4": 1.102 })),
        "fanout_1000_ms": row(thousand_ms, "<= 10", thousand_ms <= 10.0, &json!({
            "langgraph_1.2": 299, "llamaindex_workflows_2.26": 8_481 })),
        "fanout_10000_ms": row(ten_thousand_ms, "linear: <= 15 x fanout_1000_ms", ten_thousand_ms <= 15.0 * thousand_ms, &json!({})),
        "rss_mb": row(rss, "<= 60", rss <= 60.0, &json!({ "hayhooks_2.1": 137, "llama_agents_server_0.8": 95 })),
    });
    write_out(&serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

fn write_out(text: &str) -> std::io::Result<()> {
    std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{text}\n"))
}
