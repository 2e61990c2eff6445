//! The context of a node execution: all that a step may reach outside itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Caller, ChatModel, Embedder, Index, Redact, Reranker, Tool, ToolServer, Usage};
use crate::budget::{Ledger, Purse};
use crate::cache::Cache;
use crate::event::RunId;
use crate::operator::{EmbedderName, IndexName, ModelName, Names, OpError, PlanKit};

use crate::run::Observer;
use crate::scope::Scope;

mod calls;
mod tools;
mod watch;

pub use tools::NamedTool;
pub use watch::{Answered, Asked, Asking, WatchCall};

/// A model, as `anabranch.yaml` names it.
#[derive(Debug, Clone)]
pub enum Model {
    /// No model at all: readers select sentences, everything else that needs a model says so.
    Extractive,
    /// A chat model.
    Chat(Arc<dyn ChatModel>),
}

/// What a token costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Price {
    /// For a token read.
    pub prompt: f64,
    /// For a token read from the server's cache.
    pub cached: f64,
    /// For a token written.
    pub completion: f64,
}

/// An index, as `anabranch.yaml` names it.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// The index.
    pub index: Arc<dyn Index>,
    /// The embedder that made its vectors, and that makes those of queries; none if it has no vectors.
    pub embedder: Option<EmbedderName>,
}

impl IndexEntry {
    /// An index without vectors.
    pub fn of_words(index: Arc<dyn Index>) -> Self {
        Self { index, embedder: None }
    }

    /// An index whose vectors come from the embedder called `embedder`.
    pub fn of_vectors(index: Arc<dyn Index>, embedder: EmbedderName) -> Self {
        Self { index, embedder: Some(embedder) }
    }
}

/// What `anabranch.yaml` calls a tool.
#[derive(Debug, Clone)]
pub enum ToolEntry {
    /// One tool.
    One(Arc<dyn Tool>),
    /// Several, known from the start: `server.tool` names one.
    Several(Arc<[Arc<dyn Tool>]>),
    /// Those of a server, which is only asked for them when they are needed.
    Server(Arc<dyn ToolServer>),
}

/// The models, encoders and indexes that the flows of a process can use.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Models by the name that flows give.
    pub models: BTreeMap<String, Model>,
    /// Embedders by the name that flows give.
    pub embedders: BTreeMap<String, Arc<dyn Embedder>>,
    /// Rerankers by the name that flows give.
    pub rerankers: BTreeMap<String, Arc<dyn Reranker>>,
    /// Prices: of models by their name, of encoders by section and name (`embedders.default`).
    pub prices: BTreeMap<String, Price>,
    /// Indexes by the name that flows give.
    pub indexes: BTreeMap<String, IndexEntry>,
    /// Tools by the name that flows give.
    pub tools: BTreeMap<String, ToolEntry>,
    /// Results of nodes with `cache`, shared by all runs.
    pub cache: Cache,
    /// What takes secrets out of failures; nothing if `None`.
    pub redact: Option<Arc<dyn Redact>>,
}

impl Resources {
    /// Why something failed, without secrets.
    pub fn redacted(&self, why: String) -> String {
        match &self.redact {
            Some(redact) => redact.text(&why),
            None => why,
        }
    }

    /// The names, for the checker.
    pub fn names(&self) -> Names {
        Names {
            models: self.models.keys().cloned().collect(),
            indexes: self.indexes.keys().cloned().collect(),
            embedders: self.embedders.keys().cloned().collect(),
            rerankers: self.rerankers.keys().cloned().collect(),
            tools: self.tools.iter().flat_map(|(name, entry)| tools::names(name, entry)).collect(),
            tool_servers: self
                .tools
                .iter()
                .filter(|(_, entry)| tools::is_open(entry))
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}

/// Something to show while a node runs. Never journaled.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A piece of a streamed answer.
    Delta(String),
    /// A remark of the operator.
    Note(String),
}

/// Is told what running nodes show.
pub(crate) type OnProgress = Arc<dyn Fn(&Scope, Progress) + Send + Sync>;

/// What one run shares with all of its node executions.
pub(crate) struct RunContext {
    pub(crate) run: RunId,
    pub(crate) seed: u64,
    pub(crate) resources: Arc<Resources>,
    pub(crate) caller: Caller,
    // After which nobody wants what the run gives.
    pub(crate) deadline: Option<Instant>,
    // What calls draw on beside the budgets of the flow.
    pub(crate) purse: Option<Arc<dyn Purse>>,
    pub(crate) started: Instant,
    // How long of that nothing went on but waiting for answers.
    pub(crate) rested_ns: AtomicU64,
    pub(crate) on_progress: Option<OnProgress>,
    // Who is told of calls of models and encoders.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl RunContext {
    /// Time since the run began, by its own clock: it stands still while the run only waits for answers.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_nanos(self.rested_ns.load(Ordering::Relaxed)))
    }

    /// Takes `rest` off the run's clock. Only while no attempt is in flight: theirs must not jump.
    pub(crate) fn rest(&self, rest: Duration) {
        self.rested_ns.fetch_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The context of one attempt of one node.
pub struct Cx {
    run: Arc<RunContext>,
    scope: Scope,
    attempt: u32,
    ledger: Arc<Ledger>,
    kit: Option<Arc<dyn PlanKit>>,
    key: OnceLock<String>,
    // When the attempt is given up.
    deadline: OnceLock<Instant>,
    // Whether the operator has effects: what it asks is not asked twice.
    has_effects: AtomicBool,
    // What this attempt has used, all of it still held in the ledger.
    used: Mutex<Usage>,
    // Milliseconds since the run's start when the attempt last showed life.
    active_ms: AtomicU64,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("scope", &self.scope)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Cx {
    pub(crate) fn new(run: Arc<RunContext>, scope: Scope, attempt: u32, ledger: Arc<Ledger>) -> Self {
        Self {
            run,
            scope,
            attempt,
            ledger,
            kit: None,
            key: OnceLock::new(),
            deadline: OnceLock::new(),
            has_effects: AtomicBool::new(false),
            used: Mutex::default(),
            active_ms: AtomicU64::new(0),
        }
    }

    /// The same, for an operator that makes plans.
    #[must_use]
    pub(crate) fn with_kit(self, kit: Option<Arc<dyn PlanKit>>) -> Self {
        Self { kit, ..self }
    }

    /// Of an operator that makes plans: what the node that runs them takes. `None` if nothing runs them.
    pub fn kit(&self) -> Option<&dyn PlanKit> {
        self.kit.as_deref()
    }

    /// Where in the run this is.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.run.elapsed()
    }

    /// Randomness that depends on the run's seed, the scope and the attempt alone.
    pub fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(seed_for(self.run.seed, &self.scope, self.attempt))
    }

    /// Names this node execution, the same over attempts and restarts.
    pub fn idempotency_key(&self) -> &str {
        self.key.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.run.run.0.as_bytes()).update(b"\0").update(self.scope.to_string().as_bytes());
            hasher.finalize().to_hex().to_string()
        })
    }

    /// Shows something while the node runs, and that it is alive.
    pub fn progress(&self, progress: Progress) {
        self.active_ms.store(millis(self.elapsed()), Ordering::Relaxed);
        if let Some(on_progress) = &self.run.on_progress {
            on_progress(&self.scope, progress);
        }
    }

    /// The index called `name`.
    pub fn index(&self, name: &IndexName) -> Result<Arc<dyn Index>, OpError> {
        Ok(lookup(&self.run.resources.indexes, "index", &name.0)?.index.clone())
    }

    /// The embedder of the vectors in the index called `name`.
    pub fn index_embedder(&self, name: &IndexName) -> Result<EmbedderName, OpError> {
        lookup(&self.run.resources.indexes, "index", &name.0)?.embedder.clone().ok_or_else(|| {
            OpError::InvalidSetting(format!(
                "index `{name}` has no vectors; set `indexes.{name}.embedder` in anabranch.yaml, or use `retrieve.bm25`"
            ))
        })
    }

    /// The model called `name`.
    pub fn model(&self, name: &ModelName) -> Result<Model, OpError> {
        lookup(&self.run.resources.models, "model", &name.0).cloned()
    }

    /// Why the attempt failed, without secrets.
    pub(crate) fn redacted(&self, why: String) -> String {
        self.run.resources.redacted(why)
    }

    /// When the attempt last showed life, since the run's start.
    pub(crate) fn last_active(&self) -> Duration {
        Duration::from_millis(self.active_ms.load(Ordering::Relaxed))
    }

    /// Says when the attempt will be given up: nobody wants an answer after that.
    pub(crate) fn end_by(&self, deadline: Instant) {
        self.deadline.get_or_init(|| deadline);
    }

    /// Says that the operator has effects.
    pub(crate) fn has_effects(&self) {
        self.has_effects.store(true, Ordering::Relaxed);
    }

    pub(crate) fn touch(&self) {
        self.active_ms.store(millis(self.elapsed()), Ordering::Relaxed);
    }

    /// Books what the attempt has used elsewhere, whatever the limits say: it is spent.
    pub(crate) fn book(&self, usage: Usage) {
        self.ledger.hold_unchecked(usage);
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) += usage;
    }

    /// What the attempt has used, at its end: to be settled through the journal, and held until then.
    pub(crate) fn close(&self) -> Spent {
        let usage = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        Spent { usage, ledger: self.ledger.clone() }
    }
}

/// What an ended attempt has used, still held in its budgets. Dropped once the journal's books have it.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) usage: Usage,
    ledger: Arc<Ledger>,
}

impl Drop for Spent {
    fn drop(&mut self) {
        if self.usage != Usage::default() {
            self.ledger.release(self.usage);
        }
    }
}

/// What is called `name`, or an error that says what there is.
fn lookup<'a, T>(known: &'a BTreeMap<String, T>, noun: &str, name: &str) -> Result<&'a T, OpError> {
    known.get(name).ok_or_else(|| {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        OpError::InvalidSetting(format!("there is no {noun} `{name}`; there are: {}", names.join(", ")))
    })
}

/// Milliseconds, for an atomic.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The seed of one attempt: stable over restarts and over the order in which nodes run.
pub(crate) fn seed_for(run_seed: u64, scope: &Scope, attempt: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&run_seed.to_le_bytes())
        .update(scope.to_string().as_bytes())
        .update(&attempt.to_le_bytes());
    let mut seed = [0; 8];
    hasher.finalize_xof().fill(&mut seed);
    u64::from_le_bytes(seed)
}
