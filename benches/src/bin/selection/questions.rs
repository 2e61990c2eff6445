//! Questions with the paragraphs that came with them, ranked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anabranch_backends::index::{EmbeddedIndex, Fingerprint};
use anabranch_benches::Outcome;
use anabranch_engine::backend::{By, SearchQuery};
use anabranch_engine::value::{
    ByteRange, Chunk, ChunkId, DocumentId, LineRange, Metadata, Score, TokenCount,
};
use anabranch_evaluation::set::{CorpusLine, QueryLine, read_lines};
use anabranch_operators::tokens;
use serde::Deserialize;

/// A question, and what can be taken for it.
pub(crate) struct Question {
    pub(crate) text: String,
    /// The paragraphs that came with it, best first.
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// The same with entities that a model found, where they were recorded.
    pub(crate) with_entities: Option<Vec<Arc<Chunk>>>,
    /// The documents that hold its evidence.
    pub(crate) evidence: BTreeSet<String>,
}

/// A line of `openie.jsonl`.
#[derive(Deserialize)]
struct Recorded {
    doc: String,
    entities: Vec<String>,
}

/// The questions of a set.
pub(crate) fn read(data: &Path, set: &str) -> Outcome<Vec<Question>> {
    let folder = data.join("sets").join(set);
    let corpus: Vec<CorpusLine> = read_lines(&folder.join("corpus.jsonl"))?;
    let queries: Vec<QueryLine> = read_lines(&folder.join("queries.jsonl"))?;
    let recorded = folder.join("openie.jsonl");
    let entities: BTreeMap<String, Vec<String>> = if recorded.exists() {
        let lines: Vec<Recorded> = read_lines(&recorded)?;
        lines.into_iter().map(|line| (line.doc, line.entities)).collect()
    } else {
        BTreeMap::new()
    };

    let temporary = tempfile::tempdir()?;
    let index = EmbeddedIndex::open_or_create(temporary.path().join("index"))?;
    let mut writer = index.begin()?;
    for line in &corpus {
        let doc = DocumentId(line.id.as_str().into());
        let fingerprint = Fingerprint::new(&blake3::hash(line.text.as_bytes()), "one chunk a document");
        writer.replace(&doc, &fingerprint, &[Arc::new(whole(&doc, line))])?;
    }
    writer.finish()?;

    let mut questions = Vec::new();
    for query in queries {
        let given = query.meta.get("candidates").and_then(serde_json::Value::as_array);
        let given: BTreeSet<&str> =
            given.into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        let by = By::Words { text: query.question.clone(), k1: 1.5, b: 0.75 };
        let all = SearchQuery { by, ..SearchQuery::words("", corpus.len()) };
        let mut chunks = index.search_blocking(&all)?;
        chunks.retain(|chunk| given.contains(&*chunk.doc.0));
        let found: BTreeSet<String> = chunks.iter().map(|chunk| chunk.doc.to_string()).collect();
        // What has no word of the question was not found; it can be taken all the same.
        for line in corpus.iter().filter(|line| given.contains(line.id.as_str()) && !found.contains(&line.id))
        {
            let doc = DocumentId(line.id.as_str().into());
            chunks.push(Arc::new(Chunk { score: Score::new(0.0), ..whole(&doc, line) }));
        }
        let named = |chunk: &Arc<Chunk>| {
            let mut chunk = Chunk::clone(chunk);
            let found = entities.get(&*chunk.doc.0).cloned().unwrap_or_default();
            chunk.meta.insert("entities".to_owned(), found.into());
            Arc::new(chunk)
        };
        let with_entities = (!entities.is_empty()).then(|| chunks.iter().map(named).collect());
        let evidence = query.evidence.into_iter().map(|evidence| evidence.doc).collect();
        questions.push(Question { text: query.question, chunks, with_entities, evidence });
    }
    Ok(questions)
}

fn whole(doc: &DocumentId, line: &CorpusLine) -> Chunk {
    let range = ByteRange { start: 0, end: line.text.len() as u64 };
    Chunk {
        id: ChunkId::new(doc, range),
        doc: doc.clone(),
        text: line.text.as_str().into(),
        range,
        lines: LineRange { first: 1, last: 1 },
        tokens: TokenCount(u32::try_from(tokens::count(&line.text)).unwrap_or(u32::MAX)),
        title: line.title.as_deref().map(Into::into),
        headings: Vec::new(),
        score: None,
        meta: Metadata::new(),
    }
}
