//! `anabranch jobs`: the jobs of a server.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::remote::{self, between, labels, pairs, span, status, table, text};
use super::{Ended, print};
use crate::client::{Ask, Client};
use crate::exit::{Error, Exit};

mod follow;
mod notices;
mod show;
mod submit;

pub(crate) use submit::{Handed, remotely};

/// Submit, list, watch, stop, answer and repeat the jobs of a server
///
/// A job is a run that a server keeps: it survives restarts, and any number of people can watch it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs submit quickstart -i question=\"What is a flow?\" --wait
  anabranch jobs list --status failed --label team=search
  anabranch jobs watch job_0198...
  anabranch jobs retry job_0198... --from failed
  anabranch jobs resume job_0198... true

The server is named by --server or ANABRANCH_SERVER, the key stands in
ANABRANCH_KEY; on the machine itself a server without keys needs none.

Exit codes: 1 a job that was waited for did not succeed, 2 wrong usage or no
such job, 3 invalid flow, 4 the server is unavailable, 5 a limit was reached,
6 the key does not allow it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Submit(Box<submit::Args>),
    List(ListArgs),
    Show(show::Args),
    Watch(follow::Args),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    Resume(ResumeArgs),
    Diff(DiffArgs),
    Export(ExportArgs),
}

pub(crate) async fn run(args: &Args) -> Ended {
    match &args.command {
        Command::Submit(args) => submit::run(args).await,
        Command::List(args) => list(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Watch(args) => follow::run(args).await,
        Command::Cancel(args) => cancel(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Resume(args) => resume(args).await,
        Command::Diff(args) => diff(args).await,
        Command::Export(args) => export(args).await,
    }
}

/// Which jobs.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "filter")]
struct FilterArgs {
    /// Of this flow
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// With this status; several are separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<String>,
    /// With this label; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Of this conversation
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Submitted at or after this time
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Submitted before this time
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

/// List jobs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs list
  anabranch jobs list --flow quickstart --status failed,timed_out --limit 20
  anabranch jobs list --label team=search --after 2027-03-01T00:00:00Z --json

Statuses: queued, running, waiting, succeeded, failed, cancelled, timed_out.

JSON (--json):
  {items: [{id, flow, version, status, error?, usage, labels, created_at,
            started_at, finished_at, queue_wait_ms, progress, links, ...}],
   next_cursor}")]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// With this text in the id, flow, conversation or error
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// Most jobs, at most 200
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Where to go on: `next_cursor` of the page before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn list(args: &ListArgs) -> Ended {
    let filter = &args.filter;
    let status = Some(filter.status.join(",")).filter(|status| !status.is_empty());
    let mut ask = Ask::get(&["jobs"])
        .query("limit", args.limit)
        .maybe("flow", filter.flow.as_ref())
        .maybe("status", status)
        .maybe("session_id", filter.session.as_ref())
        .maybe("batch_id", filter.batch.as_ref())
        .maybe("created_after", filter.after.as_ref())
        .maybe("created_before", filter.before.as_ref())
        .maybe("q", args.query.as_ref())
        .maybe("cursor", args.cursor.as_ref());
    for (name, value) in pairs("--label", &filter.labels)? {
        ask = ask.query(&format!("label.{name}"), value);
    }
    let page = args.remote.client()?.json(ask).await?;
    if args.json {
        print::json(&page)?;
        return Ok(Exit::Ok);
    }
    let items = page.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        print::remark("there are no such jobs");
        return Ok(Exit::Ok);
    }
    let now = jiff::Timestamp::now();
    let row = |job: &Json| {
        let age = text(job, "/created_at").parse::<jiff::Timestamp>();
        let age = age.map_or_else(|_| String::new(), |at| span(now.as_millisecond() - at.as_millisecond()));
        let took = between(job, "/started_at", "/finished_at").map_or_else(String::new, span);
        vec![text(job, "/id"), text(job, "/status"), text(job, "/flow"), age, took, labels(job)]
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    print::data(&table(&["ID", "STATUS", "FLOW", "AGE", "TOOK", "LABELS"], &rows))?;
    if let Some(cursor) = page.get("next_cursor").and_then(Json::as_str) {
        print::remark(&format!("there are more: --cursor {cursor}"));
    }
    Ok(Exit::Ok)
}

/// Stop jobs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs cancel job_0198...
  anabranch jobs cancel job_0198... job_0199... --now
  anabranch jobs cancel --flow nightly --status queued --dry-run

What is in flight may end unless --now is given; nothing starts afterwards.

JSON (--json): an array of jobs; of a filter {matched, cancelled, ids, more}")]
struct CancelArgs {
    /// Jobs
    #[arg(value_name = "JOB", required_unless_present = "filter", conflicts_with = "filter")]
    jobs: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Abort what is in flight
    #[arg(long)]
    now: bool,
    /// With a filter: only say how many there are
    #[arg(long, conflicts_with = "jobs")]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn cancel(args: &CancelArgs) -> Ended {
    let client = args.remote.client()?;
    let mode = if args.now { "now" } else { "graceful" };
    if args.jobs.is_empty() {
        return cancel_many(args, &client, mode).await;
    }
    let mut cancelled = Vec::new();
    for id in &args.jobs {
        let ask = Ask::post(&["jobs", id, "cancel"]).json(json!({ "mode": mode }));
        let job = client.json(ask).await?;
        if !args.json {
            let word = text(&job, "/status");
            let told = if word == "cancelled" { word } else { format!("{word}, told to stop") };
            print::data(&format!("{id}  {told}\n"))?;
        }
        cancelled.push(job);
    }
    if args.json {
        print::json(&cancelled)?;
    }
    Ok(Exit::Ok)
}

async fn cancel_many(args: &CancelArgs, client: &Client, mode: &str) -> Ended {
    let given = &args.filter;
    let mut filter = json!({ "status": given.status, "labels": pairs("--label", &given.labels)? });
    let named = [
        ("flow", &given.flow),
        ("session_id", &given.session),
        ("batch_id", &given.batch),
        ("created_after", &given.after),
        ("created_before", &given.before),
    ];
    if let Some(filter) = filter.as_object_mut() {
        for (name, value) in named {
            if let Some(value) = value {
                filter.insert(name.to_owned(), json!(value));
            }
        }
    }
    let body = json!({ "filter": filter, "mode": mode, "dry_run": args.dry_run });
    let done = client.json(Ask::post(&["jobs:cancel"]).json(body)).await?;
    if args.json {
        print::json(&done)?;
        return Ok(Exit::Ok);
    }
    let matched = text(&done, "/matched");
    let said = if args.dry_run {
        format!("{matched} would be cancelled\n")
    } else {
        format!("{} of {matched} cancelled\n", text(&done, "/cancelled"))
    };
    print::data(&said)?;
    if done.get("more").and_then(Json::as_bool) == Some(true) {
        print::remark("there are more: ask again");
    }
    Ok(Exit::Ok)
}

/// Repeat a job that has ended: a new job that keeps what need not be done again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs retry job_0198...                       # from what failed
  anabranch jobs retry job_0198... --from start
  anabranch jobs retry job_0198... --from hop[2]/search --wait
  anabranch jobs retry job_0198... --patch '{\"draft\": {\"text\": \"better\"}}'

JSON (--json): the new job, as `anabranch jobs show --json` has it")]
struct RetryArgs {
    /// The job
    job: String,
    /// `failed`, `start`, or a node, a turn or an item: `hop[2]/search`
    #[arg(long, value_name = "WHERE", default_value = "failed")]
    from: String,
    /// Results in place of those of nodes, by node and port: YAML, or @FILE
    #[arg(long, value_name = "YAML")]
    patch: Option<String>,
    /// Makes the request repeatable: the same key gives the same job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    after: follow::After,
    #[command(flatten)]
    remote: remote::Args,
}

async fn retry(args: &RetryArgs) -> Ended {
    let mut body = json!({ "from": args.from });
    if let Some(patch) = &args.patch {
        let read = match patch.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Error::usage(format!("`--patch`: cannot read `{path}`: {error}")))?,
            None => patch.clone(),
        };
        let read: Json = serde_yaml::from_str(&read)
            .map_err(|_| Error::usage("`--patch` holds no mapping").hint("write `{NODE: {PORT: VALUE}}`"))?;
        if let Some(body) = body.as_object_mut() {
            body.insert("patch".to_owned(), read);
        }
    }
    let client = args.remote.client()?;
    let ask = submit::with_key(Ask::post(&["jobs", &args.job, "retry"]), args.idempotency_key.as_deref());
    let job = client.json(ask.json(body)).await?;
    args.after.go_on(&client, job, "submitted").await
}

/// Answer a job that waits for somebody
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs resume job_0198... true
  anabranch jobs resume job_0198... \"make it shorter\" --wait-node approve
  anabranch jobs resume job_0198... '{score: 3}' --watch

The answer is read by the type that the wait asks for: a text as it stands,
anything else as YAML. `anabranch jobs show JOB` says what the job waits for.

JSON (--json): the job, as `anabranch jobs show --json` has it")]
struct ResumeArgs {
    /// The job
    job: String,
    /// The answer; @FILE reads it from that file
    value: String,
    /// The node that waits; needed if there are several
    #[arg(long, value_name = "NODE")]
    wait_node: Option<String>,
    #[command(flatten)]
    after: follow::After,
    #[command(flatten)]
    remote: remote::Args,
}

async fn resume(args: &ResumeArgs) -> Ended {
    let client = args.remote.client()?;
    let job = client.json(Ask::get(&["jobs", &args.job])).await?;
    let waits = job.get("waits").and_then(Json::as_array).cloned().unwrap_or_default();
    let wait = waits.iter().find(|wait| {
        args.wait_node.is_none() || wait.get("wait").and_then(Json::as_str) == args.wait_node.as_deref()
    });
    let given = match args.value.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read `{path}`: {error}")))?,
        None => args.value.clone(),
    };
    let is_text =
        wait.is_some_and(|wait| matches!(text(wait, "/type").trim_end_matches('?'), "text" | "label"));
    let schema = is_text.then(|| json!({ "type": "string" }));
    let mut body = json!({ "value": remote::read_value(given, schema.as_ref()) });
    if let (Some(node), Some(body)) = (&args.wait_node, body.as_object_mut()) {
        body.insert("wait".to_owned(), json!(node));
    }
    let job = client.json(Ask::post(&["jobs", &args.job, "resume"]).json(body)).await?;
    args.after.go_on(&client, job, "answered").await
}

/// Compare two jobs, node by node
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs diff job_0198... job_0199...
  anabranch jobs diff job_0198... job_0199... --json

JSON (--json): what the server answers to GET /v1/jobs/diff")]
struct DiffArgs {
    /// One job
    a: String,
    /// The other
    b: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: remote::Args,
}

async fn diff(args: &DiffArgs) -> Ended {
    let ask = Ask::get(&["jobs", "diff"]).query("a", &args.a).query("b", &args.b);
    let mut found = args.remote.client()?.json(ask).await?;
    if args.json {
        print::json(&found)?;
        return Ok(Exit::Ok);
    }
    if let Some(found) = found.as_object_mut() {
        for side in ["a", "b"] {
            let job = found.remove(side).unwrap_or_default();
            print::data(&format!("{side}  {}\n", line(&job)))?;
        }
    }
    print::data(&show::yaml(&found))?;
    Ok(Exit::Ok)
}

/// Write all that is known of a job: its flow, journal and results
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs export job_0198... > job.json
  anabranch jobs export job_0198... --out job.json")]
struct ExportArgs {
    /// The job
    job: String,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: remote::Args,
}

async fn export(args: &ExportArgs) -> Ended {
    let answer = args.remote.client()?.send(Ask::get(&["jobs", &args.job, "export"])).await?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, &answer.bytes).map_err(|error| {
                Error::caused(Exit::Failed, format!("cannot write `{}`", path.display()), &error)
            })?;
            print::remark(&format!("wrote `{}`", path.display()));
        }
        None => print::data(&String::from_utf8_lossy(&answer.bytes))?,
    }
    Ok(Exit::Ok)
}

/// What a job came to, for people: its status, and why if it went wrong.
fn line(job: &Json) -> String {
    let word = text(job, "/status");
    let mut line = format!("{}  {}", text(job, "/id"), status(&word));
    if let Some(took) = between(job, "/started_at", "/finished_at") {
        write!(line, "  {}", span(took)).ok();
    }
    if let Some(message) = job.pointer("/error/message").and_then(Json::as_str) {
        write!(line, "  {message}").ok();
    }
    line
}
