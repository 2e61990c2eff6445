//! What durability costs: `cargo run --release -p anabranch-benches --bin journal [-- --postgres-bin "$(./.ci/postgres)"]`.
//!
//! `--postgres-bin FOLDER` starts a `PostgreSQL` of its own, with fsync, from the programs in `FOLDER/bin`;
//! `--postgres URL` takes one that runs, and leaves its tables in it. `--only throughput`, `growth` or `lists` does only
//! that. The folder for the data is made where this is run, which should be on a disk.
//!
//! Jobs of ten steps that do nothing run on the real engine and are journaled by the real store, with fsync, 1, 16 and
//! 64 at once: with a commit for each step (the baseline, in the same run), `step` and `pipelined`. Then how large a
//! file becomes whose state grows by 10 kB a turn, and how long lists and pruning take among 100,000 jobs. Prints JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::job::{End, NewJob, Progress, Request, Status, Usage, new_id};
use anabranch::store::{At, Filter, Options as StoreOptions, Store};
use anabranch_benches::Failed;
use anabranch_benches::load::median;
use anabranch_benches::postgres::Server;
use anabranch_engine::cx::{Cx, Resources};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::event::{Event, Record, RunId, Timing};
use anabranch_engine::operator::{OpError, Operator, Registry};
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::ports;
use anabranch_engine::run::{Durability, Options, Outcome, run};
use anabranch_engine::value::Value;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

const STEPS: usize = 10;
const AT_ONCE: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 3;
const TURNS: u64 = 200;
const TURN_BYTES: usize = 10_000;
const FINISHED: usize = 100_000;
const PRUNED: u32 = 10_000;

/// Gives back its input.
///
/// ```yaml
/// same: { op: bench.same, in: { value: inputs.value } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Same {}

ports! {
    /// The one port of the operator here.
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

fn chain() -> Result<Arc<Plan>, Failed> {
    let mut yaml = "flow: chain\ninputs: { value: int }\nnodes:\n".to_owned();
    let mut previous = "inputs".to_owned();
    for node in 0..STEPS {
        let from = std::mem::replace(&mut previous, format!("n{node}"));
        let _unfailing = writeln!(yaml, "  n{node}: {{ op: bench.same, in: {{ value: {from}.value }} }}");
    }
    let yaml = yaml + &format!("outputs: {{ value: {previous}.value }}\n");
    let registry = Registry::default().with::<Same>();
    let environment = Environment { registry: &registry, names: None, library: &() };
    Ok(Arc::new(compile(&SourceFile::new("bench.yaml", yaml), &environment)?.0))
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    CommitEach,
    Step,
    Pipelined,
}

fn new_job() -> NewJob {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(0);
    NewJob {
        id: new_id("job"),
        tenant: "bench".to_owned(),
        flow: "chain".to_owned(),
        hash: "bench".to_owned(),
        request: Request {
            inputs: [("value".to_owned(), json!(1))].into_iter().collect(),
            ..Request::default()
        },
        created_ms: now,
        claimed_by: Some("bench".to_owned()),
        ..NewJob::default()
    }
}

fn succeeded(value: Json) -> End {
    End {
        status: Status::Succeeded,
        outputs: [("value".to_owned(), value)].into_iter().collect(),
        absent: Map::new(),
        error: None,
        usage: Usage::default(),
        progress: Progress::default(),
    }
}

fn record(seq: u64, value: Value) -> Record {
    Record {
        seq,
        at: Duration::from_millis(seq),
        event: Event::AttemptEnded {
            scope: "n".into(),
            attempt: 1,
            result: Ok(vec![Some(value)]),
            usage: anabranch_engine::backend::Usage::default(),
            timing: Timing::default(),
        },
    }
}

/// Every step in a commit of its own: nothing is handed in before what came before it is on disk.
async fn commit_each(store: &Store, turn: &tokio::sync::Mutex<()>) -> Result<(), Failed> {
    let job = new_job();
    let id = job.id.clone();
    {
        let _turn = turn.lock().await;
        store.submit(job).await?;
    }
    for seq in 0..=STEPS as u64 {
        let _turn = turn.lock().await;
        store.append(&id, 1, &[record(seq, Value::Int(1))]).await?;
    }
    let _turn = turn.lock().await;
    store.end(&id, 1, succeeded(json!(1))).await?;
    Ok(())
}

async fn one(
    store: &Store,
    plan: &Arc<Plan>,
    resources: &Arc<Resources>,
    durability: Durability,
) -> Result<(), Failed> {
    let job = new_job();
    let id = job.id.clone();
    let submitted = store.submit(job);
    if durability == Durability::Step {
        submitted.await?;
    }
    let options = Options {
        id: RunId(id.as_str().into()),
        journal: Some(store.journal(1)),
        durability,
        flush_end: false,
        details: false,
        ..Options::default()
    };
    let inputs = [("value".into(), Value::Int(1))].into_iter().collect();
    let report = run(plan.clone(), inputs, resources.clone(), options).await?;
    if report.outcome != Outcome::Succeeded {
        return Err(format!("the run ended otherwise: {:?}", report.outcome).into());
    }
    store.end(&id, 1, succeeded(json!(1))).await?;
    Ok(())
}

/// Jobs a second.
async fn jobs_per_s(
    store: &Store,
    plan: &Arc<Plan>,
    mode: Mode,
    at_once: usize,
    n_jobs: usize,
) -> Result<f64, Failed> {
    let resources = Arc::new(Resources::default());
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    let n_each = n_jobs.div_ceil(at_once);
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (store, plan, resources, turn) = (store.clone(), plan.clone(), resources.clone(), turn.clone());
        tasks.spawn(async move {
            for _ in 0..n_each {
                match mode {
                    Mode::CommitEach => commit_each(&store, &turn).await?,
                    Mode::Step => one(&store, &plan, &resources, Durability::Step).await?,
                    Mode::Pipelined => one(&store, &plan, &resources, Durability::Pipelined).await?,
                }
            }
            Ok::<_, Failed>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok((n_each * at_once) as f64 / began.elapsed().as_secs_f64())
}

async fn throughput(store: &Store) -> Result<Json, Failed> {
    let plan = chain()?;
    let mut rows = Map::new();
    for at_once in AT_ONCE {
        let mut medians = Vec::new();
        for (mode, n_jobs) in [
            (Mode::CommitEach, 20 + at_once),
            (Mode::Step, 40 * at_once.min(32)),
            (Mode::Pipelined, 200 * at_once),
        ] {
            let mut samples = Vec::new();
            for _ in 0..ROUNDS {
                samples.push(jobs_per_s(store, &plan, mode, at_once, n_jobs).await?);
            }
            medians.push(median(samples));
        }
        if let [each, step, pipelined] = medians.as_slice() {
            rows.insert(
                at_once.to_string(),
                json!({
                    "commit_each": each.round(), "step": step.round(), "pipelined": pipelined.round(),
                    "step_ratio": (step / each * 10.0).round() / 10.0,
                    "pipelined_ratio": (pipelined / each * 10.0).round() / 10.0,
                }),
            );
        }
    }
    Ok(rows.into())
}

/// Bytes of the file for each byte of a state that grows turn by turn.
async fn growth(folder: &Path) -> Result<f64, Failed> {
    let file = folder.join("growth.db");
    let store = Store::open(StoreOptions::new(At::Sqlite(file.clone())), true).await?;
    let empty = std::fs::metadata(&file)?.len();
    let job = new_job();
    let id = job.id.clone();
    store.submit(job).await?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut state = String::new();
    for seq in 0..TURNS {
        // Of all printable characters: what is left for compression is the eighth bit.
        state.extend((0..TURN_BYTES).map(|_| char::from(random.u8(35..91))));
        store.append(&id, 1, &[record(seq, Value::Text(state.as_str().into()))]).await?;
    }
    store.end(&id, 1, succeeded(json!(state))).await?;
    store.close().await;
    Ok((std::fs::metadata(&file)?.len() - empty.min(std::fs::metadata(&file)?.len())) as f64
        / state.len() as f64)
}

fn ms(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

/// Lists among many finished jobs, and pruning while others write.
async fn finished(store: &Store) -> Result<Json, Failed> {
    let mut jobs = Vec::new();
    for n in 0..FINISHED {
        let mut job = new_job();
        job.flow = format!("flow{}", n % 10);
        job.labels = [("kind".to_owned(), format!("k{}", n % 100))].into_iter().collect();
        let (id, submitted) = (job.id.clone(), store.submit(job));
        let record = store.append(&id, 1, &[record(0, Value::Int(1))]);
        let end = End {
            status: if n % 50 == 0 { Status::Failed } else { Status::Succeeded },
            ..succeeded(json!(n))
        };
        jobs.push((submitted, record, store.end(&id, 1, end)));
        if jobs.len() == 1_000 {
            for (submitted, record, end) in jobs.drain(..) {
                submitted.await?;
                record.await?;
                end.await?;
            }
        }
    }
    let labels = |value: &str| [("kind".to_owned(), value.to_owned())].into_iter().collect();
    let flow = || Some("flow3".to_owned());
    let filters = [
        ("all", Filter::default()),
        ("flow", Filter { flow: flow(), ..Filter::default() }),
        ("failed", Filter { statuses: vec![Status::Failed], ..Filter::default() }),
        ("running", Filter { statuses: vec![Status::Queued, Status::Running], ..Filter::default() }),
        ("flow_failed", Filter { flow: flow(), statuses: vec![Status::Failed], ..Filter::default() }),
        ("label", Filter { labels: labels("k7"), ..Filter::default() }),
        ("no_such_label", Filter { labels: labels("none"), ..Filter::default() }),
        ("search", Filter { q: Some("flow3".to_owned()), ..Filter::default() }),
        ("search_nothing", Filter { q: Some("nowhere".to_owned()), ..Filter::default() }),
    ];
    let mut times = Map::new();
    for (name, filter) in filters {
        let mut samples = Vec::new();
        let mut first = String::new();
        for _ in 0..5 {
            let began = Instant::now();
            let page = store.jobs("bench", &filter, None, 50).await?;
            samples.push(ms(began));
            first = page.items.first().map(|job| job.id.clone()).unwrap_or_default();
        }
        times.insert(format!("list_{name}_ms"), median(samples).into());
        if name == "all" {
            let began = Instant::now();
            store.job(Some("bench"), &first).await?;
            store.records(&first, 0, 100).await?;
            times.insert("open_ms".to_owned(), ms(began).into());
        }
    }
    // Others write while it prunes: how long do they wait?
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = tokio::spawn({
        let (store, is_over) = (store.clone(), is_over.clone());
        async move {
            let mut longest = 0.0_f64;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let began = Instant::now();
                store.submit(new_job()).await?;
                longest = longest.max(ms(began));
            }
            Ok::<_, Failed>(longest)
        }
    });
    let began = Instant::now();
    let pruned = store.prune(i64::MAX, PRUNED).await?;
    times.insert("prune_10000_ms".to_owned(), ms(began).into());
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    times.insert("longest_submit_while_pruning_ms".to_owned(), other.await??.into());
    times.insert("pruned".to_owned(), pruned.into());
    Ok(times.into())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let (mut postgres, mut programs, mut only) = (None, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--postgres" => postgres = arguments.next(),
            "--postgres-bin" => programs = arguments.next(),
            "--only" => only = arguments.next(),
            other => {
                return Err(format!(
                    "`{other}` is unknown; there are `--postgres URL`, `--postgres-bin FOLDER`, `--only PART`"
                )
                .into());
            }
        }
    }
    let does = |part: &str| only.as_deref().is_none_or(|only| only == part);
    // Not in /tmp, which may be memory.
    let folder = tempfile::tempdir_in(std::env::current_dir()?)?;
    let mut report = Map::new();
    let store = Store::open(StoreOptions::new(At::Sqlite(folder.path().join("bench.db"))), true).await?;
    if does("throughput") {
        report.insert("sqlite".to_owned(), throughput(&store).await?);
        report.insert("sqlite_goal".to_owned(), json!("at 64: step_ratio >= 8, pipelined_ratio >= 50"));
    }
    if does("lists") {
        report.insert("sqlite_100000_jobs".to_owned(), finished(&store).await?);
    }
    store.close().await;
    if does("growth") {
        let ratio = (growth(folder.path()).await? * 100.0).round() / 100.0;
        report.insert("growth_ratio".to_owned(), json!(ratio));
        report.insert("growth_goal".to_owned(), json!("<= 2.2"));
    }
    let server = programs
        .map(|programs| Server::start(Path::new(&programs), &folder.path().join("postgres")))
        .transpose()?;
    if let Some(url) = server.as_ref().map(Server::url).or(postgres) {
        let store = Store::open(StoreOptions::new(At::Postgres(url.into())), true).await?;
        if does("throughput") {
            report.insert("postgres".to_owned(), throughput(&store).await?);
            report.insert("postgres_goal".to_owned(), json!("at 64: step >= 600, pipelined >= 4400"));
        }
        if does("lists") {
            report.insert("postgres_100000_jobs".to_owned(), finished(&store).await?);
        }
        store.close().await;
    }
    drop(server);
    let text = serde_json::to_string_pretty(&report)?;
    std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{text}\n"))?;
    Ok(())
}
