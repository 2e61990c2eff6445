//! `anabranch search`: what an index finds for a query, without a flow file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anabranch_engine::backend::{Condition, Filter, Namespace, Scalar};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::run::{self as engine, Options, Outcome};
use anabranch_engine::value::{Chunk, Map, Value};
use serde_json::json;

use super::print::{self, BOLD, DIM};
use super::{Ended, load, run, world};
use crate::exit::{self, Error, Exit};
use crate::resources::Overrides;

/// Longest passage that is shown.
const SHOWN_CHARS: usize = 240;

/// Search an index
///
/// Shows what `retrieve.bm25`, `retrieve.dense` or `retrieve.hybrid` would find with their default settings, best first.
/// A search by vectors asks the embedder that the index was made with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch search notes \"who was there\"
  anabranch search notes \"who was there\" --by hybrid
  anabranch search notes birthday --top-k 3 --json
  anabranch search clients invoice --namespace acme --filter year=2024 --filter lang=en

A filter looks at the metadata of chunks. `true`, `false` and numbers are taken
as such, and as text in double quotes: --filter 'code=\"007\"'. Given twice, a key
may have either value.

JSON: an array of chunks, best first: {id, doc, text, range: {start, end},
lines: {first, last}, tokens, title, headings, score, meta}")]
pub(crate) struct Args {
    /// Name of the index
    name: String,
    /// What to look for
    query: String,
    /// Part of the index that is searched
    #[arg(long, value_name = "NS", default_value_t = Namespace::default(), hide_default_value = true)]
    namespace: Namespace,
    /// What makes a chunk a good one
    #[arg(long, value_enum, default_value_t = By::Words)]
    by: By,
    /// Most chunks to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    top_k: u16,
    /// Only show chunks whose metadata have this value; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

/// What makes a chunk a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// It has the words of the query, by BM25
    Words,
    /// Its vector is near that of the query
    Vectors,
    /// Both: the places in the two rankings are fused (RRF with k 60, 100 chunks of each)
    Hybrid,
}

impl By {
    /// The operator that searches so.
    fn operator(self) -> &'static str {
        match self {
            Self::Words => "retrieve.bm25",
            Self::Vectors => "retrieve.dense",
            Self::Hybrid => "retrieve.hybrid",
        }
    }
}

pub(crate) async fn run(args: &Args) -> Ended {
    let filter = filter(&args.filter)?;
    let world = world::World::new(&args.world)?;
    let mut resources = world.resources(&Overrides::default(), BTreeMap::new())?;
    let index = world.open(&args.name, &resources).await?;
    if args.by != By::Words {
        if index.encoder.is_none() {
            return Err(Error::usage(format!("index `{}` has no vectors", args.name)).hint(format!(
                "search it by words, or make vectors: `anabranch index PATH --into {} --embedder default` with all of \
                 its paths",
                args.name
            )));
        }
        index.check(&args.namespace).await?;
    }
    let stats =
        index.store.stats(&args.namespace).await.map_err(|error| world::store_error(&error.into()))?;
    if stats.documents == 0 && !args.namespace.is_default() {
        let message = format!("index `{}` has no namespace `{}`", args.name, args.namespace);
        return Err(Error::new(Exit::Invalid, message).hint(format!(
            "make it with `anabranch index PATH --into {} --namespace {}`",
            args.name, args.namespace
        )));
    }
    Arc::make_mut(&mut resources).indexes.insert(args.name.clone(), index.entry());
    let found = search(args, &filter, resources).await?;
    if args.json {
        let chunks: Vec<_> = found.iter().map(|chunk| &**chunk).collect();
        print::json(&chunks)?;
        return Ok(Exit::Ok);
    }
    print::data(&describe(&found))?;
    if found.is_empty() {
        print::remark(&format!("index `{}` has nothing for that", args.name));
    }
    Ok(Exit::Ok)
}

/// Runs a flow of one node: the operator that flows search with, so that both find the same.
async fn search(
    args: &Args,
    filter: &Filter,
    resources: Arc<anabranch_engine::cx::Resources>,
) -> Result<Vec<Arc<Chunk>>, Error> {
    let mut settings = json!({ "index": args.name, "top_k": args.top_k, "filter": filter });
    if !args.namespace.is_default()
        && let Some(settings) = settings.as_object_mut()
    {
        settings.insert("namespace".to_owned(), json!(args.namespace));
    }
    let flow = format!(
        "flow: search\ninputs: {{ query: text }}\nnodes:\n  search:\n    op: {}\n    with: {settings}\n    \
         in: {{ query: inputs.query }}\noutputs: {{ chunks: search.chunks }}\n",
        args.by.operator()
    );
    let registry = anabranch_operators::registry();
    let plan = load::compile_or_complain(&SourceFile::new("(search)", flow), &registry, None)?;
    let inputs: Map = [("query".into(), Value::Text(args.query.as_str().into()))].into_iter().collect();
    let options = Options { id: run::run_id(), ..Options::default() };
    let report = engine::run(Arc::new(plan), inputs, resources, options)
        .await
        .map_err(|error| Error::new(Exit::Failed, exit::chain(&error)))?;
    if let Outcome::Failed(failure) = report.outcome {
        let why = failure.message.clone();
        return Err(Error::new(run::exit_of(failure.kind), why));
    }
    let found = report.outputs.get("chunks").and_then(Value::as_list).unwrap_or_default();
    Ok(found
        .iter()
        .filter_map(|value| match value {
            Value::Chunk(chunk) => Some(chunk.clone()),
            _ => None,
        })
        .collect())
}

fn describe(found: &[Arc<Chunk>]) -> String {
    let mut text = String::new();
    for chunk in found {
        let score = chunk.score.map_or_else(String::new, |score| format!("  {DIM}{:.3}{DIM:#}", score.get()));
        let lines = chunk.lines;
        write!(text, "{BOLD}{}:{}-{}{BOLD:#}{score}", chunk.doc, lines.first, lines.last).ok();
        if !chunk.headings.is_empty() {
            write!(text, "  {DIM}{}{DIM:#}", chunk.headings.join(" > ")).ok();
        }
        let words = chunk.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = words.chars().take(SHOWN_CHARS).collect();
        let more = if shown.len() < words.len() { "…" } else { "" };
        writeln!(text, "\n    {shown}{more}").ok();
    }
    text
}

/// The conditions of `--filter`.
fn filter(given: &[String]) -> Result<Filter, Error> {
    let mut wanted: BTreeMap<String, Vec<Scalar>> = BTreeMap::new();
    for pair in given {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(Error::usage(format!("`--filter {pair}` is no condition"))
                .hint("write a key of the metadata and its value: `--filter year=2024`"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Scalar::from(value));
        wanted.entry(key.trim().to_owned()).or_default().push(value);
    }
    Ok(Filter(wanted.into_iter().map(|(key, values)| (key, Condition::AnyOf(values))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[&str]) -> serde_json::Value {
        let given: Vec<String> = given.iter().map(|pair| (*pair).to_owned()).collect();
        json!(filter(&given).unwrap())
    }

    #[test]
    fn a_filter_is_keys_and_values_and_a_key_given_twice_may_have_either() {
        assert_eq!(
            parsed(&["year=2024", "lang=en", "lang=de", "draft=false", "code=\"007\"", "sum=a=b"]),
            json!({ "year": [2024.0], "lang": ["en", "de"], "draft": [false], "code": ["007"], "sum": ["a=b"] })
        );
        assert_eq!(parsed(&[]), json!({}));
        for wrong in ["year", "=2024", " =3"] {
            assert!(filter(&[wrong.to_owned()]).unwrap_err().message.contains("is no condition"), "{wrong}");
        }
    }
}
