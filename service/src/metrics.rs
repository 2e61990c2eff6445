//! What Prometheus and collectors are told: counted as it happens, or looked up when somebody asks. The names are in
//! [`names`]; labels come from the configuration alone ([`labels`]).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_engine::cx::Resources;
use anabranch_engine::event::FailureKind;
use anabranch_engine::operator::Registry as Operators;
use anabranch_engine::run::{Notice, Opened};
use anabranch_engine::scope::Scope;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registered, Registry};

use crate::access::DEFAULT_TENANT;
use crate::indexes::Indexes;
use crate::job::Status;
use crate::resources::Pools;
use crate::telemetry::{chunks, module_of};

mod calls;
mod encode;
mod labels;
mod moment;
pub mod names;
mod otlp;
mod pools;
mod process;
mod sizes;

pub use moment::{Moment, QueueNow};
pub use otlp::Span;
pub use sizes::Size;

use labels::{Class, Flow, FlowOutcome, Flows, Op, OpOutcome, Outcome, Reason, Type};
use names::Metric;

/// The media type of what [`Metrics::text`] gives.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bounds of times of nodes, runs and waits, in seconds: from what a node takes that asks nobody, close together where
/// answers of models take their time, to the longest run.
const SECONDS: [f64; 17] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0, 3_600.0,
];
/// Bounds of times of commits, in seconds: from a disk that keeps nothing back to a database that is stuck.
const COMMIT_SECONDS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of counts.
const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1_024.0, 10_000.0];

/// Bounds of shares.
const SHARES: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// The module of operators that find chunks.
const FINDS: &str = "retrieve";
/// The modules of operators that pass on some of the chunks that they are given.
const KEEPS: [&str; 3] = ["filter", "rerank", "select"];

/// A histogram of times.
fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;
type Sum = Counter<f64, AtomicU64>;

/// What the writer of the store counts.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: Histogram,
    commit: Histogram,
}

impl Default for Journal {
    fn default() -> Self {
        Self { entries: Histogram::new(COUNTS), commit: Histogram::new(COMMIT_SECONDS) }
    }
}

impl Journal {
    /// So many entries were committed together, which took so long.
    pub fn committed(&self, entries: usize, took: Duration) {
        self.entries.observe(entries as f64);
        self.commit.observe(took.as_secs_f64());
    }
}

/// What the metrics of a process are about.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// The schedulers of its models.
    pub pools: Pools,
    /// The flows that are told apart: those of the configured folder.
    pub flows: Vec<String>,
    /// The operators.
    pub operators: Option<&'a Operators>,
    /// What its store counts.
    pub journal: Journal,
}

/// The metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    latest: moment::Latest,
    flows: Flows,
    /// Operators by name, with the text that lives as long as the program.
    operators: HashMap<&'static str, &'static str>,
    submitted: Family<Flow, Counter>,
    finished: Family<FlowOutcome, Counter>,
    run: Times<Flow>,
    queue_wait: Histogram,
    recovered: Counter,
    set_aside: Counter,
    leases_lost: Counter,
    fenced: Counter,
    node: Times<Op>,
    attempts: Family<OpOutcome, Counter>,
    retries: Family<Reason, Counter>,
    cache: Family<OpOutcome, Counter>,
    retrieved: Times<Op>,
    kept: Times<Op>,
    turns: Histogram,
    items: Histogram,
    model_calls: Counter,
    encoder_calls: Counter,
    tokens: Family<Type, Counter>,
    cost: Sum,
    over_budget: Counter,
    requests: Family<Class, Counter>,
    refusals: Family<Reason, Counter>,
    webhooks: Family<Outcome, Counter>,
    calls: calls::Calls,
    sizes: sizes::Sizes,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Given::default())
    }
}

impl Metrics {
    /// Metrics that count nothing yet.
    pub fn new(given: Given<'_>) -> Self {
        let operators = given.operators.into_iter().flat_map(Operators::names).map(|name| (name, name));
        let metrics = Self {
            registry: Registry::default(),
            latest: moment::Latest::default(),
            flows: Flows::new(given.flows, DEFAULT_TENANT),
            operators: operators.collect(),
            submitted: Family::default(),
            finished: Family::default(),
            run: Family::new_with_constructor(seconds),
            queue_wait: seconds(),
            recovered: Counter::default(),
            set_aside: Counter::default(),
            leases_lost: Counter::default(),
            fenced: Counter::default(),
            node: Family::new_with_constructor(seconds),
            attempts: Family::default(),
            retries: Family::default(),
            cache: Family::default(),
            retrieved: Family::new_with_constructor(|| Histogram::new(COUNTS)),
            kept: Family::new_with_constructor(|| Histogram::new(SHARES)),
            turns: Histogram::new(COUNTS),
            items: Histogram::new(COUNTS),
            model_calls: Counter::default(),
            encoder_calls: Counter::default(),
            tokens: Family::default(),
            cost: Sum::default(),
            over_budget: Counter::default(),
            requests: Family::default(),
            refusals: Family::default(),
            webhooks: Family::default(),
            calls: calls::Calls::default(),
            sizes: sizes::Sizes::default(),
        };
        metrics.registered(given.pools, given.journal)
    }

    fn registered(mut self, pools: Pools, journal: Journal) -> Self {
        let to = &mut self.registry;
        add(to, &names::JOBS_SUBMITTED, self.submitted.clone());
        add(to, &names::JOBS_FINISHED, self.finished.clone());
        add(to, &names::RUN_DURATION, self.run.clone());
        add(to, &names::QUEUE_WAIT, self.queue_wait.clone());
        add(to, &names::JOBS_RECOVERED, self.recovered.clone());
        add(to, &names::JOBS_SET_ASIDE, self.set_aside.clone());
        add(to, &names::LEASES_LOST, self.leases_lost.clone());
        add(to, &names::FENCED, self.fenced.clone());
        add(to, &names::NODE_DURATION, self.node.clone());
        add(to, &names::NODE_ATTEMPTS, self.attempts.clone());
        add(to, &names::NODE_RETRIES, self.retries.clone());
        add(to, &names::NODE_CACHE, self.cache.clone());
        add(to, &names::RETRIEVED, self.retrieved.clone());
        add(to, &names::KEPT, self.kept.clone());
        add(to, &names::LOOP_TURNS, self.turns.clone());
        add(to, &names::EACH_ITEMS, self.items.clone());
        self.calls.register(to);
        add(to, &names::MODEL_CALLS, self.model_calls.clone());
        add(to, &names::ENCODER_CALLS, self.encoder_calls.clone());
        add(to, &names::TOKENS, self.tokens.clone());
        add(to, &names::COST, self.cost.clone());
        add(to, &names::BUDGET_REFUSALS, self.over_budget.clone());
        add(to, &names::JOURNAL_BATCH, journal.entries);
        add(to, &names::JOURNAL_COMMIT, journal.commit);
        add(to, &names::REQUESTS, self.requests.clone());
        add(to, &names::REFUSALS, self.refusals.clone());
        add(to, &names::WEBHOOKS, self.webhooks.clone());
        to.register_collector(Box::new(self.latest.clone()));
        to.register_collector(Box::new(pools::Schedulers(pools)));
        to.register_collector(Box::new(process::ThisProcess));
        self
    }

    /// All of it as Prometheus reads it, with how full things are now.
    pub fn text(&self, now: Moment) -> String {
        self.latest.set(now);
        let mut text = String::new();
        // Writing into a text cannot fail.
        let written = prometheus_text::encode(&mut text, &self.registry);
        debug_assert!(written.is_ok());
        text
    }

    /// All of it as a collector takes it, with how full things are now.
    pub fn otlp(&self, now: Moment, span: Span) -> Vec<opentelemetry_proto::tonic::metrics::v1::Metric> {
        self.latest.set(now);
        otlp::of(&self.registry, span)
    }

    /// Has every call of a model or encoder timed.
    pub fn time(&self, resources: &mut Resources) {
        self.calls.time(resources);
    }

    /// How large the indexes are, or were a moment ago.
    pub async fn sizes(&self, indexes: &Indexes) -> Vec<Size> {
        self.sizes.of(indexes).await
    }

    /// So many jobs were taken in.
    pub fn submitted(&self, tenant: &str, flow: &str, jobs: u64) {
        self.submitted.get_or_create(&Flow { flow: self.flows.label(tenant, flow) }).inc_by(jobs);
    }

    /// A job started for the first time.
    pub fn started(&self, waited: Duration) {
        self.queue_wait.observe(waited.as_secs_f64());
    }

    /// A job ended so long after its first start.
    pub fn finished(&self, tenant: &str, flow: &str, status: Status, took: Duration) {
        let flow = self.flows.label(tenant, flow);
        self.run.get_or_create(&Flow { flow: flow.clone() }).observe(took.as_secs_f64());
        self.finished.get_or_create(&FlowOutcome { flow, outcome: status.as_str() }).inc();
    }

    /// A job's deadline passed while nobody worked on it.
    pub fn expired(&self, tenant: &str, flow: &str) {
        let flow = self.flows.label(tenant, flow);
        self.finished.get_or_create(&FlowOutcome { flow, outcome: Status::TimedOut.as_str() }).inc();
    }

    /// Jobs of lost workers were put back.
    pub fn recovered(&self, jobs: u64) {
        self.recovered.inc_by(jobs);
    }

    /// A job was given up for the workers that were lost on it.
    pub fn set_aside(&self) {
        self.set_aside.inc();
    }

    /// The lease was lost.
    pub fn lease_lost(&self) {
        self.leases_lost.inc();
    }

    /// The end of a job was refused, since it is another worker's.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// The operator, as labels have it.
    fn op(&self, op: &str) -> &'static str {
        self.operators.get(op).copied().unwrap_or(labels::OTHER)
    }

    /// What was found of earlier results for an attempt of a node with `cache`.
    pub fn looked_up(&self, op: &str, is_hit: bool) {
        let outcome = if is_hit { "hit" } else { "miss" };
        self.cache.get_or_create(&OpOutcome { op: self.op(op), outcome }).inc();
    }

    /// An operator that was given `n_read` chunks has passed on, or found, `n_given`.
    fn passed_on(&self, op: &str, n_read: Option<usize>, n_given: usize) {
        let of = Op { op: self.op(op) };
        match n_read {
            Some(n_read) => self.kept.get_or_create(&of).observe(n_given as f64 / n_read.max(1) as f64),
            None => self.retrieved.get_or_create(&of).observe(n_given as f64),
        }
    }

    fn ended(&self, notice: &Notice) {
        if let Notice::Ended { op, failure, retry_in, usage, timing, .. } = notice {
            let op = self.op(op);
            let kind = failure.as_ref().map(|failure| failure.kind);
            let outcome = kind.map_or("succeeded", FailureKind::as_str);
            self.node.get_or_create(&Op { op }).observe(timing.ran.as_secs_f64());
            self.attempts.get_or_create(&OpOutcome { op, outcome }).inc();
            if retry_in.is_some() {
                self.retries.get_or_create(&Reason { reason: outcome }).inc();
            }
            if kind == Some(FailureKind::OverBudget) {
                self.over_budget.inc();
            }
            self.used(usage);
        }
    }

    fn aborted(&self, op: &str, usage: &anabranch_engine::backend::Usage) {
        self.attempts.get_or_create(&OpOutcome { op: self.op(op), outcome: "aborted" }).inc();
        self.used(usage);
    }

    fn used(&self, usage: &anabranch_engine::backend::Usage) {
        if usage.model_calls + usage.encoder_calls == 0 {
            return;
        }
        self.model_calls.inc_by(usage.model_calls);
        self.encoder_calls.inc_by(usage.encoder_calls);
        self.cost.inc_by(usage.cost.max(0.0));
        for (word, tokens) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("shareable", usage.shareable_tokens),
            ("completion", usage.completion_tokens),
        ] {
            self.tokens.get_or_create(&Type { r#type: word }).inc_by(tokens);
        }
    }

    /// A request was answered with this status.
    pub fn answered(&self, status: u16) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Class { class }).inc();
    }

    /// A request was refused for want of room.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }

    /// What came of an attempt to deliver a webhook.
    pub fn webhook(&self, outcome: &'static str) {
        self.webhooks.get_or_create(&Outcome { outcome }).inc();
    }
}

/// Counts what happens in one job.
#[derive(Debug)]
pub struct Counting {
    metrics: Arc<Metrics>,
    open: Mutex<Underway>,
}

/// What has begun and is counted at its end.
#[derive(Debug, Default)]
struct Underway {
    loops: HashSet<Scope>,
    /// The chunks that a filter, reranker or selection was given.
    read: HashMap<Scope, usize>,
}

impl Counting {
    /// Nothing has happened yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    /// The metrics that it counts in.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Something happened, now or, as the journal tells, before.
    pub fn noticed(&self, notice: &Notice, is_now: bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Started { scope, op, inputs, .. } if is_now && KEEPS.contains(&module_of(op)) => {
                open.read.insert(scope.clone(), chunks(inputs).len());
            }
            Notice::Opened { scope, what: Opened::Loop(_), .. } => {
                open.loops.insert(scope.clone());
            }
            Notice::Closed { scope, parts, .. } if open.loops.remove(scope) && is_now => {
                self.metrics.turns.observe(*parts as f64);
            }
            Notice::Opened { what: Opened::Each(items), .. } if is_now => {
                self.metrics.items.observe(*items as f64);
            }
            Notice::Ended { scope, op, outputs, failure, .. } if is_now => {
                let n_read = open.read.remove(scope).filter(|n_read| *n_read > 0);
                if failure.is_none() && (n_read.is_some() || module_of(op) == FINDS) {
                    self.metrics.passed_on(op, n_read, chunks(outputs).len());
                }
                self.metrics.ended(notice);
            }
            Notice::Aborted { scope, op, attempt, usage, .. } => {
                open.loops.remove(scope);
                open.read.remove(scope);
                if is_now && *attempt > 0 {
                    self.metrics.aborted(op, usage);
                }
            }
            _ => {}
        }
    }
}

fn add(to: &mut Registry, metric: &Metric, registered: impl Registered) {
    // The registry ends it with a full stop of its own.
    to.register(metric.name, metric.help.trim_end_matches('.'), registered);
}
