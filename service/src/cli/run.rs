//! `anabranch run`: runs a flow and prints what it gives.

use std::path::PathBuf;
use std::sync::Arc;

use anabranch_engine::budget::Budget;
use anabranch_engine::event::{FailureKind, RunId};
use anabranch_engine::run::{self as engine, Inbox, Options, Outcome};

use super::{Ended, jobs, load, print, remote, world};
use crate::exit::{self, Error, Exit};
use crate::overrides;
use crate::resources::Overrides;

mod answer;
mod asking;
mod inputs;
mod json;
pub(super) mod progress;

pub(super) use inputs::read_words;

/// Run a flow: prints the answer with what it cites
///
/// Indexes that the configuration declares are built on first use and brought up to date before the run. Without a
/// model, readers select sentences from the sources and say so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch run flows/quickstart.yaml -i question=\"What happens to a loop without max_turns?\"
  anabranch run quickstart -i question=@question.txt --model-url http://localhost:8000/v1
  anabranch run quickstart -i question=\"Who?\" --set search.with.index=notes
  anabranch run quickstart -i question=\"Who?\" --budget model_calls=3,wall=30s --json
  anabranch run approval -i question=\"Who?\" --answer review=true

An input declared as `text` is taken as it stands; any other type is read as
YAML, so JSON works too: -i hops=3 -i tags='[a, b]'. A value @FILE is read from
that file; @@ begins a text with an @.

A flow that waits for an answer takes it from --answer, and otherwise asks at
the terminal. Without one, the run stops there and says what it waits for.

JSON (--json):
  {flow, status: \"succeeded\"|\"failed\"|\"cancelled\"|\"waiting\", outputs,
   absent: {NAME: {what, why}}, error?: {kind, message, scope?, attempt?},
   waits?: [{scope, type, about?, shown, since_ms, until_ms}],
   usage: {model_calls, prompt_tokens, cached_tokens, shareable_tokens?,
           completion_tokens, unanswered_calls?, cost},
   nodes: [{node, op, attempts, skipped?, error?, aborted?, inputs?, outputs?,
            usage, queued_ms, ran_ms}],
   elapsed_ms}
JSON lines (--jsonl): {notice, scope, ...} for all that happens, as it happens
(notice: started, ended, aborted, skipped, opened, part, closed, waiting,
progress); the last line is the object of --json.

With --server, --json prints the job (`anabranch jobs show --json`), and a run
that fails ends with 1.

How a failed run ends: 4 if a backend failed, 5 if a budget or limit was
reached, 1 for anything else.")]
pub(crate) struct Args {
    /// A flow file, or the name of a flow in flows/
    flow: PathBuf,
    /// Give an input; can be repeated
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Read inputs from a JSON or YAML file; `-i` goes on top
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Answer a wait of the flow; in a loop or each `hop/approve`; can be repeated
    #[arg(long, value_name = "NODE=VALUE")]
    answer: Vec<String>,
    /// Use the OpenAI-compatible server at this address as the model `default`
    #[arg(long, value_name = "URL")]
    model_url: Option<String>,
    /// Record what models answer into this file
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Answer from recorded exchanges instead of asking models
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Change a setting of a node; a node of a loop is `hop/search`; can be repeated
    #[arg(long, value_name = "NODE.with.KEY=VALUE")]
    set: Vec<String>,
    /// Limit what the run may use: `model_calls`, `model_tokens`, `cost`, `wall`
    #[arg(long, value_name = "WHAT=LIMIT,...", value_delimiter = ',')]
    budget: Vec<String>,
    /// Most node executions at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,
    /// Seed of all randomness: the same seed, inputs and model answers give the same outputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print a line of JSON for all that happens, then the result
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Run it on this server and watch it; FLOW is then a file that is sent along, or a name there
    #[arg(long, value_name = "URL", conflicts_with_all = ["model_url", "record", "replay", "set", "concurrency", "jsonl", "config", "data"])]
    server: Option<String>,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    if args.server.is_some() {
        return remotely(args).await;
    }
    let budget = budget(&args.budget)?;
    let world = world::World::new(&args.world)?;
    let registry = anabranch_operators::registry();
    let file = overrides::apply(&load::read(&load::find(&args.flow)?)?, &args.set)?;
    let plan = Arc::new(load::compile_or_complain(&file, &registry, Some(&world.names()))?);
    let inputs = inputs::gather(&plan, args.inputs.as_deref(), &args.input)?;
    let answers = asking::Answers::read(&plan, &args.answer)?;
    let models = Overrides {
        model_url: args.model_url.clone(),
        record: args.record.clone(),
        replay: args.replay.clone(),
    };
    let on_command_line = args.model_url.is_some() || args.record.is_some() || args.replay.is_some();
    let mut resources = world.resources(&models, std::collections::BTreeMap::new()).map_err(|error| {
        // Whatever is wrong then is most likely what was just typed.
        Error { exit: if on_command_line { Exit::Usage } else { error.exit }, ..error }
    })?;
    let cancel = world::cancel_on_interrupt();
    // The indexing flow may ask the same models; the run then finds the indexes beside them.
    let indexes = world.indexes(&plan.indexes, &registry, &resources, &cancel).await?;
    Arc::make_mut(&mut resources).indexes = indexes;

    let shown: Option<Arc<dyn progress::Shown>> =
        if args.jsonl { Some(Arc::new(progress::JsonLines)) } else { progress::on_stderr() };
    let (inbox, asks) = (Inbox::default(), asking::is_anybody_there());
    let asking =
        asking::Asking { answers, inbox: inbox.clone(), shown: shown.clone(), asks, turn: Arc::default() };
    let options = Options {
        id: run_id(),
        seed: args.seed,
        concurrency: args.concurrency.map_or(world.config.limits.concurrency, usize::from),
        observer: Some(Arc::new(asking)),
        inbox,
        // Nobody to ask: what does not depend on the answer is done, then the run says what it lacks.
        park: !asks,
        cancel,
        budget,
        details: true,
        ..Options::default()
    };
    let ended = engine::run(plan.clone(), inputs, resources, options).await;
    if let Some(shown) = shown {
        shown.end();
    }
    let report = match ended {
        Ok(report) => report,
        Err(engine::Error::Inputs(problems)) => return Err(inputs::refuse(&plan, &problems)),
        Err(error) => return Err(Error::new(Exit::Failed, exit::chain(&error))),
    };
    if args.json {
        print::json(&json::report(&plan.name, &report))?;
    } else if args.jsonl {
        print::data(&format!("{}\n", json::report(&plan.name, &report)))?;
    } else {
        print::data(&answer::outputs(&report))?;
        print::remark(&answer::footer(&report, args.model_url.is_some()));
    }
    match report.outcome {
        Outcome::Succeeded | Outcome::Paused => Ok(Exit::Ok),
        Outcome::Waiting { waits } => Err(asking::unanswered(&waits)),
        Outcome::Cancelled { .. } => Ok(Exit::Interrupted),
        Outcome::Failed(failure) => Err(Error::new(exit_of(failure.kind), failure.to_string())),
    }
}

/// Hands the run to a server.
async fn remotely(args: &Args) -> Ended {
    let server = remote::Args { server: args.server.clone() };
    let mut more = serde_json::Map::new();
    more.insert("seed".to_owned(), args.seed.into());
    let flow = args.flow.to_string_lossy();
    let handed = jobs::Handed {
        flow: &flow,
        input: &args.input,
        inputs: args.inputs.as_deref(),
        budget: &args.budget,
        more,
    };
    jobs::remotely(&server, handed, args.json).await
}

/// How the process ends when a run failed in this way.
pub(super) fn exit_of(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Overloaded
        | FailureKind::TimedOut
        | FailureKind::Unavailable
        | FailureKind::Rejected
        | FailureKind::Garbled => Exit::Unavailable,
        FailureKind::OverBudget | FailureKind::OverLimit => Exit::OverBudget,
        FailureKind::Expression
        | FailureKind::Type
        | FailureKind::InvalidInput
        | FailureKind::InvalidSetting
        | FailureKind::TooFewItems
        | FailureKind::Interrupted
        | FailureKind::Internal => Exit::Failed,
    }
}

/// A name for the run that no other run has: model servers take it for a key against repetition.
pub(super) fn run_id() -> RunId {
    let id = uuid::Uuid::now_v7();
    RunId(format!("run_{}", id.simple()).into())
}

/// The limits of `--budget`.
pub(super) fn budget(given: &[String]) -> Result<Budget, Error> {
    const EXAMPLE: &str = "for example `--budget model_calls=3,model_tokens=20000,cost=0.05,wall=90s`";
    let mut budget = Budget::default();
    for limit in given {
        let wrong = |why: &str| Error::usage(format!("`--budget {limit}`: {why}")).hint(EXAMPLE);
        let (what, value) = limit.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        let count = || value.parse().map_err(|_| wrong("expected a whole number"));
        match what.trim() {
            "model_calls" => budget.model_calls = Some(count()?),
            "model_tokens" => budget.model_tokens = Some(count()?),
            "cost" => {
                let cost = value.parse().ok().filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
                budget.cost = Some(cost.ok_or_else(|| wrong("expected a number, at least 0"))?);
            }
            "wall" => {
                let wall = anabranch_engine::flow::parse::duration(value);
                budget.wall = Some(wall.map_err(|why| wrong(&why))?);
            }
            other => {
                return Err(wrong(&format!(
                    "`{other}` is not limited; there are `model_calls`, `model_tokens`, `cost`, `wall`"
                )));
            }
        }
    }
    Ok(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_names_what_it_limits() {
        let given = ["model_calls=3".to_owned(), "cost=0.05".to_owned()];
        let limits = budget(&given).unwrap();
        assert_eq!((limits.model_calls, limits.cost, limits.wall), (Some(3), Some(0.05), None));
        assert!(budget(&["calls=3".to_owned()]).unwrap_err().message.contains("`calls` is not limited"));
        assert!(budget(&["cost=-1".to_owned()]).is_err());
    }

    #[test]
    fn no_two_runs_have_the_same_name() {
        assert_ne!(run_id(), run_id());
    }
}
