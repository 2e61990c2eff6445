//! A process of the service: what it is made of, started in order and stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anabranch_backends::egress::Guard;
use anabranch_engine::cx::Resources;
use anabranch_engine::operator::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, RootKeyError};
use crate::api::limits::Admission;
use crate::api::{self, App, Parts, Roles};
use crate::config::{Config, Durability, PostgresUrl, SecretError, StoreUrl, WakeBy};
use crate::flows::{FlowError, Flows};
use crate::indexes::{Indexes, TenantResources};
use crate::job::new_id;
use crate::live::{PassError, Relay, Secret};
use crate::metrics::{self, Metrics};
use crate::outgoing;
use crate::resources::{Env, Pools};
use crate::runner::{self, Runner};
use crate::schedules::Firing;
use crate::spend::{self, Spending};
use crate::store::{self, At, Store, StoreError};
use crate::telemetry::{MetricsPush, Telemetry, TelemetryError};

mod listen;
mod reach;

use reach::Reach;

/// The file of the store, in the folder `data`, unless the configuration names another.
const STORE_FILE: &str = "anabranch.db";
/// How long answers may take to leave once there is nothing more to do.
const CLOSE: Duration = Duration::from_secs(5);
/// How often jobs that are older than the retention are looked for.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
/// Longest time between two looks at a store in memory.
const PRUNE_MEMORY_EVERY: Duration = Duration::from_secs(5);
/// Jobs that are forgotten at once, and flows that are looked at.
const PRUNE_MAX: u32 = 10_000;

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// The address of the store is not where the configuration says.
    #[error("the store has no address")]
    Secret(#[from] SecretError),
    /// The key of the configuration cannot be used.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// Everybody could call.
    #[error("`{0}` can be reached from other machines, and there is no key yet")]
    Open(SocketAddr),
    /// The address is taken, or not of this machine.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What processes share cannot be had.
    #[error("there is no secret for hearing other processes")]
    Pass(#[from] PassError),
    /// Nothing can be sent to the collector.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The folder of flows cannot be taken in.
    #[error("the flows cannot be taken in")]
    Flows(#[from] FlowError),
}

/// What a process is started with.
pub struct Start<'a> {
    /// `anabranch.yaml`.
    pub config: Config,
    /// Models and encoders.
    pub resources: Arc<Resources>,
    /// What schedules the calls of these models.
    pub pools: Pools,
    /// Indexes.
    pub indexes: Indexes,
    /// Operators.
    pub registry: Arc<Registry>,
    /// Where it listens; nowhere if `None`.
    pub listen: Option<SocketAddr>,
    /// Which work it does.
    pub roles: Roles,
    /// Whether the store's tables are brought to the newest version.
    pub migrate: bool,
    /// Looks up environment variables.
    pub env: Env<'a>,
}

/// A running process.
pub struct Process {
    app: App,
    /// Ends the process's own tasks.
    closed: CancellationToken,
    listener: Option<TcpListener>,
    address: Option<SocketAddr>,
    /// Where it listens for other processes, if it listens for nobody else.
    internal: Option<TcpListener>,
    /// Where metrics are sent to.
    push: Option<Arc<MetricsPush>>,
}

/// Whether other processes can have the same store.
fn is_shared(config: &Config) -> bool {
    matches!(config.store.url, Some(StoreUrl::Postgres(_)))
}

/// Where the store is, by the configuration.
pub fn store_options(config: &Config, env: Env<'_>) -> Result<store::Options, SecretError> {
    let at = match &config.store.url {
        None => At::Sqlite(config.data.join(STORE_FILE)),
        Some(StoreUrl::Sqlite(path)) => At::Sqlite(path.clone()),
        Some(StoreUrl::Memory) => At::Memory,
        Some(StoreUrl::Postgres(PostgresUrl::Plain(url))) => At::Postgres(url.clone().into()),
        Some(StoreUrl::Postgres(PostgresUrl::Secret(secret))) => At::Postgres(secret.resolve(env)?),
    };
    let is_polled = config.store.wake == WakeBy::Poll;
    Ok(store::Options { at, retention: config.store.retention, is_polled })
}

impl Process {
    /// Opens the store, takes in the flows, begins to work; requests are taken by [`Process::serve`].
    pub async fn start(start: Start<'_>) -> Result<Self, StartError> {
        let Start { config, mut resources, pools, indexes, registry, listen, roles, migrate, env } = start;
        let config = Arc::new(config);
        let store = Store::open(store_options(&config, env)?, migrate).await?;
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let access = Access::configured(store.clone(), &config, listen.unwrap_or(here).ip(), env)?;
        let has_root = config.server.root_key.is_some();
        if let Some(listen) = listen
            && roles.api
            && !listen.ip().is_loopback()
            && !has_root
            && !store.has_keys().await?
        {
            return Err(StartError::Open(listen));
        }
        let listener = match listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let reach = if roles.worker {
            Reach::find(&store, config.server.advertise.as_ref(), address).await?
        } else {
            Reach::default()
        };
        Arc::make_mut(&mut resources).indexes = indexes.entries();
        let names = resources.names();
        let flows = Flows::new(store.clone(), registry.clone(), Arc::new(move || Some(names.clone())));
        let configured = match &config.server.flows {
            Some(folder) => take_in(&flows, folder).await?,
            None => Vec::new(),
        };
        let metrics = Arc::new(Metrics::new(metrics::Given {
            pools: pools.clone(),
            flows: configured,
            operators: Some(&registry),
            journal: store.journal_metrics(),
        }));
        metrics.time(Arc::make_mut(&mut resources));
        let spending = Spending::new(store.clone(), access.clone());
        let slots = if roles.worker { u32::try_from(config.limits.running).unwrap_or(u32::MAX) } else { 0 };
        let telemetry = Telemetry::start(&config.telemetry, config.redactor(env), env)?;
        let push = MetricsPush::of(&config.telemetry, env)?.map(Arc::new);
        let options = runner::Options {
            slots,
            telemetry: telemetry.clone(),
            lease: config.server.lease,
            is_stepwise: config.store.durability == Durability::Step,
            metrics: metrics.clone(),
            spending: Some(spending.clone()),
            access: Some(access.clone()),
            address: reach.address,
            // A file has one process: there is nobody to share large eaches with.
            spread: if is_shared(&config) { runner::Options::default().spread } else { None },
            ..runner::Options::default()
        };
        let runner = Runner::start(store.clone(), flows.clone(), resources.clone(), options).await?;
        let secret = if is_shared(&config) { Some(Secret::of(&store).await?) } else { None };
        let app = App::new(Parts {
            relay: Relay::new(store.clone(), runner.clone(), secret),
            store,
            runner,
            flows,
            tenant_resources: TenantResources::new(resources.clone()),
            indexes,
            resources,
            pools,
            registry,
            listen: address.unwrap_or(here),
            roles,
            streams: Arc::new(Semaphore::new(config.limits.streams)),
            requests: Semaphore::new(config.limits.requests),
            stopping: CancellationToken::new(),
            handed_over: CancellationToken::new(),
            access,
            admission: Admission::default(),
            metrics,
            spending: spending.clone(),
            is_migrated: AtomicBool::new(true),
            telemetry,
            config,
        });
        let process =
            Self { app, closed: CancellationToken::new(), listener, address, internal: reach.listener, push };
        process.spawn(spending.keep());
        if let Some(push) = &process.push {
            process.spawn(push_metrics(process.app.clone(), push.clone()));
        }
        if roles.worker {
            process.spawn(prune(process.app.clone()));
            if process.app.config.store.url == Some(StoreUrl::Memory) {
                process.spawn(prune_memory(process.app.clone()));
            }
            process.reach_out();
        }
        Ok(process)
    }

    /// Sends webhooks and fires schedules, until the process is asked to stop.
    fn reach_out(&self) {
        let app = &self.app;
        let guard = Guard::new(app.config.server.webhook_allow.iter().cloned());
        let options = outgoing::Options::new(new_id("wkr"), guard, app.url(""));
        let options = outgoing::Options { metrics: app.metrics.clone(), ..options };
        let sender = outgoing::Sender::new(app.store.clone(), options);
        self.spawn(sender.run(app.stopping.clone()));
        let submit = Arc::new(api::schedules::Submitter(app.clone()));
        let firing = Firing::new(app.store.clone(), submit, outgoing::system_clock());
        self.spawn(firing.run(app.stopping.clone()));
    }

    /// What its handlers work with.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers requests until `stop`; then takes no new work, lets what runs end, hands over the rest and closes.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) {
        let closing = CancellationToken::new();
        let (public, internal) = (self.listener.take(), self.internal.take());
        let public = public.map(|listener| (listener, api::router(&self.app)));
        let listening =
            public.or_else(|| internal.map(|listener| (listener, api::internal_router(&self.app))));
        let serving = listening
            .map(|(listener, router)| tokio::spawn(listen::serve(listener, router, closing.clone())));
        stop.await;
        tracing::info!("stopping: no new work is taken");
        self.app.stopping.cancel();
        self.app.runner.drain(self.app.config.server.drain).await;
        self.app.handed_over.cancel();
        closing.cancel();
        if let Some(serving) = serving
            && tokio::time::timeout(CLOSE, serving).await.is_err()
        {
            tracing::warn!("some answers had not left in time");
        }
        self.closed.cancel();
        if let Err(error) = self.app.spending.flush().await {
            tracing::warn!(%error, "what was spent last could not be written");
        }
        if let Some(push) = self.push.as_ref().filter(|push| push.is_wanted())
            && tokio::time::timeout(CLOSE, push_once(&self.app, push)).await.is_err()
        {
            tracing::warn!("the collector did not take the last metrics in time");
        }
        self.app.store.close().await;
        self.app.telemetry.close().await;
        tracing::info!("stopped");
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.closed.clone().run_until_cancelled_owned(task));
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Takes in the flows of a folder; their names.
async fn take_in(flows: &Flows, folder: &std::path::Path) -> Result<Vec<String>, StartError> {
    let loaded = flows.load_folder(crate::access::DEFAULT_TENANT, folder).await?;
    for (flow, version) in &loaded.changed {
        tracing::info!(flow, version, "took in a flow");
    }
    for broken in &loaded.broken {
        let why = broken.why.to_string();
        tracing::warn!(path = %broken.path.display(), why, "a file is no valid flow, and is left out");
    }
    let changed = loaded.changed.into_iter().map(|(flow, _)| flow);
    Ok(changed.chain(loaded.unchanged).collect())
}

/// Sends metrics to the collector, as long as it takes them.
async fn push_metrics(app: App, push: Arc<MetricsPush>) {
    loop {
        tokio::time::sleep(push.every()).await;
        if !push_once(&app, &push).await {
            return;
        }
    }
}

async fn push_once(app: &App, push: &MetricsPush) -> bool {
    let metrics = app.metrics.otlp(api::ops::moment(app).await, push.span());
    push.send(metrics).await
}

/// Forgets jobs that ended longer ago than they are to be kept.
async fn prune(app: App) {
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bundles_after = String::new();
    loop {
        ticks.tick().await;
        let retention = i64::try_from(app.config.store.retention.as_millis()).unwrap_or(i64::MAX);
        let before = app.now_ms().saturating_sub(retention);
        match app.store.prune(before, PRUNE_MAX).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "forgot jobs that are older than the retention"),
            Err(error) => tracing::warn!(%error, "old jobs could not be forgotten"),
        }
        let days = app.now_ms().saturating_sub(spend::KEPT_DAYS * 86_400_000);
        if let Err(error) = app.store.prune_spent(days).await {
            tracing::warn!(%error, "what was spent long ago could not be forgotten");
        }
        if let Err(error) = app.store.prune_batches(before, PRUNE_MAX).await {
            tracing::warn!(%error, "old batches could not be forgotten");
        }
        match app.store.prune_bundles(&bundles_after, PRUNE_MAX).await {
            Ok((_, next)) => bundles_after = next,
            Err(error) => tracing::warn!(%error, "flows that no job needs could not be forgotten"),
        }
    }
}

/// Keeps a store in memory from growing: it has room for the newest jobs.
async fn prune_memory(app: App) {
    loop {
        // Jobs that are cancelled while they wait end without being counted.
        let ended = app.store.ended(store::limits::MEMORY_SLACK);
        let _is_time = tokio::time::timeout(PRUNE_MEMORY_EVERY, ended).await;
        if let Err(error) = app.store.prune_to(store::limits::MEMORY_JOBS).await {
            tracing::warn!(%error, "old jobs could not be forgotten");
        }
    }
}
