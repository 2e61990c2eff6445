//! Measures what `read.extractive` answers, beside the first three sentences of the best chunk.
//!
//! `reading --data FOLDER [--set NAME …] [--half development|report] [--json]` cuts each set's corpus with
//! `chunk.recursive`, finds 12 chunks a question, keeps what fits into 1500 tokens, and has it read. It prints how
//! many answers hold a right one, cite a place of the evidence and, where the corpus has no answer, were refused.
//! The questions fall into two halves by their names: one to work with, the other to report on.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anabranch_benches::Outcome;
use anabranch_benches::passages::Passages;
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx;
use anabranch_engine::value::{ByteRange, Chunk, Citation};
use anabranch_evaluation::answers::{best, contains, share_of_words, without_articles};
use anabranch_evaluation::places::Place;
use anabranch_evaluation::set::{CorpusLine, Evidence, QueryLine, read_lines};
use anabranch_operators::read::extractive::Extractive;
use serde::Serialize;

const SETS: [&str; 4] = ["squad2_docs", "hotpotqa_100", "clapnq", "lihua_world"];
const HALVES: [&str; 2] = ["development", "report"];
/// Most questions of another set to ask a corpus that cannot know.
const FOREIGN_MAX: usize = 150;

/// Shares of the questions with an answer, then of those without one.
#[derive(Debug, Default, Serialize)]
struct Figures {
    /// Has a right answer in it.
    contains: f64,
    /// Words of the best right answer that it has.
    words: f64,
    /// Cites a place that overlaps the evidence; the document, where only that is known.
    cites: f64,
    /// The same of its first sentence.
    cites_first: f64,
    /// Refused, though there is an answer.
    refused_wrongly: f64,
    /// Refused, being a question that looks like the others but has no answer.
    refused: f64,
    /// Refused, being a question about another corpus.
    refused_foreign: f64,
    /// Words of an answer.
    length: f64,
}

#[derive(Serialize)]
struct Row<'a> {
    set: &'a str,
    half: &'a str,
    reader: &'static str,
    answerable: usize,
    unanswerable: usize,
    foreign: usize,
    figures: Figures,
    ms: f64,
}

struct Args {
    data: PathBuf,
    sets: BTreeSet<String>,
    halves: Vec<&'static str>,
    is_json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args = parse_args()?;
    let mut out = std::io::stdout().lock();
    if !args.is_json {
        writeln!(
            out,
            "{:<13} {:<12} {:<10} contains words  cites  first  refused: wrongly rightly foreign  length  ms",
            "set", "half", "reader"
        )?;
    }
    for (n, set) in
        SETS.iter().enumerate().filter(|(_, set)| args.sets.is_empty() || args.sets.contains(**set))
    {
        let corpus: Vec<CorpusLine> = read_lines(&args.data.join("sets").join(set).join("corpus.jsonl"))?;
        let passages = Passages::of(&corpus)?;
        let other = SETS.get((n + 1) % SETS.len()).copied().unwrap_or_default();
        for half in &args.halves {
            let queries = queries_of(&args.data, set, half)?;
            let mut foreign = queries_with_evidence(queries_of(&args.data, other, half)?);
            foreign.truncate(FOREIGN_MAX);
            for is_baseline in [true, false] {
                let row = measure(&passages, &queries, &foreign, is_baseline).await?;
                let row = Row { set, half, ..row };
                if args.is_json {
                    writeln!(out, "{}", serde_json::to_string(&row)?)?;
                } else {
                    print_row(&mut out, &row)?;
                }
            }
        }
    }
    Ok(())
}

fn parse_args() -> Outcome<Args> {
    let mut parsed = Args {
        data: PathBuf::from("../shared/data"),
        sets: BTreeSet::new(),
        halves: HALVES.to_vec(),
        is_json: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--data" => parsed.data = value()?.into(),
            "--set" => {
                let set = value()?;
                if !SETS.contains(&set.as_str()) {
                    return Err(format!("unknown set `{set}` (there are: {})", SETS.join(", ")).into());
                }
                parsed.sets.insert(set);
            }
            "--half" => {
                let half = value()?;
                parsed.halves.retain(|known| *known == half);
            }
            "--json" => parsed.is_json = true,
            _ => {
                return Err(format!(
                    "unknown argument `{arg}`; usage: reading --data FOLDER [--set NAME]... \
                     [--half development|report] [--json]"
                )
                .into());
            }
        }
    }
    if parsed.halves.is_empty() {
        return Err(format!("`--half` is one of: {}", HALVES.join(", ")).into());
    }
    Ok(parsed)
}

fn queries_of(data: &Path, set: &str, half: &str) -> Outcome<Vec<QueryLine>> {
    let mut queries: Vec<QueryLine> = read_lines(&data.join("sets").join(set).join("queries.jsonl"))?;
    let is_first = |query: &QueryLine| blake3::hash(query.id.as_bytes()).as_bytes()[0].is_multiple_of(2);
    queries.retain(|query| is_first(query) == (half == HALVES[0]));
    Ok(queries)
}

fn queries_with_evidence(mut queries: Vec<QueryLine>) -> Vec<QueryLine> {
    queries.retain(|query| !query.evidence.is_empty());
    queries
}

/// An answer, and the places that it cites.
struct Reading {
    text: String,
    citations: Vec<Citation>,
}

async fn read(chunks: Vec<Arc<Chunk>>, question: &str, is_baseline: bool) -> Outcome<Reading> {
    if is_baseline {
        return Ok(chunks
            .first()
            .map_or(Reading { text: String::new(), citations: Vec::new() }, first_sentences));
    }
    let input = anabranch_operators::read::In { question: question.to_owned(), chunks };
    let out = Extractive::default().run(&cx(), input).await?;
    // Without the marks, which are not words of the answer.
    Ok(Reading { text: out.sentences.join(" "), citations: out.citations })
}

/// The first three sentences, as far as full stops and ends of lines tell.
fn first_sentences(chunk: &Arc<Chunk>) -> Reading {
    let mut citations = Vec::new();
    let mut start = 0;
    for part in chunk.text.split_inclusive('\n').flat_map(|line| line.split_inclusive(". ")) {
        let (from, to) = (chunk.range.start + start, chunk.range.start + start + part.len() as u64);
        start += part.len() as u64;
        if !part.trim().is_empty() && citations.len() < 3 {
            citations.push(Citation {
                chunk_id: chunk.id.clone(),
                doc: chunk.doc.clone(),
                range: ByteRange { start: from, end: to },
                lines: chunk.lines,
                quote: Some(part.into()),
            });
        }
    }
    let text = citations.iter().filter_map(|citation| citation.quote.as_deref()).collect();
    Reading { text, citations }
}

async fn measure<'a>(
    passages: &Passages,
    queries: &[QueryLine],
    foreign: &[QueryLine],
    is_baseline: bool,
) -> Outcome<Row<'a>> {
    let mut figures = Figures::default();
    let (mut answerable, mut unanswerable, mut answered, mut secs) = (0, 0, 0, 0.0);
    for (query, is_foreign) in queries.iter().map(|q| (q, false)).chain(foreign.iter().map(|q| (q, true))) {
        let is_unanswerable = query.meta.get("answerable").is_some_and(|known| known == false);
        if !is_foreign && !is_unanswerable && query.evidence.is_empty() {
            continue;
        }
        let chunks = passages.find(&query.question).await?;
        let started = Instant::now();
        let reading = read(chunks, &query.question, is_baseline).await?;
        secs += started.elapsed().as_secs_f64();
        let is_refused = f64::from(u8::from(reading.citations.is_empty()));
        if is_foreign {
            figures.refused_foreign += is_refused;
        } else if is_unanswerable {
            unanswerable += 1;
            figures.refused += is_refused;
        } else {
            answerable += 1;
            figures.refused_wrongly += is_refused;
            answered += usize::from(!reading.citations.is_empty());
            figures.length += without_articles(&reading.text).len() as f64 * (1.0 - is_refused);
            figures.contains += best(&reading.text, &query.right_answers(), contains);
            figures.words += best(&reading.text, &query.right_answers(), share_of_words);
            let overlaps =
                |citation: &Citation| query.evidence.iter().any(|evidence| overlap(citation, evidence));
            figures.cites += f64::from(u8::from(reading.citations.iter().any(overlaps)));
            figures.cites_first += f64::from(u8::from(reading.citations.first().is_some_and(overlaps)));
        }
    }
    let share = |sum: &mut f64, of: usize| *sum /= of.max(1) as f64;
    let Figures { contains, words, cites, cites_first, refused_wrongly, .. } = &mut figures;
    for sum in [contains, words, cites, cites_first, refused_wrongly] {
        share(sum, answerable);
    }
    share(&mut figures.refused, unanswerable);
    share(&mut figures.refused_foreign, foreign.len());
    share(&mut figures.length, answered);
    let n_read = answerable + unanswerable + foreign.len();
    Ok(Row {
        set: "",
        half: "",
        reader: if is_baseline { "first 3" } else { "extractive" },
        answerable,
        unanswerable,
        foreign: foreign.len(),
        figures,
        ms: secs * 1000.0 / n_read.max(1) as f64,
    })
}

/// Whether a citation and a place of the evidence share a byte; a document, where only that is known.
fn overlap(citation: &Citation, evidence: &Evidence) -> bool {
    let bytes = citation.range.start..citation.range.end;
    Place { doc: &citation.doc.0, bytes: Some(bytes) }.overlaps(&evidence.place())
}

fn print_row(out: &mut impl std::io::Write, row: &Row<'_>) -> std::io::Result<()> {
    let f = &row.figures;
    writeln!(
        out,
        "{:<13} {:<12} {:<10} {:.3}    {:.3}  {:.3}  {:.3}           {:.3}   {:.3}   {:.3}    {:5.1}  {:.1}",
        row.set,
        row.half,
        row.reader,
        f.contains,
        f.words,
        f.cites,
        f.cites_first,
        f.refused_wrongly,
        f.refused,
        f.refused_foreign,
        f.length,
        row.ms
    )
}
