//! A chat model over several servers, and over one just as well: every call waits for its turn, and goes on to the next
//! best server where its own has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;

use super::asked::Asked;
use super::prefix;
use super::probe::{Probe, Probing};
use super::scheduler::{Scheduler, Tried};
use super::settings::{PoolSettings, ReplicaSettings};
use super::stats::PoolStats;

/// One server of a pool.
#[derive(Debug, Clone)]
pub struct Replica {
    /// What it is called in numbers and errors: its address, without what may be secret.
    pub name: String,
    /// How it is asked.
    pub model: Arc<dyn ChatModel>,
    /// How it is looked at between calls, if it can be.
    pub probe: Option<Arc<dyn Probe>>,
    /// What it can take.
    pub settings: ReplicaSettings,
}

/// A chat model whose calls are scheduled over one or more servers.
#[derive(Debug)]
pub struct PooledChat {
    /// As the configuration calls it.
    name: String,
    replicas: Vec<Replica>,
    scheduler: Arc<Scheduler>,
    /// What the hashes of prefixes begin with.
    seed: u64,
    probing: Option<Probing>,
}

impl PooledChat {
    /// A pool of `replicas`, at least one, for the model that the configuration calls `name`. Nothing is sent before the
    /// first call.
    pub fn new(name: &str, settings: &PoolSettings, replicas: Vec<Replica>) -> Self {
        let known: Vec<_> = replicas.iter().map(|replica| (replica.name.clone(), replica.settings)).collect();
        let scheduler = Scheduler::new(name, settings, &known);
        let seed = prefix::seed(name, &settings.affinity.salt);
        let probes = replicas.iter().map(|replica| replica.probe.clone()).collect();
        let probing = settings.probe.clone().map(|settings| Probing::new(settings, probes));
        Self { name: name.to_owned(), replicas, scheduler, seed, probing }
    }

    /// Numbers of this moment.
    pub fn stats(&self) -> PoolStats {
        self.scheduler.stats()
    }

    /// Waits for a place, sends, and goes on to the next best server if one fails before it has shown anything.
    async fn send(
        &self,
        request: &ChatRequest,
        call: &Call<'_>,
        asked: &Asked,
    ) -> Result<ChatResponse, Error> {
        let mut tried = Tried::default();
        let mut failure = None;
        loop {
            let permit = match self.scheduler.admit(asked, &mut tried).await {
                Ok(permit) => permit,
                // What the server said is of more use than that there is no other.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            if let Some(failure) = &failure {
                self.scheduler.moved(failure);
            }
            let Some(replica) = self.replicas.get(permit.replica()) else { return Err(self.empty()) };
            let is_shown = AtomicBool::new(false);
            let on_delta = |delta: &str| {
                is_shown.store(true, Ordering::Relaxed);
                (call.on_delta)(delta);
            };
            let result = replica.model.chat(request, &Call { on_delta: &on_delta, ..*call }).await;
            permit.settle(&result);
            match result {
                Err(error)
                    if moves(&error)
                        && !is_shown.load(Ordering::Relaxed)
                        && tried.len() < self.replicas.len() =>
                {
                    failure = Some(error);
                }
                result => return result,
            }
        }
    }

    fn empty(&self) -> Error {
        let message = "it has no server".to_owned();
        Error::Unavailable { backend: format!("model `{}`", self.name), message, retry_after: None }
    }
}

/// Whether another server may do better: what was refused for its content is refused everywhere.
fn moves(error: &Error) -> bool {
    !matches!(error, Error::Rejected { .. })
}

#[async_trait]
impl ChatModel for PooledChat {
    fn name(&self) -> &str {
        self.replicas.first().map_or(&self.name, |replica| replica.model.name())
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        if let Some(probing) = &self.probing {
            probing.begin(&self.scheduler);
        }
        let asked = Asked::new(self, self.seed, request, call);
        self.send(request, call, &asked).await
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        self.replicas.first().map_or(0, |replica| replica.model.estimate_prompt_tokens(request))
    }
}
