//! `anabranch index`: puts files into an index, or brings it up to date with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anabranch_engine::backend::{IndexStats, Namespace};
use serde_json::json;

use super::print::{self, YELLOW};
use super::{Ended, world};
use crate::catalog;
use crate::config::StoreConfig;
use crate::exit::{Error, Exit};
use crate::indexing::{self, Cutter, Job, Prune, Summary};
use crate::resources::Overrides;

/// Index files and folders, so that flows can search them
///
/// Markdown, text, HTML, source files and `.jsonl` corpora are read. Documents that did not change since the last time
/// are left alone, those whose files have gone are taken out. It can be stopped at any time and run again: what was
/// done is kept.
///
/// Chunks get vectors from the embedder `default`, or from another one of anabranch.yaml; the index remembers which.
/// Without a configuration that is `hashed`, which knows spelling and no meaning.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch index ./notes --into notes
  anabranch run quickstart --set search.with.index=notes -i question=\"Who?\"
  anabranch index src docs --into code --flow flows/index/code.yaml
  anabranch index ./letters --into letters --embedder none
  anabranch index ./acme --into clients --namespace acme

An embedder that fails on 5 documents in a row ends the command with 4. What was
indexed until then is kept; the same command goes on from there.

JSON: {index, namespace, embedder, folder, added, changed, unchanged, removed,
       chunks, documents_total, chunks_total, vectors_total,
       skipped: [{path, why}], failed: [{document, message}], interrupted,
       gave_up, elapsed_ms}
`chunks` counts those of new and changed documents; `embedder` and `folder` are
null for an index without vectors and for one that is kept elsewhere; `gave_up`
says why the embedder ended it, or is null.")]
pub(crate) struct Args {
    /// Files and folders to index; others that are in the index already stay
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name of the index: small letters, digits, `_` and `-`
    #[arg(long, value_name = "NAME")]
    into: String,
    /// Part of the index that is shut off from all others, such as a customer's
    #[arg(long, value_name = "NS", default_value_t = Namespace::default(), hide_default_value = true)]
    namespace: Namespace,
    /// Embedder of the vectors, or `none` for an index without; as before, and `default` for a new index
    #[arg(long, value_name = "NAME")]
    embedder: Option<String>,
    /// Flow that turns a document into chunks, or `none` for the built-in one, which cuts by headings, paragraphs and
    /// sentences; as before, and the built-in one for a new index
    #[arg(long, value_name = "FLOW")]
    flow: Option<PathBuf>,
    /// Name every file that was skipped
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    if !catalog::is_name(&args.into) {
        return Err(Error::usage(format!("`{}` is no name for an index", args.into))
            .hint("a name has small letters, digits, `_` and `-`, and begins with a letter"));
    }
    args.paths.iter().try_for_each(|path| world::must_exist(path))?;
    let begun = Instant::now();
    let world = world::World::new(&args.world)?;
    let config = world.config.indexes.get(&args.into);
    let flow = world.flow_of(&args.into, args.flow.as_deref())?;
    let registry = anabranch_operators::registry();
    let cutter =
        Cutter::load(flow.as_deref(), &registry).map_err(|error| world::failed(&args.into, &error))?;
    let resources = world.resources(&Overrides::default(), BTreeMap::new())?;
    let index = world.open_or_create(&args.into, args.embedder.as_deref(), &resources).await?;
    world.remember(&index, flow.as_deref(), false)?;
    let failed = |error: &indexing::Error| world::failed(&args.into, error).without_secrets(&resources);
    let job = Job {
        index: index.store.clone(),
        namespace: args.namespace.clone(),
        roots: args.paths.clone(),
        prune: Prune::BelowRoots,
        cutter,
        encoder: index.encoder.clone(),
        resources: resources.clone(),
    };
    let cancel = world::cancel_on_interrupt();
    let summary = world::update(&args.into, job, &cancel).await.map_err(|error| failed(&error))?;
    let is_whole = !summary.interrupted && summary.gave_up.is_none();
    if is_whole {
        world.remember(&index, flow.as_deref(), true)?;
    }
    let total =
        index.store.stats(&args.namespace).await.map_err(|error| world::store_error(&error.into()))?;
    if args.json {
        let is_here = config.is_none_or(|config| config.store == StoreConfig::Embedded);
        let folder = is_here.then(|| catalog::folder(&world.config.data, &args.into));
        let skipped: Vec<_> =
            summary.skipped.iter().map(|s| json!({ "path": s.path, "why": s.why.to_string() })).collect();
        let failed: Vec<_> = summary
            .failed
            .iter()
            .map(|(id, why)| json!({ "document": id, "message": why.to_string() }))
            .collect();
        print::json(&json!({
            "index": args.into, "namespace": args.namespace,
            "embedder": index.encoder.as_ref().map(|encoder| &encoder.name), "folder": folder,
            "added": summary.added, "changed": summary.changed, "unchanged": summary.unchanged,
            "removed": summary.removed, "chunks": summary.chunks, "documents_total": total.documents,
            "chunks_total": total.chunks, "vectors_total": total.vectors, "skipped": skipped,
            "failed": failed, "interrupted": summary.interrupted,
            "gave_up": summary.gave_up.as_ref().map(ToString::to_string),
            "elapsed_ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))?;
    } else {
        let mut text = describe(&summary, args.verbose);
        writeln!(text, "{} ({} ms)", holds(args, &index, &total), begun.elapsed().as_millis()).ok();
        if total.documents == 0 && is_whole && summary.failed.is_empty() {
            let paths: Vec<String> = args.paths.iter().map(|path| format!("`{}`", path.display())).collect();
            writeln!(text, "{YELLOW}nothing to read{YELLOW:#} in {}", paths.join(", ")).ok();
        }
        print::data(&text)?;
    }
    if summary.interrupted {
        print::remark("stopped; run the same command again to go on from here");
        return Ok(Exit::Interrupted);
    }
    if summary.gave_up.is_some() || summary.wants_embedder() {
        return Err(world::gave_up(&index, &summary));
    }
    Ok(if summary.failed.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// What the index holds now.
fn holds(args: &Args, index: &world::Opened, total: &IndexStats) -> String {
    let part = match args.namespace.as_str() {
        "" => String::new(),
        namespace => format!(", namespace `{namespace}`,"),
    };
    let vectors = match &index.encoder {
        Some(encoder) => {
            format!("{} of embedder `{}`", print::count_u64(total.vectors, "vector"), encoder.name)
        }
        None => "no vectors".to_owned(),
    };
    format!(
        "index `{}`{part} holds {}, {}, {vectors}",
        args.into,
        print::count_u64(total.documents, "document"),
        print::count_u64(total.chunks, "chunk"),
    )
}

fn describe(summary: &Summary, verbose: bool) -> String {
    let mut text = format!(
        "{} added, {} changed, {} unchanged, {} removed; {} written\n",
        print::count(summary.added, "document"),
        summary.changed,
        summary.unchanged,
        summary.removed,
        print::count(summary.chunks, "chunk")
    );
    if !summary.skipped.is_empty() {
        writeln!(text, "{} skipped:", print::count(summary.skipped.len(), "file")).ok();
        if verbose {
            for skipped in &summary.skipped {
                writeln!(text, "  {}: {}", skipped.path.display(), skipped.why).ok();
            }
        } else {
            let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
            for skipped in &summary.skipped {
                *reasons.entry(skipped.why.to_string()).or_default() += 1;
            }
            let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
            reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            for (why, n) in reasons {
                writeln!(text, "  {n:>5}  {why}").ok();
            }
            text.push_str("  (--verbose names them)\n");
        }
    }
    for (id, why) in &summary.failed {
        writeln!(text, "{YELLOW}failed{YELLOW:#} {id}: {why}").ok();
    }
    text
}
