//! `anabranch migrate`: brings the tables of the store to the version of this build.

use serde_json::json;

use super::{Ended, print, world};
use crate::exit::{self, Error, Exit};
use crate::process::store_options;
use crate::store::{At, Store, migrations};

/// Bring the tables of the store to the version of this build
///
/// `serve` and `worker` do this themselves unless they are told not to (`--no-migrate`). Migrations only go forward, and
/// doing them twice does nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch migrate
  anabranch migrate --config /etc/anabranch/anabranch.yaml --json

JSON (--json): {version, migrations: [{version, name}]}")]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let world = world::World::new(&args.world)?;
    let env = |name: &str| std::env::var(name).ok();
    let options =
        store_options(&world.config, &env).map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))?;
    let all = migrations(matches!(options.at, At::Postgres(_)));
    let store = Store::open(options, true).await;
    let store = store.map_err(|error| Error::new(Exit::Unavailable, exit::chain(&error)))?;
    store.close().await;
    let newest = all.last().map_or(0, |(version, ..)| *version);
    if args.json {
        let listed: Vec<_> =
            all.iter().map(|(version, name, _)| json!({ "version": version, "name": name })).collect();
        print::json(&json!({ "version": newest, "migrations": listed }))?;
    } else {
        print::data(&format!("the tables have version {newest}\n"))?;
    }
    Ok(Exit::Ok)
}
