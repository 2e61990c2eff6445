//! Which sentences answer a question, judged by the words that they share with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::value::Chunk;

use super::outline::Kind;
use super::sentences::{Sentence, sentences};
use crate::words::{is_stop_word, stem, terms, words};

/// Least share of the question's weight that a sentence's own words must have.
const MIN_OWN: f64 = 0.35;
/// Least share, with what stands around it.
const MIN_SCORE: f64 = 0.42;
/// The same for a question about a name that stands nowhere.
const MIN_SCORE_WITHOUT_NAME: f64 = 0.75;
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
    let least = if names_are_known(question, &candidates) { MIN_SCORE } else { MIN_SCORE_WITHOUT_NAME };
    for candidate in &mut candidates {
        let own = share(&candidate.terms);
        let Candidate { terms, above, before, .. } = &*candidate;
        let either: BTreeSet<String> = terms.iter().chain(above).chain(before).cloned().collect();
        let matched = own + AROUND * (share(&either) - own);
        let kept = own >= MIN_OWN && matched >= least;
        candidate.score =
            if kept { matched * prior(&candidate.hit) * focus(&candidate.hit, &asked) } else { 0.0 };
    }
    candidates.retain(|candidate| candidate.score > 0.0);
    in_reading_order(take_diverse(candidates, max), chunks)
}

/// What the place and form of a sentence say about it, whatever was asked.
fn prior(hit: &Hit) -> f64 {
    let sentence = &hit.sentence;
    let n_words = sentence.words.split_whitespace().count();
    let by_kind = match sentence.kind {
        Kind::Prose => 1.0,
        Kind::Row => 0.75,
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
        Some(':') => 0.4,
        _ => 1.0,
    };
    let by_place = if sentence.begins_block { 1.0 } else { 0.97 };
    by_kind * by_length * by_form * by_place / (1.0 + 0.03 * hit.chunk as f64)
}

/// How much a sentence is about what was asked, and not about much else besides.
fn focus(hit: &Hit, asked: &BTreeSet<String>) -> f64 {
    let words: Vec<String> = words(&hit.sentence.words).map(str::to_lowercase).collect();
    let is_asked: Vec<bool> = words.iter().map(|word| asked.contains(&stem(word))).collect();
    let density = is_asked.iter().filter(|is_asked| **is_asked).count() as f64 / words.len().max(1) as f64;
    let first = is_asked.iter().position(|is_asked| *is_asked);
    // It begins with what was asked and says what that is or does.
    let verb = first.and_then(|first| words.get(first + 1)).filter(|_| first.is_some_and(|first| first < 2));
    let defines = verb.is_some_and(|verb| {
        matches!(verb.as_str(), "is" | "are" | "was" | "were" | "means" | "has" | "does" | "takes" | "gives")
    });
    0.85 + 0.3 * density.min(0.5) + if defines { 0.15 } else { 0.0 }
}

/// Whether every name of the question stands somewhere. A name is a word with a capital, but for the first word.
fn names_are_known(question: &str, candidates: &[Candidate]) -> bool {
    let mut names = words(question).skip(1).filter(|word| word.chars().any(char::is_uppercase));
    names.all(|name| {
        let name = stem(&name.to_lowercase());
        is_stop_word(&name)
            || candidates
                .iter()
                .any(|candidate| candidate.terms.contains(&name) || candidate.above.contains(&name))
    })
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

/// Sentences of one document together, as they stand there; the document of the best sentence first.
fn in_reading_order(mut best_first: Vec<Hit>, chunks: &[Arc<Chunk>]) -> Vec<Hit> {
    let doc = |hit: &Hit| chunks.get(hit.chunk).map(|chunk| chunk.doc.clone());
    let docs: Vec<_> = best_first.iter().map(doc).collect();
    best_first.sort_by_key(|hit| (docs.iter().position(|other| *other == doc(hit)), start(chunks, hit)));
    best_first
}

fn start(chunks: &[Arc<Chunk>], hit: &Hit) -> u64 {
    chunks.get(hit.chunk).map_or(0, |chunk| chunk.range.start) + hit.sentence.range.start as u64
}
