//! Everything that an evaluation needs before the first question: the questions, the flow in each of its variants, the
//! set's index, the places for the results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::IndexStore;
use anabranch_engine::budget::Budget;
use anabranch_engine::cx::Resources;
use anabranch_engine::operator::{Names, Registry};
use anabranch_engine::plan::Plan;
use anabranch_engine::value::{Map, Text};
use anabranch_evaluation::set::{self, QueryLine};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::{Args, bar, results_error, set_error, sweep};
use crate::cli::world::World;
use crate::cli::{load, print, run, world};
use crate::config::{EmbedderChoice, IndexConfig};
use crate::eval::corpus::{self, Corpus};
use crate::eval::figures::{Judge, Right};
use crate::eval::inputs::Inputs;
use crate::eval::looked::{LeftOut, Looked, Wanted};
use crate::eval::results::{Head, Results, Settings, file_name};
use crate::eval::runner::{Asking, ChunksOf};
use crate::exit::{self, Error, Exit};
use crate::indexes::Opened;
use crate::indexing::{self, Cutter, Encoder};
use crate::overrides;
use crate::resources::Overrides;

/// What several right answers are to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Answers {
    /// Alternatives: the nearest counts
    #[default]
    Any,
    /// Parts: all of them, one after the other, are the answer
    All,
}

/// An evaluation that can begin.
pub(super) struct Prepared {
    /// The flow's name.
    pub(super) flow: String,
    pub(super) variants: Vec<Variant>,
    /// Of each variant its name, its settings and its file.
    pub(super) told: Vec<(String, Vec<String>, PathBuf)>,
    pub(super) left_out: Vec<LeftOut>,
    /// The folder of the results.
    pub(super) out: PathBuf,
}

/// A variant that can be asked.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) asking: Arc<Asking>,
    pub(super) results: Results,
}

/// A variant of the flow, before there is an index.
struct Compiled {
    name: String,
    settings: Vec<String>,
    plan: Arc<Plan>,
    looked: Looked,
    inputs: Inputs,
}

/// The questions to ask, each with the bytes of its evidence.
pub(super) fn queries(folder: &Path, limit: Option<u32>) -> Result<Vec<QueryLine>, Error> {
    world::must_exist(folder)?;
    let mut queries = set::queries(folder).map_err(|error| set_error(&error))?;
    if let Some(limit) = limit {
        queries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    // A flow that searches nothing can be asked without a corpus.
    if folder.join(set::CORPUS).exists() {
        set::locate(folder, &mut queries).map_err(|error| set_error(&error))?;
    }
    Ok(queries)
}

/// Gets everything ready; `None` if it was stopped while indexing.
pub(super) async fn prepare(
    args: &Args,
    world: &World,
    queries: &[QueryLine],
    cancel: &CancellationToken,
) -> Result<Option<Prepared>, Error> {
    let registry = anabranch_operators::registry();
    let budget = run::budget(&args.budget)?;
    let compiled = compile(args, world, &registry, queries)?;
    let Some(first) = compiled.first() else { return Err(Error::usage("there is nothing to evaluate")) };
    let (flow, mut left_out) = (first.plan.name.to_string(), first.looked.left_out.clone());
    left_out.extend(missing_gold(queries));
    let models = Overrides {
        model_url: args.model_url.clone(),
        record: args.record.clone(),
        replay: args.replay.clone(),
    };
    let mut resources = world.resources(&models, BTreeMap::new())?;
    let names: Vec<Text> = compiled.iter().flat_map(|variant| variant.plan.indexes.clone()).collect();
    let corpus = match names.first() {
        Some(name) => Some(corpus_of(args, world, name, &registry, &resources)?),
        None => None,
    };
    let judge = judge(args);
    let mut settings = settings(args, world, queries, &budget)?;
    settings.insert("index".to_owned(), json!(corpus.as_ref().map(|corpus| &corpus.key)));
    settings.insert("at".to_owned(), json!(judge.at));
    settings.insert("answers".to_owned(), json!(judge.right));
    let out = out(args, world, first, &settings);
    // All of them before the first question: what is wrong is told at once.
    let mut opened = Vec::new();
    for variant in &compiled {
        let results = Results::open(&out.join(file_name(&variant.settings)), head(variant, &settings));
        opened.push(results.map_err(|error| results_error(&error))?);
    }
    let index = match corpus {
        Some(corpus) => match index(args, corpus, &resources, cancel).await? {
            Some(index) => Some(index),
            None => return Ok(None),
        },
        None => None,
    };
    if let Some(index) = &index {
        let entries = names.iter().map(|name| (name.to_string(), index.entry()));
        Arc::make_mut(&mut resources).indexes = entries.collect();
    }
    let store = index.map(|index| index.store);
    let told = compiled
        .iter()
        .zip(&opened)
        .map(|(variant, results)| (variant.name.clone(), variant.settings.clone(), results.path().to_owned()))
        .collect();
    let asked = Asked { args, world, resources, judge, store, budget };
    let variants =
        compiled.into_iter().zip(opened).map(|(variant, results)| asked.variant(variant, results)).collect();
    Ok(Some(Prepared { flow, variants, told, left_out, out }))
}

/// What all variants share.
struct Asked<'a> {
    args: &'a Args,
    world: &'a World,
    resources: Arc<Resources>,
    judge: Judge,
    store: Option<Arc<dyn IndexStore>>,
    budget: Budget,
}

impl Asked<'_> {
    fn variant(&self, variant: Compiled, results: Results) -> Variant {
        let judge = Judge {
            answers: variant.looked.answer.is_some(),
            chunks: variant.looked.chunks.is_some(),
            citations: variant.looked.sees_citations(),
            ..self.judge.clone()
        };
        let asking = Asking {
            plan: variant.plan,
            resources: self.resources.clone(),
            inputs: variant.inputs,
            looked: variant.looked,
            judge,
            index: self.store.clone(),
            seed: self.args.seed,
            budget: self.budget,
            run_concurrency: self.world.config.limits.concurrency,
            run_id: run::run_id,
            chunks: ChunksOf::default(),
        };
        Variant { name: variant.name, asking: Arc::new(asking), results }
    }
}

fn judge(args: &Args) -> Judge {
    let mut at: Vec<usize> = args.at.iter().map(|k| usize::from(*k)).collect();
    at.sort_unstable();
    at.dedup();
    let right = match args.answers {
        Answers::Any => Right::Any,
        Answers::All => Right::All,
    };
    // What of it there is, each variant knows.
    Judge { at, right, answers: false, chunks: false, citations: false }
}

/// The flow in each of its variants; what is wrong with any of them is told before anything is done.
fn compile(
    args: &Args,
    world: &World,
    registry: &Registry,
    queries: &[QueryLine],
) -> Result<Vec<Compiled>, Error> {
    let file = overrides::apply(&load::read(&load::find(&args.flow)?)?, &args.set)?;
    let wanted = Wanted { answer: args.answer.clone(), chunks: args.chunks.clone() };
    let mut compiled = Vec::new();
    for settings in sweep::variants(&args.sweep)? {
        let file = overrides::apply(&file, &settings)?;
        let mut names = world.names();
        if let Ok((plan, _)) = load::compile(&file, registry, None) {
            // The set's corpus is whatever index the flow names.
            names.indexes.extend(plan.indexes.iter().map(ToString::to_string));
        }
        let plan = plan_of(&file, registry, &names, compiled.is_empty())?;
        let looked = Looked::new(&plan, &wanted)
            .map_err(|wrong| Error::usage(wrong.message).maybe_hint(wrong.hint))?;
        let constants = constants(&plan, &args.input)?;
        let inputs = Inputs::new(&plan, constants, queries).map_err(|missing| {
            let hint = format!("give it with `-i {}=VALUE`", missing.input);
            Error::usage(missing.to_string()).hint(hint)
        })?;
        let name = if settings.is_empty() { plan.name.to_string() } else { settings.join(", ") };
        compiled.push(Compiled { name, settings, plan: Arc::new(plan), looked, inputs });
    }
    Ok(compiled)
}

fn plan_of(
    file: &Arc<anabranch_engine::diagnostic::SourceFile>,
    registry: &Registry,
    names: &Names,
    is_first: bool,
) -> Result<Plan, Error> {
    // Warnings of one variant are those of all.
    match load::compile(file, registry, Some(names)) {
        Ok((plan, _)) if !is_first => Ok(plan),
        _ => load::compile_or_complain(file, registry, Some(names)),
    }
}

/// The inputs of `-i`, typed by the flow.
fn constants(plan: &Plan, given: &[String]) -> Result<Map, Error> {
    let mut constants = Map::new();
    for argument in given {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Error::usage(format!("`-i {argument}` has no `=`; write `-i name=value`")));
        };
        let Some(input) = plan.root.inputs.iter().find(|input| *input.port.name == *name) else {
            let known = plan.root.inputs.iter().map(|input| &*input.port.name);
            let hint = anabranch_engine::diagnostic::suggest(name, known, "its inputs are");
            return Err(Error::usage(format!("flow `{}` has no input `{name}`", plan.name)).maybe_hint(hint));
        };
        let value = run::read_words(value.to_owned(), &input.port.ty)
            .map_err(|problem| Error::usage(format!("`{name}`: {problem}")))?;
        constants.insert(name.into(), value);
    }
    Ok(constants)
}

/// Figures that the questions do not allow.
fn missing_gold(queries: &[QueryLine]) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    let mut leave_out = |is_there: bool, figures: &str, why: &str| {
        if !is_there {
            left_out.push(LeftOut { figures: figures.to_owned(), why: why.to_owned() });
        }
    };
    let evidence = || queries.iter().flat_map(|query| &query.evidence);
    let has_answers = queries.iter().any(|query| !query.answers.is_empty());
    leave_out(has_answers, "figures of answers", "no question has `answers`");
    leave_out(
        evidence().next().is_some(),
        "figures of documents, chunks and citations",
        "no question has `evidence`",
    );
    if evidence().next().is_some() {
        let has_ranges = evidence().any(|evidence| evidence.bytes().is_some());
        leave_out(has_ranges, "figures of chunks", "no evidence says where in its document it is");
    }
    left_out
}

/// The corpus, indexed as the configuration says of the index `name`, or the command line.
fn corpus_of(
    args: &Args,
    world: &World,
    name: &str,
    registry: &Registry,
    resources: &Resources,
) -> Result<Corpus, Error> {
    let declared: Option<&IndexConfig> = world.config.indexes.get(name);
    let flow = args.index_flow.as_deref().or_else(|| declared?.flow.as_deref());
    let cutter = Cutter::load(flow, registry).map_err(|error| world::failed(name, &error))?;
    let embedder = match &args.embedder {
        Some(given) => EmbedderChoice::parse(given).name(),
        None => {
            declared.map_or_else(|| EmbedderChoice::default().name(), |declared| declared.embedder.name())
        }
    };
    let encoder: Option<Encoder> =
        embedder.map(|embedder| world::encoder(name, embedder, resources)).transpose()?;
    Corpus::new(&args.data, &world.config.data, cutter, encoder).map_err(|error| corpus_error(&error))
}

/// The index of the corpus; `None` if it was stopped.
async fn index(
    args: &Args,
    corpus: Corpus,
    resources: &Arc<Resources>,
    cancel: &CancellationToken,
) -> Result<Option<Opened>, Error> {
    let bar = bar::Documents::new(&args.data.display().to_string());
    let opened = corpus.index(resources, cancel, &|done, total| bar.at(done, total)).await;
    bar.end();
    opened.map_err(|error| corpus_error(&error))
}

fn corpus_error(error: &corpus::Error) -> Error {
    match error {
        corpus::Error::Set(error) => set_error(error),
        corpus::Error::Io { .. } => set_error_io(error),
        corpus::Error::Open(_) => Error::new(Exit::Unavailable, exit::chain(error)),
        corpus::Error::Indexing(error) => world::failed("corpus", error),
        corpus::Error::Documents { why: indexing::Failure::Embedding(_), .. } => {
            Error::new(Exit::Unavailable, exit::chain(error))
                .hint("what was indexed is kept; `--embedder none` does without vectors")
        }
        corpus::Error::Documents { .. } => Error::new(Exit::Failed, exit::chain(error)),
    }
}

fn set_error_io(error: &corpus::Error) -> Error {
    Error::usage(exit::chain(error))
}

/// Everything beside the variant that makes the results what they are.
fn settings(args: &Args, world: &World, queries: &[QueryLine], budget: &Budget) -> Result<Settings, Error> {
    let path = args.data.join(set::QUERIES);
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Error::caused(Exit::Usage, format!("cannot read `{}`", path.display()), &error))
    };
    let fingerprint = |bytes: &[u8]| blake3::hash(bytes).to_hex().chars().take(16).collect::<String>();
    // Addresses may hold what nobody else should read.
    let config = &world.config;
    let mut models =
        format!("{:?} {:?} {:?} {:?}", config.models, config.embedders, config.rerankers, config.prices);
    models.push_str(args.model_url.as_deref().unwrap_or_default());
    if let Some(tape) = &args.replay {
        models.push_str(&fingerprint(&read(tape)?));
    }
    if queries.is_empty() {
        return Err(Error::usage(format!("`{}` has no questions", path.display())));
    }
    let settings: [(&str, Json); 8] = [
        ("program", json!(env!("CARGO_PKG_VERSION"))),
        ("questions", json!(fingerprint(&read(&path)?))),
        ("models", json!(fingerprint(models.as_bytes()))),
        ("inputs", json!(args.input)),
        ("seed", json!(args.seed)),
        ("budget", json!(budget)),
        ("answer", json!(args.answer)),
        ("chunks", json!(args.chunks)),
    ];
    Ok(settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn head(variant: &Compiled, settings: &Settings) -> Head {
    let mut all: Settings = IndexMap::from([("flow_hash".to_owned(), json!(variant.plan.hash))]);
    all.extend(settings.clone());
    Head::new(&variant.plan.name, variant.settings.clone(), all)
}

/// The folder of the results: the one that is given, or one that this evaluation alone has.
fn out(args: &Args, world: &World, first: &Compiled, settings: &Settings) -> PathBuf {
    if let Some(out) = &args.out {
        return out.clone();
    }
    let set = args.data.canonicalize().unwrap_or_else(|_| args.data.clone());
    let set = set.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let what = json!([first.plan.hash, args.set, settings]).to_string();
    let hash = blake3::hash(what.as_bytes()).to_hex();
    let name = format!("{}-{set}-{}", first.plan.name, hash.get(..8).unwrap_or_default());
    let out = world.config.data.join("evals").join(name);
    print::remark(&format!("results in {}", out.display()));
    out
}
