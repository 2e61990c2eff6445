//! `anabranch eval`: asks a flow all questions of a set, and judges what it gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_evaluation::set::{self, QueryLine};
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use super::print;
use super::{Ended, world};
use crate::eval::compare::compare;
use crate::eval::report;
use crate::eval::results::{self, Line, Results};
use crate::eval::runner::Asking;
use crate::eval::summary::{Summary, Variant};
use crate::exit::{self, Error, Exit};

mod bar;
mod prepare;
mod sweep;
mod table;

/// Ask a flow the questions of a set, and judge its answers
///
/// The set is a folder with `corpus.jsonl` and `queries.jsonl`. Its corpus is indexed once, in a place of its own, and
/// stands in for every index that the flow names. Each question gets a line in the results as soon as it has ended:
/// after Ctrl-C, or a kill, the same command goes on from there. A question that fails counts as zero and is listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch eval linear --data sets/hotpotqa --chunks keep.chunks
  anabranch eval linear --data sets/hotpotqa --limit 20 --sweep search.with.top_k=5,10,20
  anabranch eval new.yaml --data sets/hotpotqa --against old/results.jsonl --json

A set has one JSON object a line:
  corpus.jsonl   {id, title, text, meta}
  queries.jsonl  {id, question, answers: [TEXT], evidence: [{doc, bstart, bend}],
                  meta}
`bstart` and `bend` are bytes of the document's text (`start` and `end`:
characters), where more than the document is known.

The flow's input `question` or `query` is the question; other inputs are the
question's `meta` of that name. What is looked at: the answer (an output of type
`answer`, or called `answer`), the chunks (an output of type `list<chunk>`), the
citations (those of the answer, or an output `citations`). What cannot be worked
out is said and left out.

Figures, each from 0 to 1: recall@k all@k hit@1 ndcg@10 mrr@10 map of documents;
chunk_recall@k chunk_precision@k chunk_iou@k chunk_precision_omega of bytes;
exact_match f1 rouge_l contains of answers; citation_precision citation_recall;
answered and refused where `meta.answerable` is known.

JSON: {flow, data, questions, seed,
       variants: [{name, settings, results, asked, failed,
                   figures: {NAME: {mean, n, interval: {low, high}}},
                   usage: {model_calls, encoder_calls, prompt_tokens,
                           cached_tokens, completion_tokens, cost},
                   latency_ms: {mean, p50, p99}, failures: {KIND: n},
                   failed_questions: [{id, kind, message}]}],
       comparisons: [{variant, with, questions, unpaired,
                      figures: {NAME: {mean, with, n, difference,
                                       interval: {low, high}, p}}}],
       left_out: [{figures, why}], report}
The folder of the results holds it too, as summary.json, beside report.html.

It ends with 0 if any question was answered, and with 1 if all failed.")]
pub(crate) struct Args {
    /// A flow file, or the name of a flow in flows/
    flow: PathBuf,
    /// Folder of the set: corpus.jsonl and queries.jsonl
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Give an input that is the same for all questions; can be repeated
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Change a setting of a node; a node of a loop is `hop/search`; can be repeated
    #[arg(long, value_name = "NODE.with.KEY=VALUE")]
    set: Vec<String>,
    /// Evaluate once for each of these values; with several sweeps for each combination, at most 64
    #[arg(long, value_name = "NODE.with.KEY=V1,V2,...")]
    sweep: Vec<String>,
    /// Only ask the first N questions; later without it, the others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Questions that are asked at once; for latencies, 1
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How many of what was found the figures `@k` look at
    #[arg(long, value_name = "K,...", value_delimiter = ',', default_values_t = [5, 10, 20], value_parser = clap::value_parser!(u16).range(1..=1000))]
    at: Vec<u16>,
    /// What is the answer: an output of the flow, or NODE.PORT
    #[arg(long, value_name = "OUTPUT")]
    answer: Option<String>,
    /// What was found: an output of the flow, or NODE.PORT
    #[arg(long, value_name = "OUTPUT")]
    chunks: Option<String>,
    /// Whether several right answers are alternatives, or parts that must all be there
    #[arg(long, value_enum, default_value_t)]
    answers: prepare::Answers,
    /// Compare with other results, question by question: a results file, or its folder
    #[arg(long, value_name = "RESULTS")]
    against: Option<PathBuf>,
    /// Folder of the results; one below the data folder if unset
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Ask those questions again that failed
    #[arg(long)]
    retry_failed: bool,
    /// Flow that turns a document of the corpus into chunks; that of the index in the configuration if unset
    #[arg(long, value_name = "FLOW")]
    index_flow: Option<PathBuf>,
    /// Embedder of the corpus, or `none`; that of the index in the configuration if unset
    #[arg(long, value_name = "NAME")]
    embedder: Option<String>,
    /// Use the OpenAI-compatible server at this address as the model `default`
    #[arg(long, value_name = "URL")]
    model_url: Option<String>,
    /// Record what models answer into this file
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Answer from recorded exchanges instead of asking models
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Limit what each question may use: `model_calls`, `model_tokens`, `cost`, `wall`
    #[arg(long, value_name = "WHAT=LIMIT,...", value_delimiter = ',')]
    budget: Vec<String>,
    /// Seed of all randomness, that of the flow and that of the comparisons
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Configuration file; `anabranch.yaml` of the current folder if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let world = world::World::new(&world::Args { config: args.config.clone(), data: None })?;
    let queries = prepare::queries(&args.data, args.limit)?;
    // Before anything is asked: whatever is wrong with it would be found too late.
    let against =
        args.against.as_deref().map(results::read).transpose().map_err(|error| results_error(&error))?;
    let cancel = world::cancel_on_interrupt();
    let Some(prepared) = prepare::prepare(args, &world, &queries, &cancel).await? else {
        print::remark("stopped; run the same command again to go on from here");
        return Ok(Exit::Interrupted);
    };
    for left in &prepared.left_out {
        print::remark(&format!("not worked out: {}: {}", left.figures, left.why));
    }
    let mut all_lines: Vec<IndexMap<String, Line>> = Vec::new();
    let n_variants = prepared.variants.len();
    for (n, variant) in prepared.variants.into_iter().enumerate() {
        let prepare::Variant { name, asking, mut results, .. } = variant;
        let label = if n_variants == 1 { name } else { format!("{name} ({} of {n_variants})", n + 1) };
        ask(args, &label, asking, &queries, &mut results, &cancel).await?;
        if cancel.is_cancelled() {
            let done = queries.iter().filter(|query| results.lines.contains_key(&query.id)).count();
            print::remark(&format!(
                "stopped after {done} of {}; run the same command again to go on from here",
                print::count(queries.len(), "question")
            ));
            return Ok(Exit::Interrupted);
        }
        all_lines.push(results.lines);
    }
    let all_lines: Vec<Vec<&Line>> = all_lines
        .iter()
        .map(|lines| queries.iter().filter_map(|query| lines.get(&query.id)).collect())
        .collect();
    let page = prepared.out.join("report.html");
    let mut summary = Summary {
        flow: prepared.flow,
        data: args.data.display().to_string(),
        questions: queries.len(),
        seed: args.seed,
        variants: Vec::with_capacity(all_lines.len()),
        comparisons: Vec::new(),
        left_out: prepared.left_out,
        report: page.display().to_string(),
    };
    for ((name, settings, file), lines) in prepared.told.into_iter().zip(&all_lines) {
        summary.variants.push(Variant::new(name, settings, file.display().to_string(), lines, args.seed));
    }
    summary.comparisons = comparisons(args, &summary, &all_lines, against.as_ref());
    write(&prepared.out, &summary, &all_lines, &queries)?;
    if args.json {
        print::json(&summary)?;
    } else {
        print::data(&table::describe(&summary))?;
    }
    let answered = summary.variants.iter().any(|variant| variant.failed < variant.asked);
    Ok(if answered { Exit::Ok } else { Exit::Failed })
}

/// Asks what is not there yet.
async fn ask(
    args: &Args,
    label: &str,
    asking: Arc<Asking>,
    queries: &[QueryLine],
    results: &mut Results,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let is_there = |query: &&QueryLine| match results.lines.get(&query.id) {
        Some(line) => !args.retry_failed || line.failure.is_none(),
        None => false,
    };
    let there = queries.iter().filter(is_there).count();
    let left: Vec<Arc<QueryLine>> =
        queries.iter().filter(|query| !is_there(query)).map(|query| Arc::new(query.clone())).collect();
    if left.is_empty() {
        return Ok(());
    }
    let bar = bar::Bar::new(label, there, queries.len());
    let tell = |line: Line| {
        bar.ended(line.failure.is_some());
        results.append(line)
    };
    let ended = asking.all(left, usize::from(args.concurrency), cancel, tell).await;
    bar.end();
    ended.map_err(|error| results_error(&error))
}

/// Every variant against the first, and all of them against other results.
fn comparisons(
    args: &Args,
    summary: &Summary,
    lines: &[Vec<&Line>],
    against: Option<&(results::Head, IndexMap<String, Line>)>,
) -> Vec<crate::eval::compare::Compared> {
    let mut comparisons = Vec::new();
    let named = || summary.variants.iter().map(|variant| variant.name.as_str()).zip(lines);
    if let Some((first, theirs)) = named().next() {
        let theirs: IndexMap<String, Line> =
            theirs.iter().map(|line| (line.id.clone(), (*line).clone())).collect();
        comparisons
            .extend(named().skip(1).map(|(name, ours)| compare((name, ours), (first, &theirs), args.seed)));
    }
    if let (Some((head, theirs)), Some(path)) = (against, &args.against) {
        let mut with = path.display().to_string();
        if !head.variant.is_empty() {
            with = format!("{with} ({})", head.variant.join(", "));
        }
        comparisons.extend(named().map(|(name, ours)| compare((name, ours), (&with, theirs), args.seed)));
    }
    comparisons
}

fn write(out: &Path, summary: &Summary, lines: &[Vec<&Line>], queries: &[QueryLine]) -> Result<(), Error> {
    let page = report::page(summary, lines, queries)
        .map_err(|error| Error::caused(Exit::Failed, "cannot make the report", &error))?;
    let text = serde_json::to_string_pretty(summary)
        .map_err(|error| Error::caused(Exit::Failed, "cannot write the summary", &error))?;
    for (name, text) in [("summary.json", text + "\n"), ("report.html", page)] {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|error| {
            Error::caused(Exit::Failed, format!("cannot write `{}`", path.display()), &error)
        })?;
    }
    Ok(())
}

/// What is wrong with results, as the command line tells it.
fn results_error(error: &results::Error) -> Error {
    let told = exit::chain(error);
    match error {
        results::Error::Other { .. } => Error::usage(told).hint(
            "give another folder with `--out`, or remove these results if they are not needed any more",
        ),
        results::Error::Line { .. } | results::Error::Version { .. } => Error::usage(told),
        results::Error::Busy(_) => Error::new(Exit::Unavailable, told),
        results::Error::Io { .. } => Error::new(Exit::Failed, told),
    }
}

/// What is wrong with a set, as the command line tells it.
fn set_error(error: &set::Error) -> Error {
    Error::usage(exit::chain(error)).hint("a set is a folder with `corpus.jsonl` and `queries.jsonl`; `anabranch eval --help` shows their lines")
}
