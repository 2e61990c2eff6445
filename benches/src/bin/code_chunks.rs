//! Cuts all source files below some folders with `chunk.code` and counts what is lost: nothing may be.
//!
//! `code_chunks [--limit N] [--json] [FOLDER…]` reads every file that is source code, by default those of all crates in
//! cargo's cache, and counts the characters that are not space in the file and in its chunks. Beside that stands what
//! leaving out leaves above the limit would lose, as the public implementation of the paper does. The program fails if a
//! character is lost or a chunk is longer than the limit.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anabranch_backends::load::Kind;
use anabranch_benches::Outcome;
use anabranch_engine::value::{Document, DocumentId, Metadata};
use anabranch_operators::chunk::code::{Code, Language};
use serde::Serialize;

/// Longest chunk unless `--limit` says otherwise: where the public implementation was measured.
const LIMIT: usize = 400;
/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What was counted in the files of one language. All but `files` and `chunks` are characters that are not space.
#[derive(Debug, Default, Clone, Serialize)]
struct Row {
    files: usize,
    chunks: usize,
    characters: usize,
    lost: usize,
    longest_chunk: usize,
    /// What stands in leaves of the syntax tree above the limit.
    in_long_leaves: usize,
    files_with_long_leaves: usize,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.chunks += other.chunks;
        self.characters += other.characters;
        self.lost += other.lost;
        self.longest_chunk = self.longest_chunk.max(other.longest_chunk);
        self.in_long_leaves += other.in_long_leaves;
        self.files_with_long_leaves += other.files_with_long_leaves;
    }
}

struct Args {
    roots: Vec<PathBuf>,
    limit: usize,
    is_json: bool,
}

fn parse_args() -> Outcome<Args> {
    let mut args = Args { roots: Vec::new(), limit: LIMIT, is_json: false };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        match &*arg {
            "--limit" => args.limit = given.next().ok_or("--limit needs a number")?.parse()?,
            "--json" => args.is_json = true,
            folder => args.roots.push(folder.into()),
        }
    }
    if args.roots.is_empty() {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        args.roots.push(home.ok_or("no home folder; name the folders to read")?.join("registry/src"));
    }
    Ok(args)
}

/// The source files below `folder`; links are not followed.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            sources(&path, found)?;
        } else if kind.is_file() && Kind::of_path(&path) == Some(Kind::Code) {
            found.push(path);
        }
    }
    Ok(())
}

fn size(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// The characters in leaves of more than `limit`.
fn in_long_leaves(language: Language, text: &str, limit: usize) -> usize {
    let Some(tree) = language.parse(text) else { return 0 };
    let mut cursor = tree.walk();
    let mut found = 0;
    loop {
        if !cursor.goto_first_child() {
            let leaf = text.get(cursor.node().byte_range()).map_or(0, size);
            found += if leaf > limit { leaf } else { 0 };
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return found;
                }
            }
        }
    }
}

/// Counts one file; `None` if it is no text.
fn count(path: &Path, limit: usize) -> Option<(Language, Row)> {
    if path.metadata().ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    let name = path.to_string_lossy();
    let language = Language::Auto.of(&name);
    let document = Document {
        id: DocumentId((&*name).into()),
        title: None,
        text: text.as_str().into(),
        kind: "code".into(),
        meta: Metadata::default(),
    };
    let chunks = Code { chunk_size: limit, ..Code::default() }.cut(&document);
    // Chunks are in order and do not overlap, so that what they cover is a sum.
    let mut row = Row { files: 1, chunks: chunks.len(), characters: size(&text), ..Row::default() };
    let (mut kept, mut end) = (0, 0);
    for chunk in &chunks {
        let from = usize::try_from(chunk.range.start).ok()?;
        let until = usize::try_from(chunk.range.end).ok()?;
        let is_exact = from >= end && text.get(from..until) == Some(&*chunk.text);
        let here = size(&chunk.text);
        kept += if is_exact { here } else { 0 };
        end = until;
        row.longest_chunk = row.longest_chunk.max(here);
    }
    row.lost = row.characters - kept;
    row.in_long_leaves = in_long_leaves(language, &text, limit);
    row.files_with_long_leaves = usize::from(row.in_long_leaves > 0);
    Some((language, row))
}

fn main() -> Outcome<ExitCode> {
    let args = parse_args()?;
    let mut files = Vec::new();
    for root in &args.roots {
        sources(root, &mut files)?;
    }
    files.sort();
    let begun = Instant::now();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<Language, Row>::new()));
    let not_text = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match count(path, args.limit) {
                        Some((language, row)) => {
                            let mut rows = rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            rows.entry(language).or_default().add(&row);
                        }
                        None => {
                            not_text.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(&args, &rows, not_text.into_inner(), begun.elapsed().as_secs_f64())
}

fn report(args: &Args, rows: &BTreeMap<Language, Row>, not_text: usize, secs: f64) -> Outcome<ExitCode> {
    let mut all = Row::default();
    for row in rows.values() {
        all.add(row);
    }
    let is_good = all.lost == 0 && all.longest_chunk <= args.limit && all.files > 0;
    let mut out = std::io::stdout().lock();
    if args.is_json {
        let named: BTreeMap<&str, &Row> = rows.iter().map(|(language, row)| (language.name(), row)).collect();
        let report = serde_json::json!({
            "limit": args.limit, "languages": named, "all": all, "not_text": not_text, "secs": secs, "pass": is_good,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "language    files   chunks    characters   lost  longest  in leaves above {}",
            args.limit
        )?;
        for (name, row) in rows.iter().map(|(language, row)| (language.name(), row)).chain([("all", &all)]) {
            let share = 100.0 * row.in_long_leaves as f64 / row.characters.max(1) as f64;
            writeln!(
                out,
                "{name:<11} {:<7} {:<9} {:<12} {:<5} {:<8} {} ({share:.1} %) in {} files",
                row.files,
                row.chunks,
                row.characters,
                row.lost,
                row.longest_chunk,
                row.in_long_leaves,
                row.files_with_long_leaves
            )?;
        }
        writeln!(out, "{not_text} files are not UTF-8 or above 64 MiB; {secs:.0} s")?;
        let verdict = if is_good { "pass" } else { "FAIL" };
        writeln!(out, "{verdict}: no character is lost, and no chunk is longer than {}", args.limit)?;
        writeln!(
            out,
            "specification: nothing lost; the public implementation leaves out leaves above the limit, 12.6 % of \
             Python's library at 400"
        )?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
