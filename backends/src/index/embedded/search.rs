//! Scores chunks with BM25 over exact lengths, at the `k1` and `b` that each query asks for.

use std::collections::HashMap;
use std::sync::Arc;

use anabranch_engine::backend::SearchQuery;
use anabranch_engine::value::{Chunk, DocumentId, Score};
use tantivy::postings::Postings as _;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet as _, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term};

use super::super::{Fingerprint, Manifest};
use super::schema::{Fields, LENGTH, Marker};
use super::tokens;

/// The index at one commit, with the sums that BM25 needs.
pub(super) struct Snapshot {
    pub(super) searcher: Searcher,
    pub(super) n_chunks: u64,
    pub(super) n_documents: u64,
    n_words: u64,
}

/// What BM25 is asked.
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    pub(super) k1: f32,
    pub(super) b: f32,
}

impl Snapshot {
    /// Counts what is alive: chunks that were replaced must not weigh on those that took their place.
    pub(super) fn new(searcher: Searcher) -> tantivy::Result<Self> {
        let (mut n_chunks, mut n_documents, mut n_words) = (0, 0, 0_u64);
        for segment in searcher.segment_readers() {
            let lengths = segment.fast_fields().u64(LENGTH)?;
            for doc in segment.doc_ids_alive() {
                match lengths.first(doc) {
                    Some(length) => {
                        n_chunks += 1;
                        n_words += length;
                    }
                    None => n_documents += 1,
                }
            }
        }
        Ok(Self { searcher, n_chunks, n_documents, n_words })
    }

    /// Where the documents' markers are.
    pub(super) fn markers(&self) -> tantivy::Result<Vec<DocAddress>> {
        let mut markers = Vec::new();
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let lengths = segment.fast_fields().u64(LENGTH)?;
            let in_segment = segment.doc_ids_alive().filter(|doc| lengths.first(*doc).is_none());
            markers.extend(in_segment.map(|doc| DocAddress::new(segment_ord, doc)));
        }
        Ok(markers)
    }

    /// Which documents there are.
    pub(super) fn manifest(&self, fields: Fields) -> tantivy::Result<Manifest> {
        let read = |address| -> tantivy::Result<(DocumentId, Fingerprint)> {
            let entry: TantivyDocument = self.searcher.doc(address)?;
            let marker: Marker = fields.record(&entry)?;
            Ok((marker.doc, Fingerprint::parse(marker.fingerprint)))
        };
        self.markers()?.into_iter().map(read).collect()
    }

    /// The chunks of a document, in the order of their places.
    pub(super) fn chunks_of(&self, fields: Fields, doc: &DocumentId) -> tantivy::Result<Vec<Arc<Chunk>>> {
        let term = fields.key(doc);
        let mut chunks = Vec::new();
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let lengths = segment.fast_fields().u64(LENGTH)?;
            let inverted = segment.inverted_index(term.field())?;
            let Some(mut postings) = inverted.read_postings(&term, IndexRecordOption::Basic)? else {
                continue;
            };
            while postings.doc() != TERMINATED {
                let found = postings.doc();
                if !segment.is_deleted(found) && lengths.first(found).is_some() {
                    let entry: TantivyDocument = self.searcher.doc(DocAddress::new(segment_ord, found))?;
                    chunks.push(Arc::new(fields.record::<Chunk>(&entry)?));
                }
                postings.advance();
            }
        }
        chunks.sort_by_key(|chunk| chunk.range);
        Ok(chunks)
    }

    /// The best chunks, best first; equal scores in the order of document and place.
    pub(super) fn search(
        &self,
        fields: Fields,
        words: &Words<'_>,
        query: &SearchQuery,
    ) -> tantivy::Result<Vec<Arc<Chunk>>> {
        let mut hits = if query.top_k == 0 { Vec::new() } else { self.score(fields, words)? };
        hits.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        let mut best: Vec<Chunk> = Vec::new();
        // Groups of equal score: place decides within one, so a group is read whole or not at all.
        for group in hits.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
            if best.len() >= query.top_k {
                break;
            }
            let mut tied = Vec::with_capacity(group.len());
            for (address, score) in group {
                let entry: TantivyDocument = self.searcher.doc(*address)?;
                let chunk: Chunk = fields.record(&entry)?;
                if query.filter.passes(&chunk.meta) {
                    tied.push(Chunk { score: Score::new(*score), ..chunk });
                }
            }
            tied.sort_by(|a, b| (&a.doc, a.range).cmp(&(&b.doc, b.range)));
            best.append(&mut tied);
        }
        best.truncate(query.top_k);
        Ok(best.into_iter().map(Arc::new).collect())
    }

    /// Every chunk that has one of the query's words, with its score.
    fn score(&self, fields: Fields, query: &Words<'_>) -> tantivy::Result<Vec<(DocAddress, f64)>> {
        if self.n_chunks == 0 {
            return Ok(Vec::new());
        }
        let words = weighted_words(query.text);
        let (k1, b) = (f64::from(query.k1.max(0.0)), f64::from(query.b.clamp(0.0, 1.0)));
        let average = (self.n_words as f64 / self.n_chunks as f64).max(1.0);

        let mut weights = Vec::with_capacity(words.len());
        for (word, n_asked) in &words {
            let term = Term::from_field_text(fields.body, word);
            let mut n_with = 0_u64;
            for segment in self.searcher.segment_readers() {
                n_with += u64::from(alive_doc_freq(segment, &term)?);
            }
            if n_with > 0 {
                let n_without = self.n_chunks.saturating_sub(n_with) as f64;
                let idf = (1.0 + (n_without + 0.5) / (n_with as f64 + 0.5)).ln();
                weights.push((term, idf * f64::from(*n_asked)));
            }
        }

        let mut hits = Vec::new();
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let lengths = segment.fast_fields().u64(LENGTH)?;
            let inverted = segment.inverted_index(fields.body)?;
            let mut scores: HashMap<u32, f64> = HashMap::new();
            for (term, weight) in &weights {
                let Some(mut postings) = inverted.read_postings(term, IndexRecordOption::WithFreqs)? else {
                    continue;
                };
                while postings.doc() != TERMINATED {
                    let doc = postings.doc();
                    if !segment.is_deleted(doc) {
                        let frequency = f64::from(postings.term_freq());
                        let length = lengths.first(doc).unwrap_or_default() as f64;
                        let saturated = frequency / (frequency + k1 * (1.0 - b + b * length / average));
                        *scores.entry(doc).or_default() += weight * saturated;
                    }
                    postings.advance();
                }
            }
            hits.extend(scores.into_iter().map(|(doc, score)| (DocAddress::new(segment_ord, doc), score)));
        }
        Ok(hits)
    }
}

/// The query's words, each with how often it is asked for; in order, so that equal sums are added up equally.
pub(in crate::index) fn weighted_words(text: &str) -> Vec<(String, u32)> {
    let mut words: Vec<(String, u32)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for word in tokens::words(text, false) {
        let next = words.len();
        let position = *seen.entry(word.clone()).or_insert(next);
        match words.get_mut(position) {
            Some((_, n_asked)) => *n_asked += 1,
            None => words.push((word, 1)),
        }
    }
    words
}

/// How many chunks that are alive hold the term.
fn alive_doc_freq(segment: &SegmentReader, term: &Term) -> tantivy::Result<u32> {
    let inverted = segment.inverted_index(term.field())?;
    let Some(alive) = segment.alive_bitset() else {
        return Ok(inverted.doc_freq(term)?);
    };
    let postings = inverted.read_postings(term, IndexRecordOption::Basic)?;
    Ok(postings.map_or(0, |postings| postings.doc_freq_given_deletes(alive)))
}
