//! `anabranch doctor`: whether everything that the configuration names is there and works, each with its fix.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::print::{DIM, GREEN, RED, YELLOW};
use super::{Ended, print, remote, world};
use crate::config::{self, Config};
use crate::exit::{self, Exit};

mod backends;
mod disk;
mod store;

/// Check the configuration, the store, the disk, the clock, each model, tool and index, and the server
///
/// Each line says ok, warn or fail, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch doctor
  anabranch doctor --config production.yaml --json
  anabranch doctor --no-probe                    # do not ask the models

Each model is asked for one token, each embedder for one vector, each server of
tools for their list; no tool is called.

JSON (--json):
  {ok, checks: [{check, state: \"ok\"|\"warn\"|\"fail\", found, fix?}]}

Exit codes: 0 nothing failed, 1 something did, 4 only what could not be reached.")]
pub(crate) struct Args {
    /// Ask no model, no embedder and no server of tools
    #[arg(long)]
    no_probe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
    #[command(flatten)]
    remote: remote::Args,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// Whether it failed because somebody could not be reached.
    #[serde(skip)]
    is_away: bool,
}

impl Check {
    fn new(check: impl Into<String>, state: State, found: impl Into<String>) -> Self {
        Self { name: check.into(), state, found: found.into(), fix: None, is_away: false }
    }

    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, State::Warn, found) }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, State::Fail, found) }
    }

    /// Somebody could not be reached.
    fn away(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { is_away: true, ..Self::fail(check, found, fix) }
    }
}

pub(crate) async fn run(args: &Args) -> Ended {
    let mut checks = Vec::new();
    let world = match world::World::new(&args.world) {
        Ok(world) => {
            checks.push(configuration(&world.config));
            Some(world)
        }
        Err(error) => {
            let fix = error.hint.unwrap_or_else(|| "put it right; the first line says where".to_owned());
            checks.push(Check::fail("configuration", error.message, fix));
            None
        }
    };
    if let Some(world) = &world {
        checks.extend(disk::checks(&world.config.data));
        checks.extend(store::checks(&world.config).await);
        checks.extend(backends::checks(world, !args.no_probe).await);
    }
    checks.push(server(&args.remote).await);
    print_all(&checks, args.json)?;
    Ok(exit_of(&checks))
}

fn configuration(config: &Config) -> Check {
    let shown = if Path::new(config::FILE).is_file() { config::FILE } else { "the defaults" };
    let found = format!(
        "{shown}: {}, {}, {}",
        print::count(config.models.len(), "model"),
        print::count(config.embedders.len(), "embedder"),
        print::count(config.indexes.len(), "index"),
    );
    Check::ok("configuration", found.replace("indexs", "indexes"))
}

/// Whether a server answers, and can do its work.
async fn server(args: &remote::Args) -> Check {
    let client = match args.client() {
        Ok(client) => client,
        Err(error) => return Check::fail("server", error.message, error.hint.unwrap_or_default()),
    };
    let name = client.server().to_owned();
    match client.readiness().await {
        Ok((true, _)) => Check::ok("server", format!("{name} is ready")),
        Ok((false, why)) => {
            Check::fail("server", format!("{name} is not ready: {why}"), "put right what it names")
        }
        // Nobody has to have one: runs need none.
        Err(error) if args.server.is_none() => Check::warn(
            "server",
            exit::chain(&error),
            "start one with `anabranch serve`, if jobs are to be kept",
        ),
        Err(error) => Check::away("server", exit::chain(&error), "start it, or name another: `--server URL`"),
    }
}

fn print_all(checks: &[Check], is_json: bool) -> Result<(), exit::Error> {
    if is_json {
        let ok = checks.iter().all(|check| check.state != State::Fail);
        return print::json(&serde_json::json!({ "ok": ok, "checks": checks }));
    }
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let (style, word) = match check.state {
            State::Ok => (GREEN, "ok  "),
            State::Warn => (YELLOW, "warn"),
            State::Fail => (RED, "fail"),
        };
        writeln!(text, "{style}{word}{style:#}  {:<width$}  {}", check.name, check.found).ok();
        if let Some(fix) = &check.fix {
            writeln!(text, "      {:<width$}  {DIM}fix: {fix}{DIM:#}", "").ok();
        }
    }
    print::data(&text)
}

fn exit_of(checks: &[Check]) -> Exit {
    let mut failed = checks.iter().filter(|check| check.state == State::Fail).peekable();
    if failed.peek().is_none() {
        return Exit::Ok;
    }
    if failed.all(|check| check.is_away) { Exit::Unavailable } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_cannot_be_reached_ends_with_another_code_than_what_is_wrong() {
        let ok = Check::ok("a", "fine");
        let warn = Check::warn("b", "old", "renew it");
        let away = Check::away("c", "gone", "start it");
        let fail = Check::fail("d", "full", "make room");
        assert_eq!(exit_of(&[ok.clone(), warn.clone()]), Exit::Ok);
        assert_eq!(exit_of(&[ok, warn, away.clone()]), Exit::Unavailable);
        assert_eq!(exit_of(&[away, fail]), Exit::Failed);
    }
}
