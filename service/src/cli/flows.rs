//! `anabranch flows`: the flows of a server.

use std::fmt::Write as _;
use std::path::PathBuf;

use reqwest::Method;
use reqwest::header::{ACCEPT, IF_MATCH};
use serde_json::{Value as Json, json};

use super::remote::{self, table, text};
use super::{Ended, load, print};
use crate::client::{Ask, Client};
use crate::exit::{Error, Exit};
use crate::library;

mod parts;

/// Put, list and switch the flows of a server
///
/// A server keeps every version of a flow; jobs keep the one that they began with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch flows push flows/quickstart.yaml
  anabranch flows push flows/*.yaml --dry-run
  anabranch flows versions quickstart
  anabranch flows activate quickstart 2          # back to an older version

The server is named by --server or ANABRANCH_SERVER, the key stands in
ANABRANCH_KEY; on the machine itself a server without keys needs none.

Exit codes: 2 wrong usage or no such flow, 3 invalid flow, 4 the server is
unavailable, 5 a limit was reached, 6 the key does not allow it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Push(PushArgs),
    Show(ShowArgs),
    Versions(VersionsArgs),
    Activate(ActivateArgs),
    Check(CheckArgs),
}

pub(crate) async fn run(args: &Args) -> Ended {
    match &args.command {
        Command::List(args) => list(args).await,
        Command::Push(args) => push(args).await,
        Command::Show(args) => show(args).await,
        Command::Versions(args) => versions(args).await,
        Command::Activate(args) => activate(args).await,
        Command::Check(args) => check(args).await,
    }
}

/// List flows: the version of each that new jobs take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch flows list
  anabranch flows list --json

JSON (--json):
  {items: [{name, version, hash, active, about?, created_at, created_by?}],
   next_cursor?}")]
struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn list(args: &ListArgs) -> Ended {
    let page = args.remote.client()?.json(Ask::get(&["flows"]).query("limit", 1_000)).await?;
    if args.json {
        print::json(&page)?;
        return Ok(Exit::Ok);
    }
    let row =
        |flow: &Json| ["/name", "/version", "/created_at", "/about"].map(|field| text(flow, field)).to_vec();
    let rows: Vec<Vec<String>> = items(&page).iter().map(row).collect();
    if rows.is_empty() {
        print::remark("there are no flows; put one: `anabranch flows push FILE`");
        return Ok(Exit::Ok);
    }
    print::data(&table(&["NAME", "VERSION", "SINCE", "ABOUT"], &rows))?;
    Ok(Exit::Ok)
}

/// Put flow files on the server, as the newest version of each
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch flows push flows/quickstart.yaml
  anabranch flows push flows/quickstart.yaml --dry-run
  anabranch flows push flows/quickstart.yaml --if-match 8c1d...   # only over that version
  anabranch flows push flows/new.yaml --inactive

A flow goes under the name that it gives itself. Sub-flows and prompts that lie
beside it go along. The same flow again is the same version.

JSON (--json): an array of
  {name, version, hash, changed, active, dry_run,
   warnings: [{message, code, severity, span?, hint?}]}")]
struct PushArgs {
    /// Flow files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only say what would come of it
    #[arg(long)]
    dry_run: bool,
    /// Do not make it the version that new jobs take
    #[arg(long)]
    inactive: bool,
    /// Only if this is the tag of the version that is there
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn push(args: &PushArgs) -> Ended {
    let client = args.remote.client()?;
    let mut done = Vec::new();
    for file in &args.files {
        let given = given(file)?;
        let name = text(&given, "/name");
        let mut ask = Ask::new(Method::PUT, &["flows", &name]).json(without_name(given));
        if args.dry_run {
            ask = ask.query("dry_run", true);
        }
        if args.inactive {
            ask = ask.query("activate", false);
        }
        if let Some(tag) = &args.if_match {
            let tag = if tag.starts_with('"') { tag.clone() } else { format!("\"{tag}\"") };
            ask = ask.header(IF_MATCH, &tag);
        }
        let put = client.json(ask).await.map_err(|error| named(error, file))?;
        if !args.json {
            print::data(&format!("{}\n", line(&put)))?;
            for warning in put.get("warnings").and_then(Json::as_array).into_iter().flatten() {
                print::remark(&format!("  [{}] {}", text(warning, "/code"), text(warning, "/message")));
            }
        }
        done.push(put);
    }
    if args.json {
        print::json(&done)?;
    }
    Ok(Exit::Ok)
}

fn line(put: &Json) -> String {
    let is = |field: &str| put.get(field).and_then(Json::as_bool) == Some(true);
    let version = text(put, "/version");
    let version = if version.is_empty() { "a new version".to_owned() } else { format!("version {version}") };
    let what = match (is("changed"), is("dry_run")) {
        (false, _) => format!("{version}, unchanged"),
        (true, true) => "would be a new version".to_owned(),
        (true, false) if is("active") => format!("{version}, active"),
        (true, false) => format!("{version}, not active"),
    };
    format!("{}  {what}", text(put, "/name"))
}

/// A flow file with all that lies beside it, as the API takes it; `name` besides.
fn given(file: &std::path::Path) -> Result<Json, Error> {
    let path = load::find(file)?;
    let yaml = library::read_flow(&path)
        .map_err(|error| Error::caused(Exit::Usage, format!("cannot read `{}`", path.display()), &error))?;
    let name = serde_yaml::from_str::<Json>(&yaml).ok().and_then(|flow| {
        let name = flow.get("flow")?.as_str()?;
        Some(name.to_owned())
    });
    let name = name.ok_or_else(|| {
        Error::new(Exit::Invalid, format!("`{}` does not say what the flow is called", path.display()))
            .hint("a flow begins with `flow: NAME`; `anabranch check` says what else is wrong")
    })?;
    let parts = parts::of(&path, &yaml);
    Ok(json!({ "name": name, "flow": yaml, "flows": parts.flows, "prompts": parts.prompts }))
}

fn without_name(mut given: Json) -> Json {
    if let Some(given) = given.as_object_mut() {
        given.remove("name");
    }
    given
}

/// The error of one of several files.
fn named(error: crate::client::Error, file: &std::path::Path) -> Error {
    let error = Error::from(error);
    Error { message: format!("{}: {}", file.display(), error.message), ..error }
}

/// Show the YAML of a flow
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  anabranch flows show quickstart
  anabranch flows show quickstart --version 2 > quickstart.yaml

JSON (--json):
  {name, version, hash, active, about?, created_at, created_by?,
   flow, flows: {NAME: YAML}, prompts: {PATH: TEXT}}"
)]
struct ShowArgs {
    /// Name of the flow
    name: String,
    /// Another version than the active one
    #[arg(long, value_name = "N")]
    version: Option<i32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn show(args: &ShowArgs) -> Ended {
    let client: Client = args.remote.client()?;
    let ask = Ask::get(&["flows", &args.name]).maybe("version", args.version);
    if args.json {
        print::json(&client.json(ask.header(ACCEPT, "application/json")).await?)?;
        return Ok(Exit::Ok);
    }
    let answer = client.send(ask.header(ACCEPT, "application/yaml")).await?;
    print::data(&String::from_utf8_lossy(&answer.bytes))?;
    if let Some(etag) = answer.etag {
        print::remark(&format!("etag: {}", etag.trim_matches('"')));
    }
    Ok(Exit::Ok)
}

/// List the versions of a flow, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch flows versions quickstart

JSON (--json):
  {items: [{name, version, hash, active, about?, created_at, in_flight}]}
`in_flight` counts the jobs of a version that have not ended.")]
struct VersionsArgs {
    /// Name of the flow
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn versions(args: &VersionsArgs) -> Ended {
    let found = args.remote.client()?.json(Ask::get(&["flows", &args.name, "versions"])).await?;
    if args.json {
        print::json(&found)?;
        return Ok(Exit::Ok);
    }
    let row = |flow: &Json| {
        let active = flow.get("active").and_then(Json::as_bool) == Some(true);
        let hash: String = text(flow, "/hash").chars().take(12).collect();
        let mark = if active { "active" } else { "" };
        vec![
            text(flow, "/version"),
            mark.to_owned(),
            text(flow, "/in_flight"),
            text(flow, "/created_at"),
            hash,
        ]
    };
    let rows: Vec<Vec<String>> = items(&found).iter().map(row).collect();
    print::data(&table(&["VERSION", "", "IN FLIGHT", "SINCE", "HASH"], &rows))?;
    Ok(Exit::Ok)
}

/// Make another version of a flow the one that new jobs take
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  anabranch flows activate quickstart 2

Jobs that were taken in keep the version that they began with.

JSON (--json): {name, active, before, in_flight: {VERSION: JOBS}}"
)]
struct ActivateArgs {
    /// Name of the flow
    name: String,
    /// The version
    version: i32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn activate(args: &ActivateArgs) -> Ended {
    let ask = Ask::post(&["flows", &args.name, "activate"]).json(json!({ "version": args.version }));
    let done = args.remote.client()?.json(ask).await?;
    if args.json {
        print::json(&done)?;
        return Ok(Exit::Ok);
    }
    let before = text(&done, "/before");
    let before = if before.is_empty() { "none".to_owned() } else { format!("version {before}") };
    print::data(&format!("{}  version {} is active, {before} was before\n", args.name, args.version))?;
    let in_flight = done.get("in_flight").and_then(Json::as_object);
    for (version, jobs) in in_flight.into_iter().flatten() {
        print::remark(&format!("  {jobs} of version {version} in flight"));
    }
    Ok(Exit::Ok)
}

/// Check flow files against the server: its operators, models, indexes and flows
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch flows check flows/quickstart.yaml

Nothing is kept. `anabranch check` does the same without a server.
The exit code is 3 if a flow is not valid.

JSON (--json): an array of
  {valid, name?, hash?,
   diagnostics: [{message, code, severity, span?: {file, line, column,
                  end_line, end_column}, hint?}]}")]
struct CheckArgs {
    /// Flow files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn check(args: &CheckArgs) -> Ended {
    let client = args.remote.client()?;
    let mut found = Vec::new();
    for file in &args.files {
        let ask = Ask::post(&["flows", "check"]).json(without_name(given(file)?));
        let checked = client.json(ask).await.map_err(|error| named(error, file))?;
        if !args.json {
            for problem in checked.get("diagnostics").and_then(Json::as_array).into_iter().flatten() {
                print::data(&format!("{}\n", diagnostic(problem, file)))?;
            }
        }
        found.push(checked);
    }
    if args.json {
        print::json(&found)?;
    }
    let n_wrong =
        found.iter().filter(|checked| checked.get("valid").and_then(Json::as_bool) != Some(true)).count();
    print::remark(&format!("{}, {n_wrong} not valid", print::count(found.len(), "flow")));
    Ok(if n_wrong > 0 { Exit::Invalid } else { Exit::Ok })
}

fn diagnostic(problem: &Json, file: &std::path::Path) -> String {
    let (line, column) = (text(problem, "/span/line"), text(problem, "/span/column"));
    let place = if line.is_empty() { String::new() } else { format!(":{line}:{column}") };
    let severity = Some(text(problem, "/severity")).filter(|word| !word.is_empty());
    let mut said = format!(
        "{}{place}: {}[{}]: {}",
        file.display(),
        severity.as_deref().unwrap_or("error"),
        text(problem, "/code"),
        text(problem, "/message")
    );
    let hint = text(problem, "/hint");
    if !hint.is_empty() {
        write!(said, "\n    hint: {hint}").ok();
    }
    said
}

fn items(page: &Json) -> Vec<Json> {
    page.get("items").and_then(Json::as_array).cloned().unwrap_or_default()
}
