//! What is chosen among: chunks in an order of their own, each once, with what it costs and how well it matches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anabranch_engine::value::{Chunk, Score};

use crate::passage;
use crate::tokens::Counter;
use crate::words::terms;

/// Most candidates that a search looks at.
pub const CANDIDATES_MAX: usize = 64;

/// How soon repeating a word stops to count, and how much long chunks are held back, where words make the relevance.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The chunks to choose among, the most relevant first. A candidate is named by its place.
///
/// The order depends on the chunks alone, never on the order in which they came: of equal relevance, the lesser id goes
/// first.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    chunks: Vec<Arc<Chunk>>,
    /// Tokens, by place.
    costs: Vec<usize>,
    /// How well each matches, from 0 to 1 for the best, by place.
    relevance: Vec<f64>,
    /// The terms of title, headings and text, by place.
    terms: Vec<Vec<String>>,
}

impl Candidates {
    /// The `most` best of `chunks`. What says the same as a better one, word for word, is left out.
    ///
    /// Relevance is that of the scores, divided by the best. Where the best is not above 0, as with raw scores of some
    /// rerankers, it is the place between the worst and the best. Where a chunk has no score, it is that of the words
    /// which a chunk shares with the query, by BM25.
    pub fn of(query: &str, chunks: &[Arc<Chunk>], most: usize, counter: &Counter) -> Self {
        let scores: Option<Vec<f64>> = chunks.iter().map(|chunk| chunk.score.map(Score::get)).collect();
        let all: Vec<Vec<String>> = chunks.iter().map(|chunk| terms(&passage::whole(chunk))).collect();
        let has_scores = scores.is_some();
        let scores = scores.unwrap_or_else(|| by_words(query, &all));
        let mut ranked: Vec<(f64, &Arc<Chunk>, Vec<String>)> = scores
            .into_iter()
            .zip(chunks)
            .zip(all)
            .map(|((score, chunk), terms)| (score, chunk, terms))
            .collect();
        ranked.sort_by(|(a, one, _), (b, other, _)| {
            b.total_cmp(a).then_with(|| one.id.cmp(&other.id)).then_with(|| one.text.cmp(&other.text))
        });
        let mut seen = HashSet::new();
        ranked.retain(|(_, chunk, _)| seen.insert(said(chunk)));
        ranked.truncate(most.min(CANDIDATES_MAX));

        let best = ranked.first().map_or(0.0, |(score, ..)| *score);
        let worst = ranked.last().map_or(0.0, |(score, ..)| *score);
        let relevance = |score: f64| {
            if best > 0.0 {
                (score / best).max(0.0)
            } else if best > worst {
                (score - worst) / (best - worst)
            } else {
                f64::from(u8::from(has_scores))
            }
        };
        Self {
            relevance: ranked.iter().map(|(score, ..)| relevance(*score)).collect(),
            costs: ranked.iter().map(|(_, chunk, _)| counter.of_chunk(chunk)).collect(),
            chunks: ranked.iter().map(|(_, chunk, _)| Arc::clone(chunk)).collect(),
            terms: ranked.into_iter().map(|(_, _, terms)| terms).collect(),
        }
    }

    /// The chunks, by place.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Their tokens, by place.
    pub fn costs(&self) -> &[usize] {
        &self.costs
    }

    /// How well they match, from 0 to 1 for the best, by place.
    pub fn relevance(&self) -> &[f64] {
        &self.relevance
    }

    /// The terms of their titles, headings and texts, by place.
    pub(crate) fn terms(&self) -> &[Vec<String>] {
        &self.terms
    }
}

/// What two copies of a passage have in common: its words; its text where it has none that mean anything.
fn said(chunk: &Chunk) -> Vec<String> {
    let terms = terms(&chunk.text);
    if terms.is_empty() { vec![chunk.text.trim().to_owned()] } else { terms }
}

/// How much a term tells that stands in `n_with` of `n` texts.
pub(crate) fn idf(n: usize, n_with: usize) -> f64 {
    let (n, n_with) = (n as f64, n_with as f64);
    (1.0 + (n - n_with + 0.5) / (n_with + 0.5)).ln()
}

/// In how many of the texts each term stands.
pub(crate) fn frequencies(texts: &[Vec<String>]) -> HashMap<&str, usize> {
    let mut frequencies = HashMap::new();
    for text in texts {
        let distinct: HashSet<&str> = text.iter().map(String::as_str).collect();
        for term in distinct {
            *frequencies.entry(term).or_insert(0) += 1;
        }
    }
    frequencies
}

/// BM25 of the texts, among themselves.
fn by_words(query: &str, texts: &[Vec<String>]) -> Vec<f64> {
    let frequencies = frequencies(texts);
    let total: usize = texts.iter().map(Vec::len).sum();
    let mean = total as f64 / texts.len().max(1) as f64;
    let mut asked = terms(query);
    asked.sort_unstable();
    asked.dedup();
    let score = |text: &Vec<String>| {
        let held_back = K1 * (1.0 - B + B * text.len() as f64 / mean.max(1.0));
        let part = |term: &String| {
            let often = text.iter().filter(|other| *other == term).count() as f64;
            let n_with = frequencies.get(term.as_str()).copied().unwrap_or_default();
            idf(texts.len(), n_with) * often * (K1 + 1.0) / (often + held_back)
        };
        asked.iter().map(part).sum()
    };
    texts.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, docs_of, scored};

    fn of(query: &str, chunks: &[Arc<Chunk>]) -> Candidates {
        Candidates::of(query, chunks, 20, &Counter::default())
    }

    #[test]
    fn the_best_come_first_and_equal_ones_by_their_ids() {
        let chunks: Vec<_> = ["c", "b", "a"].map(|doc| scored(&chunk(doc, doc), 1.0)).into();
        let found = of("q", &[chunks.clone(), vec![scored(&chunk("d", "d"), 4.0)]].concat());
        assert_eq!(docs_of(found.chunks()), ["d", "a", "b", "c"]);
        assert_eq!(found.relevance(), [1.0, 0.25, 0.25, 0.25]);
        assert_eq!(docs_of(Candidates::of("q", &chunks, 2, &Counter::default()).chunks()), ["a", "b"]);
    }

    #[test]
    fn raw_scores_of_rerankers_lie_between_the_worst_and_the_best() {
        let chunks = [("a", -2.0), ("b", -4.0), ("c", -10.0)].map(|(doc, s)| scored(&chunk(doc, doc), s));
        assert_eq!(of("q", &chunks).relevance(), [1.0, 0.75, 0.0]);
        let equal = ["a", "b"].map(|doc| scored(&chunk(doc, doc), -1.0));
        assert_eq!(of("q", &equal).relevance(), [1.0, 1.0]);
    }

    #[test]
    fn without_scores_words_say_what_is_relevant() {
        let chunks = [chunk("a", "a page"), chunk("b", "loops need bounds"), chunk("c", "all loops")];
        let found = of("Do loops need bounds?", &chunks);
        assert_eq!(docs_of(found.chunks()), ["b", "c", "a"]);
        assert_eq!((found.relevance()[0], found.relevance()[2]), (1.0, 0.0));
        assert_eq!(of("xyz", &chunks).relevance(), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn copies_are_looked_at_once_whatever_their_order() {
        let copy = |doc: &str, score| scored(&chunk(doc, "The wren, a bird."), score);
        let chunks = [copy("b", 1.0), copy("a", 1.0), copy("c", 2.0), scored(&chunk("d", "the a"), 0.0)];
        assert_eq!(docs_of(of("q", &chunks).chunks()), ["c", "d"]);
        assert_eq!(docs_of(of("q", &chunks[..2]).chunks()), ["a"]);
    }
}
