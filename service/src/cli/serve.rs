//! `anabranch serve` and `anabranch worker`: run the service until asked to stop.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{Ended, print, world};
use crate::api::Roles;
use crate::config::{Advertise, LogFormat, ServerSection};
use crate::exit::{self, Error, Exit};
use crate::process::{Process, Start, StartError};
use crate::resources::Overrides;

/// Which parts of the service a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Answer the API
    Api,
    /// Run jobs
    Worker,
}

/// Run the service: the REST API, and the jobs that are submitted to it
///
/// Any number of processes can share a `PostgreSQL` database (`store.url`). Without a configuration everything is kept in
/// `.anabranch/`, the flows are those of the folder `flows`, and only this machine can call.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch serve
  anabranch serve --open                (and look at it in a browser)
  anabranch serve --listen 0.0.0.0:7117
  anabranch serve --role api            (with `anabranch worker` elsewhere)

Once it answers, it prints one line with its address to standard output; with
--json: {address, url, roles, pid}. The log goes to standard error, as JSON
unless that is a terminal; ANABRANCH_LOG=debug says more.

On SIGTERM or Ctrl-C it takes no new work, lets running nodes end for
`server.drain`, hands over the rest and exits with 0; a second one ends it at
once.")]
pub(crate) struct Args {
    /// Address and port, over `server.listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// What this process does
    #[arg(long, value_name = "ROLE", value_delimiter = ',', default_value = "api,worker")]
    role: Vec<Role>,
    /// Show the dashboard in a browser once requests are taken
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    common: Common,
}

/// Run jobs that were submitted elsewhere, without an API
///
/// The same as `serve --role worker`: it shares the database of other processes and answers no requests but probes, and
/// those of the other processes for what its jobs write while they write it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch worker
  anabranch worker --listen 0.0.0.0:7118      (/healthz, /readyz and /metrics)
  anabranch worker --advertise worker-7:7119  (where other processes reach it)

Without --listen it takes a free port for the other processes alone, at its
address on the way to the database; --advertise none takes none.")]
pub(crate) struct WorkerArgs {
    /// Address and port for probes; none if it is not given
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Where the other processes on the same database reach this one, over `server.advertise`
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<Advertise>,
    /// Leave the tables of the store as they are; refuse to start if they are too old
    #[arg(long)]
    no_migrate: bool,
    /// Print the line with the address as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let roles = Roles { api: args.role.contains(&Role::Api), worker: args.role.contains(&Role::Worker) };
    serve(&args.common, roles, args.open, |configured| Some(args.listen.unwrap_or(configured))).await
}

pub(crate) async fn worker(args: &WorkerArgs) -> Ended {
    serve(&args.common, Roles { api: false, worker: true }, false, |_| args.listen).await
}

async fn serve(
    common: &Common,
    roles: Roles,
    shows: bool,
    listen: impl FnOnce(SocketAddr) -> Option<SocketAddr>,
) -> Ended {
    log_to_stderr(common.world.log_format());
    let cancel = world::cancel_on_stop();
    let reached = |server: &mut ServerSection| {
        server.advertise = common.advertise.clone().or(server.advertise.take());
        listen(server.listen)
    };
    let process = begin(&common.world, &cancel, reached, roles, !common.no_migrate).await?;
    announce(&process, roles, common.json)?;
    if let Some(address) = process.address().filter(|_| shows && roles.api) {
        show(address);
    }
    process.serve(cancel.cancelled()).await;
    Ok(Exit::Ok)
}

/// A process of what the configuration says, with its indexes brought up to date. `reached` gives where it listens.
pub(super) async fn begin(
    args: &world::Args,
    cancel: &CancellationToken,
    reached: impl FnOnce(&mut ServerSection) -> Option<SocketAddr>,
    roles: Roles,
    migrate: bool,
) -> Result<Process, Error> {
    let world = world::World::new(args)?.with_flows_here(args);
    let registry = Arc::new(anabranch_operators::registry());
    let (resources, pools) = world.with_pools(&Overrides::default(), std::collections::BTreeMap::new())?;
    let names: Vec<_> = world.names().indexes.iter().map(|name| name.as_str().into()).collect();
    let indexes = world.writable(&names, &registry, &resources, cancel).await?;
    let env = |name: &str| std::env::var(name).ok();
    let mut config = world.config;
    let listen = reached(&mut config.server);
    let start = Start { config, resources, pools, indexes, registry, listen, roles, migrate, env: &env };
    Process::start(start).await.map_err(|error| refused(&error))
}

/// One line once requests are taken: whoever started the process waits for it.
fn announce(process: &Process, roles: Roles, as_json: bool) -> Result<(), Error> {
    let url = process.address().map(|address| format!("http://{address}"));
    if as_json {
        let roles: Vec<&str> = [("api", roles.api), ("worker", roles.worker)]
            .iter()
            .filter(|role| role.1)
            .map(|role| role.0)
            .collect();
        let address = process.address().map(|address| address.to_string());
        let line = json!({ "address": address, "url": url, "roles": roles, "pid": std::process::id() });
        return print::data(&format!("{line}\n"));
    }
    match url {
        Some(url) => print::data(&format!("listening on {url}\n")),
        None => print::data("working\n"),
    }
}

/// Shows the dashboard. Where there is no browser, the service runs all the same.
fn show(mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let url = format!("http://{address}/ui/");
    if let Err(error) = open::that_detached(&url) {
        tracing::warn!(%error, url, "no browser could be opened; the dashboard is there all the same");
    }
}

fn refused(error: &StartError) -> Error {
    let (exit, hint) = match error {
        StartError::Open(_) => (
            Exit::NotAllowed,
            Some(
                "make one with `anabranch keys create --local`, or `--config FILE` if the service has one, name one in \
                 `server.root_key`, or listen on 127.0.0.1 only",
            ),
        ),
        StartError::Store(_) | StartError::Pass(_) => (Exit::Unavailable, None),
        StartError::Secret(_) | StartError::RootKey(_) | StartError::Flows(_) | StartError::Telemetry(_) => {
            (Exit::Invalid, None)
        }
        StartError::Listen { .. } => (Exit::Usage, Some("port 0 takes a free one")),
    };
    Error::new(exit, exit::chain(error)).maybe_hint(hint.map(str::to_owned))
}

/// The log, on standard error.
pub(crate) fn log_to_stderr(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("ANABRANCH_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody else set one up before: then that one is used.
    let is_for_reading = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    if is_for_reading {
        drop(log.try_init());
    } else {
        drop(log.json().try_init());
        print::say_in_log();
    }
}
