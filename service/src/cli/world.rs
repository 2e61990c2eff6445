//! What a command has to work with: the configuration, the data folder, the models and encoders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_engine::cx::{IndexEntry, Resources};
use anabranch_engine::operator::Names;
use tokio_util::sync::CancellationToken;

use super::print;
use crate::catalog;
use crate::config::{self, Config, LogFormat};
use crate::exit::{self, Error, Exit};
use crate::resources::{self, Overrides, Pools};

mod bar;
mod indexes;

pub(crate) use indexes::{Opened, encoder, failed, gave_up, store_error, update};

/// Where a service finds its flows unless the configuration says otherwise.
const FLOWS: &str = "flows";

/// Where the configuration and the data are.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "world")]
pub(crate) struct Args {
    /// Configuration file; `anabranch.yaml` of the current folder if there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that indexes are kept in, over `data` of the configuration
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl Args {
    /// How the log is written; a configuration that cannot be read is complained about where it is needed.
    pub(crate) fn log_format(&self) -> LogFormat {
        Config::find(self.config.as_deref()).map(|config| config.telemetry.log).unwrap_or_default()
    }
}

/// The configuration, and what there is by it.
pub(crate) struct World {
    pub(crate) config: Config,
    /// Whether there is a configuration file.
    is_configured: bool,
}

impl World {
    /// Reads the configuration.
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let mut config = Config::find(args.config.as_deref())
            .map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))?;
        if let Some(data) = &args.data {
            config.data.clone_from(data);
        }
        let is_configured = args.config.is_some() || Path::new(config::FILE).is_file();
        Ok(Self { config, is_configured })
    }

    /// The flows of the folder `flows` beside the configuration, if none are configured and it is there.
    pub(crate) fn with_flows_here(mut self, args: &Args) -> Self {
        let beside = args.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let folder = beside.join(FLOWS);
        if self.config.server.flows.is_none() && folder.is_dir() {
            self.config.server.flows = Some(folder);
        }
        self
    }

    /// The names that flows can use: what is configured, and the indexes that are there already.
    pub(crate) fn names(&self) -> Names {
        let mut indexes = catalog::existing(&self.config.data);
        indexes.extend(self.config.indexes.keys().cloned());
        let names = |section: BTreeSet<&String>| section.into_iter().cloned().collect();
        let (tools, tool_servers) = crate::resources::tools::names(&self.config);
        Names {
            models: names(self.config.models.keys().collect()),
            indexes,
            embedders: names(self.config.embedders.keys().collect()),
            rerankers: names(self.config.rerankers.keys().collect()),
            tools,
            tool_servers,
        }
    }

    /// As [`World::names`], if anything says what there is: a flow can be checked where it will not run.
    pub(crate) fn declared_names(&self) -> Option<Names> {
        (self.is_configured || !catalog::existing(&self.config.data).is_empty()).then(|| self.names())
    }

    /// The models and encoders, with what the command line says on top, and these indexes.
    pub(crate) fn resources(
        &self,
        overrides: &Overrides,
        indexes: BTreeMap<String, IndexEntry>,
    ) -> Result<Arc<Resources>, Error> {
        self.with_pools(overrides, indexes).map(|(resources, _)| resources)
    }

    /// As [`World::resources`], with the schedulers of the models' calls.
    pub(crate) fn with_pools(
        &self,
        overrides: &Overrides,
        indexes: BTreeMap<String, IndexEntry>,
    ) -> Result<(Arc<Resources>, Pools), Error> {
        resources::with_pools(&self.config, overrides, indexes, &env)
            .map(|(resources, pools)| (Arc::new(resources), pools))
            .map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))
    }
}

/// Looks up environment variables.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Cancels on the first Ctrl-C and ends the process on the second.
pub(crate) fn cancel_on_interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let interrupted = token.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
            print::remark("stopping; press Ctrl-C again to stop at once");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
    token
}

/// Cancels on the first Ctrl-C or SIGTERM and ends the process on the second.
pub(crate) fn cancel_on_stop() -> CancellationToken {
    let token = CancellationToken::new();
    let stopped = token.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        stopped.cancel();
        asked_to_stop().await;
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
    token
}

#[cfg(unix)]
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether a path is there; if not, the error that says so.
pub(crate) fn must_exist(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::usage(format!("there is no file or folder `{}`", path.display())))
}
