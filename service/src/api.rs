//! The REST API: what every endpoint shares, and the list of all groups of endpoints.
//!
//! A handler is a function with typed arguments: [`caller::Can`] says which scope it needs, [`body::Body`] reads JSON,
//! [`problem::Problem`] is the only error. Router and `OpenAPI` document are made from the same list.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anabranch_engine::cx::Resources;
use anabranch_engine::operator::Registry;
use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::access::Access;
use crate::config::Config;
use crate::flows::Flows;
use crate::indexes::{Indexes, TenantResources};
use crate::live::Relay;
use crate::metrics::Metrics;
use crate::resources::Pools;
use crate::runner::Runner;
use crate::spend::Spending;
use crate::store::Store;
use crate::telemetry::Telemetry;

pub mod backends;
pub mod batches;
pub mod body;
pub mod caller;
pub mod diff;
mod docs;
pub mod etag;
pub mod events;
pub mod export;
pub mod feedback;
pub mod flows;
pub mod headers;
pub mod indexes;
pub mod jobs;
pub mod keys;
pub mod layers;
pub mod limits;
pub mod live;
pub mod mcp;
pub mod openai;
pub mod openapi;
pub mod operators;
pub mod ops;
pub mod problem;
mod rates;
pub mod schedules;
pub mod tenants;
pub mod texts;
pub mod time;
pub mod usage;
pub mod webhooks;
pub mod whoami;

pub use caller::{Caller, Can};
pub use problem::{Code, Problem};

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of [`App`].
pub struct Parts {
    /// Jobs, journals, flows, keys.
    pub store: Store,
    /// Runs jobs, here or elsewhere.
    pub runner: Runner,
    /// Hears what happens in jobs, wherever they run.
    pub relay: Relay,
    /// Flows by name and version.
    pub flows: Flows,
    /// Models, encoders and indexes.
    pub resources: Arc<Resources>,
    /// What schedules the calls of the models on servers: for its numbers.
    pub pools: Pools,
    /// Operators.
    pub registry: Arc<Registry>,
    /// `anabranch.yaml`.
    pub config: Arc<Config>,
    /// Where it listens; decides whether callers without a key are let in.
    pub listen: SocketAddr,
    /// Which work this process does: for readiness.
    pub roles: Roles,
    /// Streams of events that may still be opened.
    pub streams: Arc<Semaphore>,
    /// Requests that may still be taken.
    pub requests: Semaphore,
    /// Cancelled when the process is asked to stop: no new work, streams end.
    pub stopping: CancellationToken,
    /// What each tenant may use of them: its own part of every index.
    pub tenant_resources: TenantResources,
    /// The indexes, to be searched and written.
    pub indexes: Indexes,
    /// Cancelled once everything that ran here has ended or was handed over: nobody needs to wait any longer.
    pub handed_over: CancellationToken,
    /// Who may call, and how often.
    pub access: Access,
    /// What tenants and keys have spent today.
    pub spending: Spending,
    /// How full the queues of tenants are.
    pub admission: limits::Admission,
    /// What Prometheus is told.
    pub metrics: Arc<Metrics>,
    /// Whether migrations are all there, as far as this process knows.
    pub is_migrated: AtomicBool,
    /// Where the spans of runs go.
    pub telemetry: Telemetry,
}

/// Which work a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It answers the API.
    pub api: bool,
    /// It runs jobs.
    pub worker: bool,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// The state of a process made of `parts`.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Now (unix ms), by the clock of this process: for what is shown and for headers, never for leases.
    pub fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }

    /// Whether the process was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// A URL of this API, absolute if the configuration says where the service is found.
    pub fn url(&self, path: &str) -> String {
        match &self.config.server.public_url {
            Some(base) => format!("{}{path}", base.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}

/// Every group of endpoints, in the order of the documentation.
pub fn groups() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(jobs::routes())
        .merge(events::routes())
        .merge(export::routes())
        .merge(diff::routes())
        .merge(batches::routes())
        .merge(flows::routes())
        .merge(operators::routes())
        .merge(backends::routes())
        .merge(indexes::routes())
        .merge(keys::routes())
        .merge(whoami::routes())
        .merge(tenants::routes())
        .merge(webhooks::routes())
        .merge(schedules::routes())
        .merge(usage::routes())
        .merge(openai::routes())
        .merge(mcp::routes())
        .merge(ops::routes())
}

/// The whole API, ready to be served.
pub fn router(app: &App) -> Router {
    let (router, _) = if app.roles.api { groups() } else { ops::routes() }.split_for_parts();
    // No part of the API: a client of it, that happens to be served from the same address.
    let router = if app.roles.api { router.merge(crate::ui::routes()) } else { router };
    let tells = app.roles.worker && app.relay.is_shared();
    let router = if tells { router.merge(live::routes()) } else { router };
    layers::around(router, app).with_state(app.clone())
}

/// What a process answers that answers nobody but other processes.
pub fn internal_router(app: &App) -> Router {
    layers::around(live::routes(), app).with_state(app.clone())
}
