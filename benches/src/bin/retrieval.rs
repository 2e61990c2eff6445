//! Holds the embedded index's BM25 against the reference figures of the evaluation data, set by set.
//!
//! `retrieval --data FOLDER [--set NAME …] [--json]` indexes each set's corpus as one chunk a document, asks all of
//! its questions, and prints what it found beside what the reference found. It fails if any recall@10 is further
//! than 0.01 from the reference's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anabranch_backends::index::{EmbeddedIndex, Fingerprint};
use anabranch_benches::data::{CorpusLine, Outcome, QueryLine, read_lines};
use anabranch_benches::figures::{Figures, figures_of};
use anabranch_engine::backend::{By, SearchQuery};
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, Metadata, TokenCount};
use serde::{Deserialize, Serialize};

/// The settings that the reference has rows for.
const SYSTEMS: [(&str, f32, f32); 2] = [("bm25_k1.5_b.75", 1.5, 0.75), ("bm25_k.9_b.4", 0.9, 0.4)];
/// How far a recall@10 may be from the reference's.
const TOLERANCE: f64 = 0.01;

#[derive(Deserialize)]
struct ReferenceRow {
    set: String,
    system: String,
    queries: usize,
    #[serde(flatten)]
    figures: Figures,
}

/// What is printed for one set and system.
#[derive(Serialize)]
struct Row {
    set: String,
    system: &'static str,
    docs: usize,
    queries: usize,
    ours: Figures,
    reference: Figures,
    recall_10_difference: f64,
    is_within: bool,
    index_secs: f64,
    query_ms: f64,
}

struct Args {
    data: PathBuf,
    sets: BTreeSet<String>,
    is_json: bool,
}

fn main() -> Outcome<ExitCode> {
    let args = parse_args()?;
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    if !args.is_json {
        writeln!(out, "{:<20} {:<15} {:<10} R@5    R@10   R@20   nDCG   MRR", "set", "system", "")?;
    }
    for (set, references) in read_references(&args)? {
        for row in measure(&args.data, &set, &references)? {
            if args.is_json {
                writeln!(out, "{}", serde_json::to_string(&row)?)?;
            } else {
                print_row(&mut out, &row)?;
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Err("no set has a reference row: check `--data` and `--set`".into());
    }
    let n_within = rows.iter().filter(|row| row.is_within).count();
    let widest = rows.iter().map(|row| row.recall_10_difference.abs()).fold(0.0, f64::max);
    let is_good = n_within == rows.len();
    if args.is_json {
        let summary =
            serde_json::json!({"rows": rows.len(), "within": n_within, "widest": widest, "pass": is_good});
        writeln!(out, "{summary}")?;
    } else {
        let verdict = if is_good { "pass" } else { "FAIL" };
        writeln!(
            out,
            "{verdict}: {n_within} of {} recall@10 within ±{TOLERANCE} of the reference, the widest {widest:.4} away",
            rows.len()
        )?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_args() -> Outcome<Args> {
    let mut parsed = Args { data: PathBuf::from("../shared/data"), sets: BTreeSet::new(), is_json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--data" => parsed.data = value()?.into(),
            "--set" => {
                parsed.sets.insert(value()?);
            }
            "--json" => parsed.is_json = true,
            _ => {
                return Err(format!(
                    "unknown argument `{arg}`; usage: retrieval --data FOLDER [--set NAME]... [--json]"
                )
                .into());
            }
        }
    }
    Ok(parsed)
}

/// The reference's BM25 rows of the sets that were asked for, by set.
fn read_references(args: &Args) -> Outcome<BTreeMap<String, Vec<ReferenceRow>>> {
    let mut by_set: BTreeMap<String, Vec<ReferenceRow>> = BTreeMap::new();
    let path = args.data.join("reference/retrieval.jsonl");
    for line in read_lines::<serde_json::Value>(&path)? {
        // Rows of other kinds have other columns.
        let Ok(row) = serde_json::from_value::<ReferenceRow>(line) else { continue };
        let Some(set) = row.set.rsplit('/').next().map(str::to_owned) else { continue };
        // The reference knows a set that is not handed out.
        if !args.data.join("sets").join(&set).join("corpus.jsonl").exists() {
            continue;
        }
        let is_asked = args.sets.is_empty() || args.sets.contains(&set);
        if is_asked && SYSTEMS.iter().any(|(name, ..)| *name == row.system) {
            by_set.entry(set).or_default().push(row);
        }
    }
    if let Some(unknown) = args.sets.iter().find(|set| !by_set.contains_key(*set)) {
        let known: Vec<_> = by_set.keys().map(String::as_str).collect();
        return Err(
            format!("no reference row for the set `{unknown}` (there are: {})", known.join(", ")).into()
        );
    }
    Ok(by_set)
}

fn measure(data: &Path, set: &str, references: &[ReferenceRow]) -> Outcome<Vec<Row>> {
    let folder = data.join("sets").join(set);
    let mut corpus: Vec<CorpusLine> = read_lines(&folder.join("corpus.jsonl"))?;
    let mut queries: Vec<QueryLine> = read_lines(&folder.join("queries.jsonl"))?;
    // Its 16 articles are long: the reference ranked their paragraphs.
    if set == "squad2_docs" {
        for evidence in queries.iter_mut().flat_map(|query| &mut query.evidence) {
            let article = corpus.iter().find(|line| line.id == evidence.doc);
            let before = article.and_then(|line| line.text.get(..evidence.byte_start?));
            let n_before = before.map_or(0, |text| text.matches(PARAGRAPH_END).count());
            evidence.doc = paragraph_id(&evidence.doc, n_before);
        }
        corpus = corpus.iter().flat_map(paragraphs).collect();
    }
    // The published split of SciFact is its test split; the other sets are one split each.
    let queries: Vec<&QueryLine> = queries
        .iter()
        .filter(|query| !query.evidence.is_empty())
        .filter(|query| set != "scifact" || query.meta.get("split").is_some_and(|split| split == "test"))
        .collect();

    let temporary = tempfile::tempdir()?;
    let started = Instant::now();
    let index = EmbeddedIndex::open_or_create(temporary.path().join("index"))?;
    let mut writer = index.begin()?;
    for line in &corpus {
        let doc = DocumentId(line.id.as_str().into());
        let fingerprint = Fingerprint::new(&blake3_of(&line.text), "one chunk a document");
        writer.replace(&doc, &fingerprint, &[Arc::new(whole_document(&doc, line))])?;
    }
    writer.finish()?;
    let index_secs = started.elapsed().as_secs_f64();

    let mut rows = Vec::new();
    for (system, k1, b) in SYSTEMS {
        let Some(reference) = references.iter().find(|row| row.system == system) else { continue };
        if reference.queries != queries.len() {
            return Err(format!(
                "`{set}` has {} queries, its reference {}",
                queries.len(),
                reference.queries
            )
            .into());
        }
        let started = Instant::now();
        let mut ours = Figures::default();
        for query in &queries {
            let text = question_of(set, query);
            let found = index.search_blocking(&SearchQuery {
                by: By::Words { text, k1, b },
                ..SearchQuery::words("", 20)
            })?;
            let ranked: Vec<&str> = found.iter().map(|chunk| chunk.doc.0.as_ref()).collect();
            let relevant: BTreeSet<&str> =
                query.evidence.iter().map(|evidence| evidence.doc.as_str()).collect();
            ours.add(&figures_of(&ranked, &relevant), 1.0 / queries.len() as f64);
        }
        let recall_10_difference = ours.recall_10 - reference.figures.recall_10;
        rows.push(Row {
            set: set.to_owned(),
            system,
            docs: corpus.len(),
            queries: queries.len(),
            ours,
            reference: reference.figures,
            recall_10_difference,
            // The reference is rounded to four places.
            is_within: recall_10_difference.abs() <= TOLERANCE + 5e-5,
            index_secs,
            query_ms: started.elapsed().as_secs_f64() * 1000.0 / queries.len() as f64,
        });
    }
    Ok(rows)
}

const PARAGRAPH_END: &str = "\n\n";

fn paragraph_id(article: &str, n: usize) -> String {
    format!("{article}/{n:04}")
}

/// The paragraphs of an article, each under its title.
fn paragraphs(article: &CorpusLine) -> impl Iterator<Item = CorpusLine> {
    article.text.split(PARAGRAPH_END).enumerate().map(|(n, text)| CorpusLine {
        id: paragraph_id(&article.id, n),
        title: article.title.clone(),
        text: text.to_owned(),
    })
}

/// What is asked. Of `EntailmentBank` the facts behind an answer are sought, so its queries hold the answer too.
fn question_of(set: &str, query: &QueryLine) -> String {
    let answer = query.answers.first().and_then(serde_json::Value::as_str);
    match answer.filter(|_| set == "entailmentbank_dev") {
        Some(answer) => format!("{} {answer}", query.question),
        None => query.question.clone(),
    }
}

fn blake3_of(text: &str) -> blake3::Hash {
    blake3::hash(text.as_bytes())
}

fn whole_document(doc: &DocumentId, line: &CorpusLine) -> Chunk {
    let range = ByteRange { start: 0, end: line.text.len() as u64 };
    Chunk {
        id: ChunkId::new(doc, range),
        doc: doc.clone(),
        text: line.text.as_str().into(),
        range,
        lines: LineRange { first: 1, last: 1 },
        tokens: TokenCount(0),
        title: line.title.as_deref().map(Into::into),
        headings: Vec::new(),
        score: None,
        meta: Metadata::new(),
    }
}

fn print_row(out: &mut impl std::io::Write, row: &Row) -> std::io::Result<()> {
    let mut line = |label: &str, sign: bool, figures: [f64; 5]| {
        let cells: Vec<String> = figures
            .iter()
            .map(|figure| if sign { format!("{figure:+.3}") } else { format!("{figure:.3} ") })
            .collect();
        let (set, system) = if label == "ours" { (row.set.as_str(), row.system) } else { ("", "") };
        writeln!(out, "{set:<20} {system:<15} {label:<10} {}", cells.join(" "))
    };
    let cells = |f: &Figures| [f.recall_5, f.recall_10, f.recall_20, f.ndcg_10, f.mrr_10];
    let (ours, reference) = (cells(&row.ours), cells(&row.reference));
    line("ours", false, ours)?;
    line("reference", false, reference)?;
    let difference = std::array::from_fn(|n| {
        ours.get(n).copied().unwrap_or_default() - reference.get(n).copied().unwrap_or_default()
    });
    line("difference", true, difference)
}
