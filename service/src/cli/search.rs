//! `anabranch search`: what an index finds for some words, without a flow.

use std::fmt::Write as _;

use anabranch_engine::backend::{Index as _, SearchQuery};

use super::print::{self, BOLD, DIM};
use super::{Ended, world};
use crate::exit::{Error, Exit};

/// Longest passage that is shown.
const SHOWN_CHARS: usize = 240;

/// Search an index
///
/// Shows what `retrieve.bm25` would find with its default settings, best first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch search notes \"who was there\"
  anabranch search notes birthday --top-k 3 --json

JSON: an array of chunks, best first: {id, doc, text, range: {start, end},
lines: {first, last}, tokens, title, headings, score, meta}")]
pub(crate) struct Args {
    /// Name of the index
    name: String,
    /// Words to look for
    query: String,
    /// Most chunks to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    top_k: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    let index = world::World::new(&args.world)?.open(&args.name)?;
    let query = SearchQuery::words(&args.query, usize::from(args.top_k));
    let found = index
        .search(&query)
        .await
        .map_err(|error| Error::new(Exit::Unavailable, crate::exit::chain(&error)))?;
    if args.json {
        let chunks: Vec<_> = found.iter().map(|chunk| &**chunk).collect();
        print::json(&chunks)?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for chunk in &found {
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
    print::data(&text)?;
    if found.is_empty() {
        print::remark(&format!("index `{}` has nothing for that", args.name));
    }
    Ok(Exit::Ok)
}
