//! `anabranch jobs submit`: hands a run to a server.

use std::path::{Path, PathBuf};

use reqwest::header::HeaderName;
use serde_json::{Map, Value as Json, json};

use super::super::{Ended, load, remote};
use super::follow::After;
use super::pairs;
use crate::client::{Ask, Client};
use crate::exit::{Error, Exit};
use crate::library;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Submit a job: a flow of the server by its name, or a flow file that is sent along
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch jobs submit quickstart -i question=\"What is a flow?\"
  anabranch jobs submit quickstart@3 -i question=@question.txt --wait
  anabranch jobs submit flows/draft.yaml --inputs inputs.json --watch
  anabranch jobs submit nightly --run-at 2h --label team=search --json

Prints the job's id; with --wait or --watch the outputs, once it has ended.
An input that the flow declares as text is taken as it stands, any other is
read as YAML; @FILE reads a value from that file, @@ begins a text with an @.

JSON (--json): the job, as `anabranch jobs show --json` has it.

Ends with 1 if a job that is waited for does not succeed.")]
pub(super) struct Args {
    /// Name of a flow on the server, `NAME@VERSION`, or a flow file
    flow: String,
    /// Give an input; can be repeated
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Read inputs from a JSON or YAML file; `-i` goes on top
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// What to find it by; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Higher first: -100 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// End it after this time, or so long from now: `90s`, `2h`
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Begin it at this time, or so long from now
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Limit what it may use: `model_calls`, `model_tokens`, `cost`, `wall`
    #[arg(long, value_name = "WHAT=LIMIT,...", value_delimiter = ',')]
    budget: Vec<String>,
    /// Webhook that is told of its end, by id or address
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<String>,
    /// The conversation that it belongs to
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Seed of all randomness
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Makes the request repeatable: the same key gives the same job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    after: After,
    #[command(flatten)]
    remote: remote::Args,
}

/// A run that is handed to a server, whatever the command.
#[derive(Debug, Default)]
pub(crate) struct Handed<'a> {
    /// Name or file of the flow.
    pub(crate) flow: &'a str,
    /// `-i`.
    pub(crate) input: &'a [String],
    /// `--inputs`.
    pub(crate) inputs: Option<&'a Path>,
    /// `--budget`.
    pub(crate) budget: &'a [String],
    /// Everything else that the body says.
    pub(crate) more: Map<String, Json>,
}

pub(super) async fn run(args: &Args) -> Ended {
    let client = args.remote.client()?;
    let mut more = Map::new();
    let mut put = |name: &str, value: Json| {
        if !value.is_null() {
            more.insert(name.to_owned(), value);
        }
    };
    let labels = pairs("--label", &args.labels)?;
    put("labels", if labels.is_empty() { Json::Null } else { json!(labels) });
    put("priority", json!(args.priority));
    put("deadline", json!(args.deadline));
    put("run_at", json!(args.run_at));
    put("webhook", json!(args.webhook));
    put("session_id", json!(args.session));
    put("seed", json!(args.seed));
    let handed = Handed {
        flow: &args.flow,
        input: &args.input,
        inputs: args.inputs.as_deref(),
        budget: &args.budget,
        more,
    };
    let job = submit(&client, handed, args.idempotency_key.as_deref()).await?;
    args.after.go_on(&client, job, "submitted").await
}

/// `anabranch run --server`: submits, watches, and prints what `run` would.
pub(crate) async fn remotely(remote: &remote::Args, handed: Handed<'_>, is_json: bool) -> Ended {
    let client = remote.client()?;
    let job = submit(&client, handed, None).await?;
    After::watching(is_json).go_on(&client, job, "submitted").await
}

async fn submit(client: &Client, handed: Handed<'_>, key: Option<&str>) -> Result<Json, Error> {
    let mut body = handed.more;
    let path = Path::new(handed.flow);
    let is_file = path.is_file() || path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
    let schema = if is_file {
        let path = load::find(path)?;
        let yaml = library::read_flow(&path).map_err(|error| {
            Error::caused(Exit::Usage, format!("cannot read `{}`", path.display()), &error)
        })?;
        body.insert("flow_yaml".to_owned(), Json::String(yaml));
        None
    } else {
        body.insert("flow".to_owned(), json!(handed.flow));
        if handed.input.is_empty() { None } else { input_schema(client, handed.flow).await }
    };
    let inputs = remote::inputs(handed.inputs, handed.input, schema.as_ref())?;
    body.insert("inputs".to_owned(), Json::Object(inputs));
    if !handed.budget.is_empty() {
        body.insert("budget".to_owned(), budget(handed.budget)?);
    }
    Ok(client.json(with_key(Ask::post(&["jobs"]), key).json(Json::Object(body))).await?)
}

/// What the flow takes; a flow that is not there is told when the job is submitted.
async fn input_schema(client: &Client, flow: &str) -> Option<Json> {
    let (name, version) = flow.split_once('@').map_or((flow, None), |(name, version)| (name, Some(version)));
    let schema = client.json(Ask::get(&["flows", name, "schema"]).maybe("version", version)).await.ok()?;
    schema.get("inputs").cloned()
}

/// The limits of `--budget`, as the API takes them.
fn budget(given: &[String]) -> Result<Json, Error> {
    let mut budget = Map::new();
    for (what, limit) in pairs("--budget", given)? {
        let value = match what.as_str() {
            "wall" => json!(limit),
            _ => serde_json::from_str(&limit).unwrap_or(Json::String(limit)),
        };
        budget.insert(what, value);
    }
    Ok(Json::Object(budget))
}

/// Makes a request repeatable: by the key that was given, or by one of its own, so that a repetition within this process
/// cannot submit twice.
pub(super) fn with_key(ask: Ask, key: Option<&str>) -> Ask {
    match key {
        Some(key) => ask.header(IDEMPOTENCY_KEY, key),
        None => ask.header(IDEMPOTENCY_KEY, &uuid::Uuid::now_v7().simple().to_string()),
    }
}
