//! Holds the embedded index against tantivy alone and a plain scan of vectors, in one run.
//!
//! `cargo run --release -p anabranch-benches --bin index -- [--chunks N] [--queries N] [--rounds N] [--seed N]`
//! makes up chunks, indexes them, and prints one JSON object: time, memory and size of the index, latencies of the
//! searches beside those of the baselines (percentiles are medians of the rounds; the systems take turns, question by
//! question), the ratios, and whether they meet the goals. It fails if one does not.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_backends::index::embedded::Limits;
use anabranch_backends::index::{EmbeddedIndex, Entry, Fingerprint, VectorSpace};
use anabranch_benches::Outcome;
use anabranch_engine::backend::{Namespace, SearchQuery};
use anabranch_engine::value::{ByteRange, Chunk, ChunkId, DocumentId, LineRange, Metadata, TokenCount};
use anabranch_evaluation::statistics::percentile;
use serde_json::{Value as Json, json};

#[path = "index/baseline.rs"]
mod baseline;
#[path = "index/corpus.rs"]
mod corpus;

use baseline::{Raw, scan};
use corpus::{CHUNKS_PER_DOCUMENT, Corpus, DIMENSIONS, Question};

/// Least speed of BM25, as a share of tantivy's.
const WORDS_SPEED_MIN: f64 = 0.8;
/// Longest dense search, in scans.
const DENSE_TIME_MAX: f64 = 1.3;
/// How many chunks are asked for, and of each of the two searches that a hybrid one fuses.
const TOP_K: usize = 10;
const FUSED: usize = 20;

struct Args {
    chunks: usize,
    queries: usize,
    rounds: usize,
    seed: u64,
}

fn main() -> Outcome<ExitCode> {
    let args = parse_args()?;
    let corpus = Corpus::new(args.seed);
    let folder = tempfile::tempdir()?;

    let path = folder.path().join("ours");
    let (index, index_secs) = build(&path, &corpus, args.chunks)?;
    let indexing = json!({
        "secs": rounded(index_secs),
        "chunks_per_sec": rounded(args.chunks as f64 / index_secs),
        "peak_rss_mb": status_mb("VmHWM:")?,
        "disk_mb": rounded(size_of(&path)? as f64 / 1e6),
        "disk_vectors_mb": rounded(size_of(&path.join("vectors"))? as f64 / 1e6),
    });
    let opened = Instant::now();
    EmbeddedIndex::open_or_create(&path)?;
    let open_ms = opened.elapsed().as_secs_f64() * 1e3;

    let raw = Raw::build(&folder.path().join("raw"), &corpus, args.chunks)?;
    let vectors: Vec<f32> = (0..args.chunks).flat_map(|n| corpus.chunk(n).vector).collect();
    let questions: Vec<Question> = (0..args.queries).map(|n| corpus.question(n, args.chunks)).collect();
    let agreement = agreement(&index, &raw, &vectors, &questions)?;

    let mut rounds = Rounds::default();
    for _ in 0..args.rounds {
        let mut round: [Vec<Duration>; SYSTEMS.len()] = Default::default();
        for question in &questions {
            for (system, times) in SYSTEMS.iter().zip(&mut round) {
                let started = Instant::now();
                system.ask(&index, &raw, &vectors, question)?;
                times.push(started.elapsed());
            }
        }
        rounds.add(round);
    }

    let words = rounds.least_ratio(System::Raw, System::Words);
    let dense = 1.0 / rounds.least_ratio(System::Scan, System::Dense);
    let is_good = words >= WORDS_SPEED_MIN && dense <= DENSE_TIME_MAX;
    let report = json!({
        "chunks": args.chunks, "queries": args.queries, "rounds": args.rounds, "seed": args.seed,
        "indexing": indexing,
        "open_ms": rounded(open_ms),
        "raw_segments": raw.n_segments(),
        "latency_ms": rounds.report(),
        "agreement": agreement,
        "bm25_speed_of_raw": {
            "is": rounded(words), "goal": WORDS_SPEED_MIN, "pass": words >= WORDS_SPEED_MIN
        },
        "dense_time_of_scan": { "is": rounded(dense), "goal": DENSE_TIME_MAX, "pass": dense <= DENSE_TIME_MAX },
        "pass": is_good,
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_args() -> Outcome<Args> {
    let mut parsed = Args { chunks: 100_000, queries: 300, rounds: 5, seed: 20_260_101 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("`{arg}` needs a value"))?;
        match arg.as_str() {
            "--chunks" => parsed.chunks = value.parse()?,
            "--queries" => parsed.queries = value.parse()?,
            "--rounds" => parsed.rounds = value.parse()?,
            "--seed" => parsed.seed = value.parse()?,
            _ => {
                return Err(format!(
                    "unknown argument `{arg}`; usage: index [--chunks N] [--queries N] [--rounds N] [--seed N]"
                )
                .into());
            }
        }
    }
    if parsed.chunks == 0 || parsed.queries == 0 || parsed.rounds == 0 {
        return Err("`--chunks`, `--queries` and `--rounds` must be more than 0".into());
    }
    Ok(parsed)
}

/// Indexes the corpus; what the making of chunks takes does not count.
fn build(path: &Path, corpus: &Corpus, n_chunks: usize) -> Outcome<(EmbeddedIndex, f64)> {
    let space = VectorSpace { identity: "bench".into(), dimensions: u32::try_from(DIMENSIONS)? };
    let mut spent = Duration::ZERO;
    let started = Instant::now();
    let index = EmbeddedIndex::open_or_create(path)?;
    let mut writer = index.begin_in(&Namespace::default(), Some(&space), Limits::default())?;
    spent += started.elapsed();
    for first in (0..n_chunks).step_by(CHUNKS_PER_DOCUMENT) {
        let doc = DocumentId(format!("doc/{first:07}.md").into());
        let mut start = 0;
        let mut entries = Vec::new();
        for n in first..(first + CHUNKS_PER_DOCUMENT).min(n_chunks) {
            let made = corpus.chunk(n);
            let range = ByteRange { start, end: start + made.text.len() as u64 };
            start = range.end + 1;
            let chunk = Chunk {
                id: ChunkId::new(&doc, range),
                doc: doc.clone(),
                text: made.text.into(),
                range,
                lines: LineRange { first: 1, last: 1 },
                tokens: TokenCount(0),
                title: None,
                headings: Vec::new(),
                score: None,
                meta: Metadata::from([("topic".to_owned(), made.topic.into())]),
            };
            entries.push(Entry { chunk: Arc::new(chunk), vector: Some(made.vector.into()) });
        }
        let fingerprint = Fingerprint::new(&blake3::hash(doc.0.as_bytes()), "bench");
        let started = Instant::now();
        writer.replace_entries(&doc, &fingerprint, &entries)?;
        spent += started.elapsed();
    }
    let started = Instant::now();
    writer.finish()?;
    spent += started.elapsed();
    Ok((index, spent.as_secs_f64()))
}

/// Who is asked.
#[derive(Clone, Copy, PartialEq)]
enum System {
    Raw,
    Words,
    Scan,
    Dense,
    Hybrid,
}

const SYSTEMS: [System; 5] = [System::Raw, System::Words, System::Scan, System::Dense, System::Hybrid];

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw_tantivy",
            Self::Words => "bm25",
            Self::Scan => "plain_scan",
            Self::Dense => "dense",
            Self::Hybrid => "hybrid",
        }
    }

    fn ask(self, index: &EmbeddedIndex, raw: &Raw, vectors: &[f32], question: &Question) -> Outcome<()> {
        match self {
            Self::Raw => {
                std::hint::black_box(raw.search(&question.text)?);
            }
            Self::Words => {
                std::hint::black_box(index.search_blocking(&by_words(question, TOP_K))?);
            }
            Self::Scan => {
                std::hint::black_box(scan(vectors, &question.vector));
            }
            Self::Dense => {
                std::hint::black_box(index.search_blocking(&by_vector(question, TOP_K))?);
            }
            Self::Hybrid => {
                std::hint::black_box(hybrid(index, question)?);
            }
        }
        Ok(())
    }
}

fn by_words(question: &Question, top_k: usize) -> SearchQuery {
    SearchQuery::words(question.text.as_str(), top_k)
}

fn by_vector(question: &Question, top_k: usize) -> SearchQuery {
    SearchQuery::near(question.vector.as_slice().into(), top_k)
}

/// Two searches, fused by the ranks in both.
fn hybrid(index: &EmbeddedIndex, question: &Question) -> Outcome<Vec<Arc<Chunk>>> {
    let mut fused: HashMap<ChunkId, (f64, Arc<Chunk>)> = HashMap::new();
    for query in [by_words(question, FUSED), by_vector(question, FUSED)] {
        for (rank, chunk) in index.search_blocking(&query)?.into_iter().enumerate() {
            let (score, _) = fused.entry(chunk.id.clone()).or_insert((0.0, chunk));
            *score += 1.0 / (61.0 + rank as f64);
        }
    }
    let mut ranked: Vec<_> = fused.into_values().collect();
    ranked.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.id.cmp(&right.id)));
    Ok(ranked.into_iter().take(TOP_K).map(|(_, chunk)| chunk).collect())
}

/// Which share of what the baselines find the index finds too: that the figures compare the same work.
fn agreement(index: &EmbeddedIndex, raw: &Raw, vectors: &[f32], questions: &[Question]) -> Outcome<Json> {
    let (mut same_words, mut same_vectors, mut n_words, mut n_vectors) = (0, 0, 0, 0);
    for question in questions {
        let found = index.search_blocking(&by_words(question, TOP_K))?;
        let expected = raw.search(&question.text)?;
        n_words += expected.len();
        same_words += expected.iter().filter(|text| found.iter().any(|c| *c.text == ***text)).count();
        let found = index.search_blocking(&by_vector(question, TOP_K))?;
        let expected = scan(vectors, &question.vector);
        n_vectors += expected.len();
        let number = |chunk: &Chunk| -> Option<usize> {
            let first: usize = chunk.doc.0.get(4..11)?.parse().ok()?;
            let chunks = index.chunks_of_blocking(&chunk.doc).ok()?;
            Some(first + chunks.iter().position(|other| other.range == chunk.range)?)
        };
        let found: Vec<_> = found.iter().filter_map(|chunk| number(chunk)).collect();
        same_vectors += expected.iter().filter(|n| found.contains(n)).count();
    }
    Ok(json!({
        "bm25_with_raw": rounded(f64::from(u32::try_from(same_words)?) / n_words.max(1) as f64),
        "dense_with_scan": rounded(f64::from(u32::try_from(same_vectors)?) / n_vectors.max(1) as f64),
    }))
}

/// What the rounds took: for each system, the p50, p99 and mean of each round, in milliseconds.
#[derive(Default)]
struct Rounds(Vec<[[f64; 3]; SYSTEMS.len()]>);

const COLUMNS: [&str; 3] = ["p50", "p99", "mean"];

impl Rounds {
    fn add(&mut self, round: [Vec<Duration>; SYSTEMS.len()]) {
        self.0.push(round.map(|times| {
            let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
            let mean = ms.iter().sum::<f64>() / ms.len() as f64;
            [at(&ms, 0.5), at(&ms, 0.99), mean]
        }));
    }

    /// The median of the rounds.
    fn of(&self, system: System, column: usize) -> f64 {
        let position = SYSTEMS.iter().position(|other| *other == system).unwrap_or_default();
        let rounds: Vec<f64> = self
            .0
            .iter()
            .filter_map(|round| round.get(position).and_then(|columns| columns.get(column)).copied())
            .collect();
        at(&rounds, 0.5)
    }

    /// How many times as fast the second is, by the median and by the mean: the lesser of the two.
    fn least_ratio(&self, baseline: System, ours: System) -> f64 {
        let ratio = |column| self.of(baseline, column) / self.of(ours, column);
        ratio(0).min(ratio(2))
    }

    fn report(&self) -> Json {
        let row = |system: System| -> Json {
            let cells = COLUMNS.iter().enumerate();
            cells
                .map(|(n, name)| ((*name).to_owned(), rounded(self.of(system, n)).into()))
                .collect::<Map>()
                .into()
        };
        SYSTEMS.iter().map(|system| (system.name().to_owned(), row(*system))).collect::<Map>().into()
    }
}

type Map = serde_json::Map<String, Json>;

/// The value that this share of all does not exceed; 0 of nothing.
fn at(values: &[f64], share: f64) -> f64 {
    percentile(values, share).unwrap_or_default()
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// A line of what the system says about this process, in megabytes.
fn status_mb(line: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)).ok_or(format!("no line `{line}`"))?;
    let kib: f64 = found.trim().trim_end_matches("kB").trim().parse()?;
    Ok(rounded(kib * 1024.0 / 1e6))
}

fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        size += if meta.is_dir() { size_of(&entry.path())? } else { meta.len() };
    }
    Ok(size)
}
