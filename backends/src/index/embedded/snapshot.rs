//! The index at one commit: what is alive in it, where it is, and in which order.

use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::Filter;
use anabranch_engine::value::{Chunk, DocumentId, Score};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocId, DocSet as _, Searcher, TERMINATED, TantivyDocument, TantivyError};

use super::super::{Fingerprint, Manifest};
use super::best::Hit;
use super::order::Order;
use super::passing::Passing;
use super::schema::{Fields, LENGTH, Marker};
use super::vectors::{Layout, Vectors};

/// How many filters a snapshot remembers: those of a flow's retrievers, or of the tenants of the moment.
const FILTERS_MAX: usize = 8;

/// The length of what is no chunk, or is no longer one.
pub(super) const NO_CHUNK: u32 = u32::MAX;

/// The index at one commit, with the sums that BM25 needs.
pub(super) struct Snapshot {
    pub(super) searcher: Searcher,
    pub(super) fields: Fields,
    pub(super) n_chunks: u64,
    pub(super) n_documents: u64,
    pub(super) n_words: u64,
    /// How many words each entry of each segment has, or [`NO_CHUNK`].
    pub(super) lengths: Vec<Vec<u32>>,
    /// What the vectors are, and where; `None` for an index without.
    pub(super) vectors: Option<Vectors>,
    /// Worked out when the first search comes.
    order: Mutex<Option<Arc<Order>>>,
    passing: Mutex<Vec<(Filter, Arc<Passing>)>>,
}

impl Snapshot {
    /// Counts what is alive: chunks that were replaced must not weigh on those that took their place.
    pub(super) fn new(
        searcher: Searcher,
        fields: Fields,
        vectors: Option<(Layout, tantivy::directory::OwnedBytes, tantivy::directory::OwnedBytes)>,
    ) -> tantivy::Result<Self> {
        let (mut n_chunks, mut n_documents, mut n_words) = (0, 0, 0_u64);
        let mut lengths = Vec::with_capacity(searcher.segment_readers().len());
        for segment in searcher.segment_readers() {
            let column = segment.fast_fields().u64(LENGTH)?;
            let mut in_segment = vec![NO_CHUNK; usize::try_from(segment.max_doc()).unwrap_or_default()];
            for (doc, slot) in (0..).zip(&mut in_segment) {
                if segment.is_deleted(doc) {
                    continue;
                }
                match column.first(doc) {
                    Some(length) => {
                        n_chunks += 1;
                        n_words += length;
                        *slot = u32::try_from(length).unwrap_or(NO_CHUNK - 1);
                    }
                    None => n_documents += 1,
                }
            }
            lengths.push(in_segment);
        }
        let vectors = match vectors {
            Some((layout, rows, ids)) => Some(Vectors::new(layout, rows, &ids, &searcher, &lengths)?),
            None => None,
        };
        Ok(Self {
            searcher,
            fields,
            n_chunks,
            n_documents,
            n_words,
            lengths,
            vectors,
            order: Mutex::new(None),
            passing: Mutex::new(Vec::new()),
        })
    }

    /// Which documents there are.
    pub(super) fn manifest(&self) -> tantivy::Result<Manifest> {
        let read = |address| -> tantivy::Result<(DocumentId, Fingerprint)> {
            let entry: TantivyDocument = self.searcher.doc(address)?;
            let marker: Marker = self.fields.record(&entry)?;
            Ok((marker.doc, Fingerprint::parse(marker.fingerprint)))
        };
        let mut markers = Vec::new();
        for ((segment_ord, segment), lengths) in (0..).zip(self.searcher.segment_readers()).zip(&self.lengths)
        {
            let in_segment = (0..).zip(lengths).filter(|(_, length)| **length == NO_CHUNK);
            let alive = in_segment.map(|(doc, _)| doc).filter(|doc| !segment.is_deleted(*doc));
            markers.extend(alive.map(|doc| DocAddress::new(segment_ord, doc)));
        }
        markers.into_iter().map(read).collect()
    }

    /// The chunks of a document, in the order of their places.
    pub(super) fn chunks_of(&self, doc: &DocumentId) -> tantivy::Result<Vec<Arc<Chunk>>> {
        let term = self.fields.key(doc);
        let mut chunks = Vec::new();
        for (segment_ord, segment) in (0_u32..).zip(self.searcher.segment_readers()) {
            let inverted = segment.inverted_index(term.field())?;
            let Some(mut postings) = inverted.read_postings(&term, IndexRecordOption::Basic)? else {
                continue;
            };
            while postings.doc() != TERMINATED {
                let address = DocAddress::new(segment_ord, postings.doc());
                if self.length(address) != NO_CHUNK {
                    chunks.push(Arc::new(self.chunk(address)?));
                }
                postings.advance();
            }
        }
        chunks.sort_by_key(|chunk| chunk.range);
        Ok(chunks)
    }

    /// The chunks of `hits`, with their scores.
    pub(super) fn read(&self, hits: &[Hit]) -> tantivy::Result<Vec<Arc<Chunk>>> {
        let read = |hit: &Hit| -> tantivy::Result<Arc<Chunk>> {
            Ok(Arc::new(Chunk { score: Score::new(hit.score), ..self.chunk(hit.address)? }))
        };
        hits.iter().map(read).collect()
    }

    /// The order of the chunks by document and place.
    pub(super) fn order(&self) -> tantivy::Result<Arc<Order>> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = order.as_ref() {
            return Ok(Arc::clone(order));
        }
        let made = Arc::new(Order::new(&self.searcher, &self.lengths)?);
        *order = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Which chunks pass `filter`; `None` if all do.
    pub(super) fn passing(&self, filter: &Filter) -> tantivy::Result<Option<Arc<Passing>>> {
        if filter.is_empty() {
            return Ok(None);
        }
        let known = || self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, passing)) = known().iter().find(|(seen, _)| seen == filter) {
            return Ok(Some(Arc::clone(passing)));
        }
        let made = Arc::new(Passing::new(self, filter)?);
        let mut known = known();
        if known.len() >= FILTERS_MAX {
            known.remove(0);
        }
        known.push((filter.clone(), Arc::clone(&made)));
        Ok(Some(made))
    }

    /// How many words the entry has, or [`NO_CHUNK`].
    fn length(&self, address: DocAddress) -> u32 {
        let in_segment = at(&self.lengths, address.segment_ord);
        in_segment.and_then(|lengths| at(lengths, address.doc_id)).copied().unwrap_or(NO_CHUNK)
    }

    /// The chunk as it is stored.
    pub(super) fn chunk(&self, address: DocAddress) -> tantivy::Result<Chunk> {
        let entry: TantivyDocument = self.searcher.doc(address)?;
        self.fields.record(&entry)
    }
}

/// What a list by documents or segments has for one of them.
pub(super) fn at<T>(list: &[T], number: DocId) -> Option<&T> {
    list.get(usize::try_from(number).ok()?)
}

pub(super) fn broken(message: impl Into<String>) -> TantivyError {
    TantivyError::InternalError(message.into())
}
