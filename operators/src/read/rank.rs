//! Which sentences answer a question, judged by the words that they share with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::value::Chunk;

use super::outline::Kind;
use super::sentences::{Sentence, sentences};
use crate::words::terms;

/// Least share of the question's weight that a sentence's own words must have.
const MIN_OWN: f64 = 0.3;
/// Least share, with what stands around it.
const MIN_SCORE: f64 = 0.38;
/// A further sentence must reach this part of the best one's score.
const MIN_OF_BEST: f64 = 0.6;
/// How much a word counts that stands around the sentence and not in it.
const AROUND: f64 = 0.35;
/// How much likeness to a sentence already taken costs.
const REDUNDANCY: f64 = 0.5;

/// A sentence that answers, and which chunk it is from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    /// Index of its chunk.
    pub(crate) chunk: usize,
    /// The sentence.
    pub(crate) sentence: Sentence,
}

struct Candidate {
    hit: Hit,
    terms: BTreeSet<String>,
    /// Words of the headings above.
    above: BTreeSet<String>,
    /// Words of the sentence before.
    before: BTreeSet<String>,
    score: f64,
}

/// At most `max` sentences that answer `question`, in reading order; none if none does.
pub(crate) fn best(question: &str, chunks: &[Arc<Chunk>], max: usize) -> Vec<Hit> {
    let asked: BTreeSet<String> = terms(question).into_iter().collect();
    let mut candidates = candidates(chunks);
    let weights = weights(&asked, &candidates);
    let total: f64 = weights.values().sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let share = |terms: &BTreeSet<String>| -> f64 {
        weights.iter().filter(|(term, _)| terms.contains(**term)).map(|(_, weight)| weight).sum::<f64>()
            / total
    };
    for candidate in &mut candidates {
        let own = share(&candidate.terms);
        let Candidate { terms, above, before, .. } = &*candidate;
        let either: BTreeSet<String> = terms.iter().chain(above).chain(before).cloned().collect();
        let matched = own + AROUND * (share(&either) - own);
        candidate.score =
            if own < MIN_OWN || matched < MIN_SCORE { 0.0 } else { matched * prior(&candidate.hit) };
    }
    candidates.retain(|candidate| candidate.score > 0.0);
    let mut taken = take_diverse(candidates, max);
    taken.sort_by_key(|hit| (document_rank(chunks, hit.chunk), start(chunks, hit)));
    taken
}

/// What the place and form of a sentence say about it, whatever was asked.
fn prior(hit: &Hit) -> f64 {
    let sentence = &hit.sentence;
    let n_words = sentence.words.split_whitespace().count();
    let by_kind = match sentence.kind {
        Kind::Prose => 1.0,
        Kind::Row => 0.6,
        Kind::Code | Kind::Heading => 0.3,
    };
    let by_length = match n_words {
        0..4 => 0.5,
        4..=45 => 1.0,
        _ => (45.0 / n_words as f64).max(0.5),
    };
    let by_form = match sentence.words.chars().last() {
        // A question repeats what was asked; a colon announces what comes after it.
        Some('?') => 0.3,
        Some(':') => 0.6,
        _ => 1.0,
    };
    let by_place = if sentence.begins_block { 1.0 } else { 0.97 };
    by_kind * by_length * by_form * by_place / (1.0 + 0.03 * hit.chunk as f64)
}

fn candidates(chunks: &[Arc<Chunk>]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let mut above: BTreeSet<String> =
            chunk.headings.iter().chain(&chunk.title).flat_map(|heading| terms(heading)).collect();
        let mut previous = BTreeSet::new();
        for sentence in sentences(chunk) {
            let own: BTreeSet<String> = terms(&sentence.words).into_iter().collect();
            if sentence.kind == Kind::Heading {
                above.extend(own);
                continue;
            }
            let before = std::mem::replace(&mut previous, own.clone());
            let hit = Hit { chunk: index, sentence };
            candidates.push(Candidate { hit, terms: own, above: above.clone(), before, score: 0.0 });
        }
    }
    candidates
}

/// How much each word of the question tells: rare words more. A word that stands nowhere tells the most, so that
/// sentences which share only the common words of a question do not answer it.
fn weights<'a>(asked: &'a BTreeSet<String>, candidates: &[Candidate]) -> BTreeMap<&'a str, f64> {
    let n = candidates.len() as f64;
    let weight = |term: &str| {
        let has = |candidate: &&Candidate| candidate.terms.contains(term) || candidate.above.contains(term);
        let df = candidates.iter().filter(has).count() as f64;
        ((n - df + 0.5) / (df + 0.5)).ln_1p()
    };
    asked.iter().map(|term| (term.as_str(), weight(term))).collect()
}

/// Takes the best candidate again and again, each time holding back those that repeat what was taken (after the
/// maximal marginal relevance of Carbonell and Goldstein, 1998).
fn take_diverse(mut left: Vec<Candidate>, max: usize) -> Vec<Hit> {
    let mut taken: Vec<Candidate> = Vec::new();
    while taken.len() < max {
        let value = |candidate: &Candidate| {
            let likeness =
                taken.iter().map(|other| jaccard(&candidate.terms, &other.terms)).fold(0.0, f64::max);
            candidate.score * (1.0 - REDUNDANCY * likeness)
        };
        // The first of equals, since chunks come best first.
        let next = left.iter().enumerate().rev().max_by(|(_, a), (_, b)| value(a).total_cmp(&value(b)));
        let Some((index, value)) = next.map(|(index, candidate)| (index, value(candidate))) else { break };
        if taken.first().is_some_and(|best| value < MIN_OF_BEST * best.score) {
            break;
        }
        taken.push(left.remove(index));
    }
    taken.into_iter().map(|candidate| candidate.hit).collect()
}

fn jaccard(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let shared = a.intersection(b).count() as f64;
    let all = (a.len() + b.len()) as f64 - shared;
    if all > 0.0 { shared / all } else { 1.0 }
}

/// Index of the first chunk of the same document: documents stay together, in the order of their best chunks.
fn document_rank(chunks: &[Arc<Chunk>], index: usize) -> usize {
    let doc = chunks.get(index).map(|chunk| &chunk.doc);
    chunks.iter().position(|chunk| Some(&chunk.doc) == doc).unwrap_or(index)
}

fn start(chunks: &[Arc<Chunk>], hit: &Hit) -> u64 {
    chunks.get(hit.chunk).map_or(0, |chunk| chunk.range.start) + hit.sentence.range.start as u64
}
