//! The context of a node execution: all that a step may reach outside itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{self, Call, ChatModel, ChatRequest, ChatResponse, Index, Usage};
use crate::budget::Ledger;
use crate::cache::Cache;
use crate::event::RunId;
use crate::limits;
use crate::operator::{IndexName, ModelName, Names, OpError};
use crate::scope::Scope;

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

/// The models and indexes that the flows of a process can use.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Models by the name that flows give.
    pub models: BTreeMap<String, Model>,
    /// Prices by the same name.
    pub prices: BTreeMap<String, Price>,
    /// Indexes by the name that flows give.
    pub indexes: BTreeMap<String, Arc<dyn Index>>,
    /// Results of nodes with `cache`, shared by all runs.
    pub cache: Cache,
}

impl Resources {
    /// The names, for the checker.
    pub fn names(&self) -> Names {
        Names {
            models: self.models.keys().cloned().collect(),
            indexes: self.indexes.keys().cloned().collect(),
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
    pub(crate) started: Instant,
    pub(crate) on_progress: Option<OnProgress>,
}

/// The context of one attempt of one node.
pub struct Cx {
    run: Arc<RunContext>,
    scope: Scope,
    attempt: u32,
    ledger: Arc<Ledger>,
    key: OnceLock<String>,
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
            key: OnceLock::new(),
            used: Mutex::default(),
            active_ms: AtomicU64::new(0),
        }
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
        self.run.started.elapsed()
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
        let indexes = &self.run.resources.indexes;
        indexes.get(&*name.0).cloned().ok_or_else(|| {
            let known: Vec<&str> = indexes.keys().map(String::as_str).collect();
            OpError::InvalidSetting(format!("there is no index `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// The model called `name`.
    pub fn model(&self, name: &ModelName) -> Result<Model, OpError> {
        let models = &self.run.resources.models;
        models.get(&*name.0).cloned().ok_or_else(|| {
            let known: Vec<&str> = models.keys().map(String::as_str).collect();
            OpError::InvalidSetting(format!("there is no model `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// Asks the chat model called `name`: reserves the call in every budget around, sends it, books what it used.
    pub async fn chat(&self, name: &ModelName, request: &ChatRequest) -> Result<ChatResponse, OpError> {
        let Model::Chat(model) = self.model(name)? else {
            return Err(OpError::InvalidSetting(format!(
                "model `{name}` is `extractive`, which can only select sentences; set `models.{name}.url` in anabranch.yaml or give --model-url"
            )));
        };
        let price = self.run.resources.prices.get(&*name.0).copied().unwrap_or_default();
        let mut estimate = Usage {
            model_calls: 1,
            prompt_tokens: model.estimate_prompt_tokens(request),
            completion_tokens: u64::from(request.max_tokens.unwrap_or(limits::COMPLETION_TOKENS)),
            ..Usage::default()
        };
        estimate.cost = cost(&estimate, price);
        self.ledger.hold(estimate)?;
        let mut call = HeldCall { cx: self, held: estimate, used: estimate };
        let on_delta = |delta: &str| self.progress(Progress::Delta(delta.to_owned()));
        let answer =
            model.chat(request, &Call { idempotency_key: self.idempotency_key(), on_delta: &on_delta }).await;
        match &answer {
            Ok(response) => {
                call.used = Usage { model_calls: 1, ..response.usage };
                call.used.cost = cost(&call.used, price);
            }
            // A refusal costs a call and no tokens.
            Err(backend::Error::Overloaded { .. } | backend::Error::Rejected { .. }) => {
                call.used = Usage { model_calls: 1, ..Usage::default() };
            }
            // Nobody knows what a broken call has used: the estimate stands.
            Err(_) => {}
        }
        drop(call);
        Ok(answer?)
    }

    /// When the attempt last showed life, since the run's start.
    pub(crate) fn last_active(&self) -> Duration {
        Duration::from_millis(self.active_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn touch(&self) {
        self.active_ms.store(millis(self.elapsed()), Ordering::Relaxed);
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

/// A model call in flight. Dropped when it ends or is cancelled: what it held becomes what it used.
struct HeldCall<'a> {
    cx: &'a Cx,
    held: Usage,
    used: Usage,
}

impl Drop for HeldCall<'_> {
    fn drop(&mut self) {
        self.cx.ledger.release(self.held);
        self.cx.ledger.hold_unchecked(self.used);
        *self.cx.used.lock().unwrap_or_else(PoisonError::into_inner) += self.used;
    }
}

fn cost(usage: &Usage, price: Price) -> f64 {
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    fresh as f64 * price.prompt
        + usage.cached_tokens as f64 * price.cached
        + usage.completion_tokens as f64 * price.completion
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
