//! Scores chunks with BM25 over exact lengths, at the `k1` and `b` that each query asks for.
//!
//! Postings are gone through in windows of documents, a term after the other, so that the sums of a window stay in the
//! processor's cache. Once there are enough hits, terms that cannot lift a chunk over the bar by themselves are no
//! longer gone through, only looked up for chunks that have a better term (`MaxScore`). Whatever is skipped could not
//! have been among the best, and what is added up is always added up in the same order.

use std::collections::HashMap;

use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocId, Term};

use super::best::{Best, Hit};
use super::passing::Passing;
use super::snapshot::{NO_CHUNK, Snapshot, at};
use super::tokens;

/// Documents in a window.
const WINDOW: usize = 4096;
/// Longer chunks have their part of the formula worked out each time.
const NORMS_MAX: usize = 4096;
/// The sums are rounded; what is ruled out must be ruled out by more than that.
const ROUNDING: f64 = 1.0 + 1e-9;

/// What BM25 is asked.
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    pub(super) k1: f32,
    pub(super) b: f32,
}

/// The part of the formula that depends on the length of a chunk.
struct Norms {
    k1: f64,
    b: f64,
    average: f64,
    by_length: Vec<f64>,
}

impl Norms {
    #[expect(clippy::manual_clamp, reason = "what is no number becomes the least, and does not stay none")]
    fn new(words: &Words<'_>, snapshot: &Snapshot) -> Self {
        // Finite, whatever is asked: infinity times nothing is no number.
        let k1 = f64::from(words.k1.max(0.0).min(f32::MAX));
        let b = f64::from(words.b.max(0.0).min(1.0));
        let average = (snapshot.n_words as f64 / snapshot.n_chunks as f64).max(1.0);
        let mut norms = Self { k1, b, average, by_length: Vec::new() };
        norms.by_length = (0..).take(NORMS_MAX).map(|length| norms.of(length)).collect();
        norms
    }

    fn of(&self, length: u32) -> f64 {
        match at(&self.by_length, length) {
            Some(norm) => *norm,
            None => self.k1 * (1.0 - self.b + self.b * f64::from(length) / self.average),
        }
    }
}

/// Where the search is in the postings of a term.
struct Cursor {
    postings: BlockSegmentPostings,
    /// In the block that is loaded.
    place: usize,
    weight: f64,
}

impl Cursor {
    /// Adds the term's part to the sum of every chunk before `end`.
    fn add_until(&mut self, end: DocId, base: DocId, lengths: &[u32], norms: &Norms, sums: &mut Sums) {
        loop {
            let docs = self.postings.docs();
            let rest = docs.get(self.place..).unwrap_or_default();
            let is_whole = rest.last().is_some_and(|last| *last < end);
            let n_here = if is_whole { rest.len() } else { rest.partition_point(|doc| *doc < end) };
            let frequencies = self.postings.freqs().get(self.place..).unwrap_or_default();
            for (doc, frequency) in rest.iter().zip(frequencies).take(n_here) {
                let length = at(lengths, *doc).copied().unwrap_or(NO_CHUNK);
                if length != NO_CHUNK {
                    sums.add(doc - base, self.weight * saturated(*frequency, norms.of(length)));
                }
            }
            self.place += n_here;
            if !is_whole {
                return;
            }
            self.postings.advance();
            self.place = 0;
        }
    }

    /// How often the term is in the chunk; the chunk must be none before the last one that was asked about.
    fn frequency_in(&mut self, doc: DocId) -> Option<u32> {
        let docs = self.postings.docs();
        if docs.last().is_some_and(|last| *last < doc) {
            self.place = self.postings.seek(doc);
        } else {
            let rest = docs.get(self.place..).unwrap_or_default();
            self.place += rest.partition_point(|other| *other < doc);
        }
        let found = self.postings.docs().get(self.place).is_some_and(|found| *found == doc);
        if found { self.postings.freqs().get(self.place).copied() } else { None }
    }
}

fn saturated(frequency: u32, norm: f64) -> f64 {
    let frequency = f64::from(frequency);
    frequency / (frequency + norm)
}

/// The sums of a window, and which of its chunks have one.
struct Sums {
    sums: Vec<f64>,
    touched: Vec<u64>,
}

impl Sums {
    fn new() -> Self {
        Self { sums: vec![0.0; WINDOW], touched: vec![0; WINDOW / 64] }
    }

    #[inline]
    fn add(&mut self, offset: u32, part: f64) {
        let Ok(offset) = usize::try_from(offset) else { return };
        if let (Some(sum), Some(touched)) = (self.sums.get_mut(offset), self.touched.get_mut(offset / 64)) {
            *sum += part;
            *touched |= 1 << (offset % 64);
        }
    }

    /// Gives every sum to `each`, in order, and forgets it.
    fn drain(&mut self, mut each: impl FnMut(u32, f64)) {
        for (n, (touched, sums)) in (0..).zip(self.touched.iter_mut().zip(self.sums.chunks_exact_mut(64))) {
            while *touched != 0 {
                let bit = touched.trailing_zeros();
                *touched &= *touched - 1;
                if let Some(sum) = usize::try_from(bit).ok().and_then(|bit| sums.get_mut(bit)) {
                    each(n * 64 + bit, std::mem::take(sum));
                }
            }
        }
    }
}

/// The best chunks, best first; equal scores in the order of document and place.
pub(super) fn search(
    snapshot: &Snapshot,
    words: &Words<'_>,
    passing: Option<&Passing>,
    n_wanted: usize,
) -> tantivy::Result<Vec<Hit>> {
    if snapshot.n_chunks == 0 || n_wanted == 0 {
        return Ok(Vec::new());
    }
    let weights = weights(snapshot, words)?;
    let norms = Norms::new(words, snapshot);
    let mut best = Best::new(n_wanted, snapshot.order()?);
    let mut sums = Sums::new();
    // No chunk is shorter than nothing: the most that a term can add, were it alone in an empty chunk, and often.
    let rest = sums_from_the_end(&weights);
    for ((segment_ord, segment), lengths) in
        (0..).zip(snapshot.searcher.segment_readers()).zip(&snapshot.lengths)
    {
        let inverted = segment.inverted_index(snapshot.fields.body)?;
        let mut cursors = Vec::with_capacity(weights.len());
        for (term, weight) in &weights {
            let postings = inverted.read_block_postings(term, IndexRecordOption::WithFreqs)?;
            let postings = postings.unwrap_or_else(BlockSegmentPostings::empty);
            cursors.push(Cursor { postings, place: 0, weight: *weight });
        }
        for base in (0..segment.max_doc()).step_by(WINDOW) {
            // What has none of the first `n_needed` terms stays below the bar.
            let n_needed = rest.partition_point(|rest| *rest >= best.bar());
            let Some((needed, others)) = cursors.split_at_mut_checked(n_needed) else { break };
            if needed.is_empty() {
                break;
            }
            let end = base.saturating_add(u32::try_from(WINDOW).unwrap_or(u32::MAX));
            for cursor in needed {
                cursor.add_until(end, base, lengths, &norms, &mut sums);
            }
            sums.drain(|offset, mut sum| {
                let doc = base + offset;
                let address = DocAddress::new(segment_ord, doc);
                if passing.is_some_and(|passing| !passing.has(address)) {
                    return;
                }
                let rest = rest.get(n_needed..).unwrap_or_default();
                for (cursor, rest) in others.iter_mut().zip(rest) {
                    if (sum + rest) * ROUNDING < best.bar() {
                        return;
                    }
                    if let Some(frequency) = cursor.frequency_in(doc) {
                        let length = at(lengths, doc).copied().unwrap_or_default();
                        sum += cursor.weight * saturated(frequency, norms.of(length));
                    }
                }
                best.offer(sum, address);
            });
        }
    }
    Ok(best.into_sorted())
}

/// The terms that some chunk has, each with its weight, the heaviest first.
fn weights(snapshot: &Snapshot, words: &Words<'_>) -> tantivy::Result<Vec<(Term, f64)>> {
    let mut weights = Vec::new();
    for (word, n_asked) in counted_words(words.text) {
        let term = Term::from_field_text(snapshot.fields.body, &word);
        let n_with = n_chunks_with(snapshot, &term)?;
        if n_with > 0 {
            let n_without = snapshot.n_chunks.saturating_sub(n_with) as f64;
            let idf = (1.0 + (n_without + 0.5) / (n_with as f64 + 0.5)).ln();
            weights.push((term, idf * f64::from(n_asked)));
        }
    }
    // A stable sort: terms of equal weight stay in the order of the query.
    weights.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Ok(weights)
}

/// The query's words, each with how often it is asked for, in order.
pub(in crate::index) fn counted_words(text: &str) -> Vec<(String, u32)> {
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

/// How many chunks that are alive have the term.
fn n_chunks_with(snapshot: &Snapshot, term: &Term) -> tantivy::Result<u64> {
    let mut n_with = 0_u64;
    for (segment, lengths) in snapshot.searcher.segment_readers().iter().zip(&snapshot.lengths) {
        let inverted = segment.inverted_index(term.field())?;
        if !segment.has_deletes() {
            n_with += u64::from(inverted.doc_freq(term)?);
            continue;
        }
        let Some(mut postings) = inverted.read_block_postings(term, IndexRecordOption::Basic)? else {
            continue;
        };
        while !postings.docs().is_empty() {
            let is_alive = |doc: &&DocId| at(lengths, **doc).is_some_and(|length| *length != NO_CHUNK);
            n_with += postings.docs().iter().filter(is_alive).count() as u64;
            postings.advance();
        }
    }
    Ok(n_with)
}

/// For each term, the most that it and those after it can add.
fn sums_from_the_end(weights: &[(Term, f64)]) -> Vec<f64> {
    let mut rest: Vec<f64> = weights
        .iter()
        .rev()
        .scan(0.0, |sum, (_, weight)| {
            *sum += weight * ROUNDING;
            Some(*sum)
        })
        .collect();
    rest.reverse();
    rest
}
