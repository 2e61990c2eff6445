//! Holds the embedded index against the reference figures of the evaluation data, set by set: by words, by vectors,
//! and by both.
//!
//! `retrieval --data FOLDER [--minilm FOLDER [--cache FOLDER]] [--set NAME …] [--json]` indexes each set's corpus as
//! one chunk a document, asks all of its questions, and prints what it found beside what the reference found. It fails
//! if any recall@10 is further than 0.01 from the reference's. With `--minilm` (the folder of all-MiniLM-L6-v2, in a
//! build with the feature `local-embeddings`) the rows by vectors and by both are measured too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "local-embeddings")]
use anabranch_backends::index::searched_text;
use anabranch_backends::index::{EmbeddedIndex, Entry, Fingerprint, IndexStore as _, VectorSpace};
use anabranch_benches::Outcome;
use anabranch_benches::figures::{Figures, figures_of};
use anabranch_engine::backend::{By, Index as _, Namespace, SearchQuery, Vector};
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx;
#[cfg(feature = "local-embeddings")]
use anabranch_engine::value::Text;
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, Metadata, TokenCount};
use anabranch_evaluation::set::{CorpusLine, QueryLine, read_lines};
use anabranch_operators::fuse::rrf::{self, Rrf};
use serde::{Deserialize, Serialize};

/// What the reference has rows for.
const SYSTEMS: [(&str, System); 4] = [
    ("bm25_k1.5_b.75", System::Words { k1: 1.5, b: 0.75 }),
    ("bm25_k.9_b.4", System::Words { k1: 0.9, b: 0.4 }),
    ("minilm", System::Vectors),
    ("rrf60_bm25+minilm", System::Both { k1: 1.5, b: 0.75 }),
];
/// How many documents of each ranking the reference fused.
const FUSED: usize = 100;
/// How many documents are looked at.
const TOP_K: usize = 20;
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

/// A way to rank.
#[derive(Clone, Copy)]
enum System {
    Words { k1: f32, b: f32 },
    Vectors,
    Both { k1: f32, b: f32 },
}

/// The vectors of a set, where there is a model.
type Vectors = Option<(Vec<Vector>, Vec<Vector>)>;

struct Args {
    minilm: Option<PathBuf>,
    cache: PathBuf,
    data: PathBuf,
    sets: BTreeSet<String>,
    is_json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<ExitCode> {
    let args = parse_args()?;
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    if !args.is_json {
        writeln!(out, "{:<20} {:<15} {:<10} R@5    R@10   R@20   nDCG   MRR", "set", "system", "")?;
    }
    for (set, references) in read_references(&args)? {
        for row in measure(&args, &set, &references).await? {
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
    let mut parsed = Args {
        minilm: None,
        cache: PathBuf::from("target/minilm"),
        data: PathBuf::from("../shared/data"),
        sets: BTreeSet::new(),
        is_json: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--data" => parsed.data = value()?.into(),
            "--minilm" => parsed.minilm = Some(value()?.into()),
            "--cache" => parsed.cache = value()?.into(),
            "--set" => {
                parsed.sets.insert(value()?);
            }
            "--json" => parsed.is_json = true,
            _ => {
                return Err(format!(
                    "unknown argument `{arg}`; usage: retrieval --data FOLDER [--minilm FOLDER [--cache FOLDER]] [--set NAME]... [--json]"
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
        if is_asked && SYSTEMS.iter().any(|(name, _)| *name == row.system) {
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

/// The best documents for a question, best first.
async fn rank(
    index: &EmbeddedIndex,
    way: System,
    question: &str,
    vector: Option<&Vector>,
) -> Outcome<Vec<Arc<Chunk>>> {
    let words = |k1, b, top_k| {
        let by = By::Words { text: question.to_owned(), k1, b };
        SearchQuery { by, ..SearchQuery::words("", top_k) }
    };
    let near = |top_k| SearchQuery::near(vector.cloned().unwrap_or_default(), top_k);
    Ok(match way {
        System::Words { k1, b } => index.search(&words(k1, b, TOP_K)).await?,
        System::Vectors => index.search(&near(TOP_K)).await?,
        System::Both { k1, b } => {
            let rankings = vec![index.search(&words(k1, b, FUSED)).await?, index.search(&near(FUSED)).await?];
            let fuse = Rrf { top_k: TOP_K, k: 60.0, weights: Vec::new() };
            fuse.run(&cx(), rrf::In { rankings }).await?.chunks
        }
    })
}

#[cfg(feature = "local-embeddings")]
fn vectors(args: &Args, chunks: &[(DocumentId, Arc<Chunk>)], questions: &[String]) -> Outcome<Vectors> {
    let Some(folder) = &args.minilm else { return Ok(None) };
    let model = anabranch_benches::minilm::Minilm::open(folder, &args.cache)?;
    let texts: Vec<Text> = chunks.iter().map(|(_, chunk)| searched_text(chunk).into()).collect();
    let questions: Vec<Text> = questions.iter().map(|question| question.as_str().into()).collect();
    Ok(Some((model.vectors(&texts)?, model.vectors(&questions)?)))
}

#[cfg(not(feature = "local-embeddings"))]
fn vectors(args: &Args, _: &[(DocumentId, Arc<Chunk>)], _: &[String]) -> Outcome<Vectors> {
    match args.minilm {
        Some(_) => Err("`--minilm` needs a build with `--features local-embeddings`".into()),
        None => Ok(None),
    }
}

async fn measure(args: &Args, set: &str, references: &[ReferenceRow]) -> Outcome<Vec<Row>> {
    let folder = args.data.join("sets").join(set);
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

    let chunks: Vec<(DocumentId, Arc<Chunk>)> = corpus
        .iter()
        .map(|line| {
            let doc = DocumentId(line.id.as_str().into());
            let chunk = Arc::new(whole_document(&doc, line));
            (doc, chunk)
        })
        .collect();
    let questions: Vec<String> = queries.iter().map(|query| question_of(set, query)).collect();
    let vectors = vectors(args, &chunks, &questions)?;

    let temporary = tempfile::tempdir()?;
    let started = Instant::now();
    let index = EmbeddedIndex::open_or_create(temporary.path().join("index"))?;
    let space = vectors.as_ref().map(|(texts, _)| VectorSpace {
        identity: "minilm".to_owned(),
        dimensions: texts.first().map_or(0, |vector| u32::try_from(vector.len()).unwrap_or_default()),
    });
    let mut writer = index.writer(&Namespace::default(), space.as_ref()).await?;
    for (n, (doc, chunk)) in chunks.iter().enumerate() {
        let fingerprint = Fingerprint::new(&blake3::hash(chunk.text.as_bytes()), "one chunk a document");
        let vector = vectors.as_ref().and_then(|(texts, _)| texts.get(n).cloned());
        writer.replace(doc, &fingerprint, vec![Entry { chunk: chunk.clone(), vector }]).await?;
    }
    writer.finish().await?;
    let index_secs = started.elapsed().as_secs_f64();

    let mut rows = Vec::new();
    for (system, way) in SYSTEMS {
        let Some(reference) = references.iter().find(|row| row.system == system) else { continue };
        if vectors.is_none() && !matches!(way, System::Words { .. }) {
            continue;
        }
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
        for (n, (query, question)) in queries.iter().zip(&questions).enumerate() {
            let vector = vectors.as_ref().and_then(|(_, questions)| questions.get(n));
            let found = rank(&index, way, question, vector).await?;
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
        meta: article.meta.clone(),
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
