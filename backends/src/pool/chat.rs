//! A chat model over several servers, and over one just as well: calls that ask the same share an answer, every other one
//! waits for its turn, and goes on to the next best server where its own has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;

use super::cache::{self, ResponseCache};
use super::core::Core;
use super::flight::{Flights, OwnedCall, SHARED, is_deterministic};
use super::hedge::Hedger;
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
    cache: Option<Arc<ResponseCache>>,
    probing: Option<Probing>,
}

impl PooledChat {
    /// A pool of `replicas`, at least one, for the model that the configuration calls `name`. Nothing is sent before the
    /// first call.
    pub fn new(name: &str, settings: &PoolSettings, replicas: Vec<Replica>) -> Self {
        let probes = replicas.iter().map(|replica| replica.probe.clone()).collect();
        let probing = settings.probe.clone().map(|settings| Probing::new(settings, probes));
        let served: BTreeSet<&str> = replicas.iter().map(|replica| replica.model.name()).collect();
        let identity = format!("{name} = {served:?}");
        let flights = settings.single_flight.then(Arc::default);
        let cache = settings.response_cache.clone().map(|settings| Arc::new(ResponseCache::new(settings)));
        Self { core: Arc::new(Core::new(name, settings, replicas)), identity, flights, cache, probing }
    }

    /// Numbers of this moment.
    pub fn stats(&self) -> PoolStats {
        let stats = self.core.scheduler.stats();
        let count = |count: fn(&Hedger) -> &AtomicU64| {
            self.core.hedger.as_ref().map_or(0, |hedger| count(hedger).load(Ordering::Relaxed))
        };
        let sharing = Sharing {
            single_flight: self.flights.as_ref().map_or(0, |flights| flights.n_shared()),
            cache: self.cache.as_ref().map(|cache| cache.stats()),
            hedges: count(|hedger| &hedger.sent),
            hedges_won: count(|hedger| &hedger.won),
            hedges_denied: count(|hedger| &hedger.denied),
            ..stats.sharing
        };
        PoolStats { sharing, ..stats }
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
        let is_shared = self.flights.is_some() || self.cache.is_some();
        if !is_shared || !is_deterministic(request) || !call.is_idempotent {
            return self.core.send(request, call).await;
        }
        let digest = request_digest(&self.identity, request);
        let place = self.cache.clone().map(|cache| {
            let key = cache::Key::new(call.caller.tenant.clone(), digest);
            Place { cache, key }
        });
        if let Some(place) = &place
            && let Some(kept) = place.cache.get(&place.key).await
        {
            (call.on_first_token)();
            (call.on_delta)(&kept.text);
            return Ok(ChatResponse { usage: SHARED, ..Arc::unwrap_or_clone(kept) });
        }
        let Some(flights) = &self.flights else {
            return Place::keep(place.as_ref(), self.core.send(request, call).await);
        };
        let share = flights.share(&self.core.name, digest, call, |flight| {
            let (core, request, owned) = (self.core.clone(), request.clone(), OwnedCall::of(call));
            let place = place.clone();
            Box::pin(async move {
                let on_delta = |delta: &str| flight.add(delta);
                let on_first_token = || flight.begin();
                let call = owned.with(&on_delta, &on_first_token);
                Place::keep(place.as_ref(), core.send(&request, &call).await)
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

/// Where an answer is kept.
#[derive(Debug, Clone)]
struct Place {
    cache: Arc<ResponseCache>,
    key: cache::Key,
}

impl Place {
    /// Keeps what came of a call, if it is an answer and there is a place for it.
    fn keep(place: Option<&Self>, result: Result<ChatResponse, Error>) -> Result<ChatResponse, Error> {
        if let (Some(Self { cache, key }), Ok(response)) = (place, &result) {
            cache.put(key, response);
        }
        result
    }
}
