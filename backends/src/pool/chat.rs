//! A chat model over several servers, and over one just as well: calls that ask the same share an answer, every other one
//! waits for its turn, and goes on to the next best server where its own has failed.

use std::sync::Arc;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;

use super::core::Core;
use super::flight::{Flights, OwnedCall, is_deterministic};
use super::probe::{Probe, Probing};
use super::settings::{PoolSettings, ReplicaSettings};
use super::stats::{PoolStats, Sharing};
use crate::chat::recorded::request_digest;

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
    core: Arc<Core>,
    /// What requests are told apart by, besides what they ask: the model, here and on its servers.
    identity: String,
    flights: Option<Arc<Flights>>,
    probing: Option<Probing>,
}

impl PooledChat {
    /// A pool of `replicas`, at least one, for the model that the configuration calls `name`. Nothing is sent before the
    /// first call.
    pub fn new(name: &str, settings: &PoolSettings, replicas: Vec<Replica>) -> Self {
        let probes = replicas.iter().map(|replica| replica.probe.clone()).collect();
        let probing = settings.probe.clone().map(|settings| Probing::new(settings, probes));
        let served: Vec<&str> = replicas.iter().map(|replica| replica.model.name()).collect();
        let identity = format!("{name} = {}", served.join(", "));
        let flights = settings.single_flight.then(Arc::default);
        Self { core: Arc::new(Core::new(name, settings, replicas)), identity, flights, probing }
    }

    /// Numbers of this moment.
    pub fn stats(&self) -> PoolStats {
        let sharing =
            Sharing { single_flight: self.flights.as_ref().map_or(0, |flights| flights.n_shared()) };
        PoolStats { sharing, ..self.core.scheduler.stats() }
    }
}

#[async_trait]
impl ChatModel for PooledChat {
    fn name(&self) -> &str {
        self.core.replicas.first().map_or(&self.core.name, |replica| replica.model.name())
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        if let Some(probing) = &self.probing {
            probing.begin(&self.core.scheduler);
        }
        let Some(flights) = self.flights.as_ref().filter(|_| is_deterministic(request) && call.is_idempotent)
        else {
            return self.core.send(request, call).await;
        };
        let digest = request_digest(&self.identity, request);
        let share = flights.share(&self.core.name, digest, call, |flight| {
            let (core, request, owned) = (self.core.clone(), request.clone(), OwnedCall::of(call));
            Box::pin(async move {
                let on_delta = |delta: &str| flight.add(delta);
                let on_first_token = || flight.begin();
                core.send(&request, &owned.with(&on_delta, &on_first_token)).await
            })
        });
        share.await
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.core.count(text)
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        self.core.estimate(request)
    }
}
