//! `anabranch index`: puts files into an index, or brings it up to date with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anabranch_backends::index::EmbeddedIndex;
use serde_json::json;

use super::print::{self, YELLOW};
use super::{Ended, world};
use crate::exit::{Error, Exit};
use crate::indexing::{self, Cutter, Prune, Summary};
use crate::resources::Overrides;

/// Index files and folders, so that flows can search them
///
/// Markdown, text, HTML, source files and `.jsonl` corpora are read. Documents that did not change since the last time
/// are left alone, those whose files have gone are taken out. It can be stopped at any time and run again: what was
/// done is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch index ./notes --into notes
  anabranch run quickstart --set search.with.index=notes -i question=\"Who?\"
  anabranch index src docs --into code --flow flows/index.yaml

JSON: {index, folder, added, changed, unchanged, removed, chunks,
       documents_total, chunks_total, skipped: [{path, why}],
       failed: [{document, message}], interrupted, elapsed_ms}
`chunks` counts those of new and changed documents.")]
pub(crate) struct Args {
    /// Files and folders to index; others that are in the index already stay
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name of the index: small letters, digits, `_` and `-`
    #[arg(long, value_name = "NAME")]
    into: String,
    /// Flow that turns a document into chunks; the built-in one cuts by headings, paragraphs and sentences
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
    if !indexing::is_name(&args.into) {
        return Err(Error::usage(format!("`{}` is no name for an index", args.into))
            .hint("a name has small letters, digits, `_` and `-`, and begins with a letter"));
    }
    args.paths.iter().try_for_each(|path| world::must_exist(path))?;
    let begun = Instant::now();
    let world = world::World::new(&args.world)?;
    let registry = anabranch_operators::registry();
    let cutter = Cutter::load(args.flow.as_deref(), &registry).map_err(|error| world::failed(&error))?;
    let resources = world.resources(&Overrides::default(), BTreeMap::new())?;
    let folder = world.index_folder(&args.into);
    let index = EmbeddedIndex::open_or_create(&folder).map_err(|error| world::index_error(&error))?;
    let cancel = world::cancel_on_interrupt();
    let summary =
        world::update(&args.into, &index, &args.paths, Prune::BelowRoots, &cutter, &resources, &cancel)
            .await
            .map_err(|error| world::failed(&error))?;
    let total = index.stats_blocking().map_err(|error| world::index_error(&error))?;
    if args.json {
        let skipped: Vec<_> =
            summary.skipped.iter().map(|s| json!({ "path": s.path, "why": s.why.to_string() })).collect();
        let failed: Vec<_> =
            summary.failed.iter().map(|(id, why)| json!({ "document": id, "message": why })).collect();
        print::json(&json!({
            "index": args.into, "folder": folder, "added": summary.added, "changed": summary.changed,
            "unchanged": summary.unchanged, "removed": summary.removed, "chunks": summary.chunks,
            "documents_total": total.documents, "chunks_total": total.chunks, "skipped": skipped,
            "failed": failed, "interrupted": summary.interrupted,
            "elapsed_ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))?;
    } else {
        let mut text = describe(&summary, args.verbose);
        writeln!(
            text,
            "index `{}` holds {} documents, {} chunks ({} ms)",
            args.into,
            total.documents,
            total.chunks,
            begun.elapsed().as_millis()
        )
        .ok();
        if total.documents == 0 && !summary.interrupted {
            let paths: Vec<String> = args.paths.iter().map(|path| format!("`{}`", path.display())).collect();
            writeln!(text, "{YELLOW}nothing to read{YELLOW:#} in {}", paths.join(", ")).ok();
        }
        print::data(&text)?;
    }
    Ok(if summary.interrupted {
        print::remark("stopped; run the same command again to go on from here");
        Exit::Interrupted
    } else if summary.failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
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
