//! Which sentences answer a question, judged by the words that they share with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::value::Chunk;

use super::cues::{self, Cue};
use super::outline::Kind;
use super::sentences::{Sentence, sentences};
use crate::words::{is_stop_word, stem, terms, words};

// These were chosen on one half of the questions of `benches/src/bin/reading.rs`, which reports on the other.

/// Least share of the question's weight that a sentence's own words must have.
const MIN_OWN: f64 = 0.15;
/// Least that the best sentence must match, or there is no answer.
const MIN_MATCH: f64 = 0.42;
/// The same for a question about a name that stands nowhere.
const MIN_MATCH_WITHOUT_NAME: f64 = 0.55;
/// A further sentence must reach this part of the best one's score.
const MIN_OF_BEST: f64 = 0.55;
/// How much a word counts that stands in the sentence before or after, or above.
const NEAR: f64 = 0.5;
/// How much a word counts that stands elsewhere in the chunk.
const FAR: f64 = 0.15;
/// What having all pairs of neighbouring words of the question adds.
const PAIRS: f64 = 0.3;
/// What is left of a sentence without the name, date or number that is asked for.
const WITHOUT_CUE: f64 = 0.65;
/// How much less a sentence is worth for every chunk before its own.
const RANK: f64 = 0.05;
/// How much likeness to a sentence already taken costs.
const REDUNDANCY: f64 = 0.5;

/// A sentence that answers, and which chunk it is from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    /// Index of its chunk.
    pub(crate) chunk: usize,
    /// Its number among all sentences of the chunks.
    number: usize,
    /// The sentence.
    pub(crate) sentence: Sentence,
}

struct Candidate {
    hit: Hit,
    /// Words of the sentence, in order.
    words: Vec<String>,
    terms: BTreeSet<String>,
    /// Words of the headings above.
    above: BTreeSet<String>,
    /// Words of the sentences before and after.
    beside: BTreeSet<String>,
    score: f64,
}

/// What a question asks, and how much each of its words tells.
struct Asked {
    terms: BTreeSet<String>,
    /// Terms that follow each other.
    pairs: BTreeSet<(String, String)>,
    weights: BTreeMap<String, f64>,
    total: f64,
    cue: Option<Cue>,
}

impl Asked {
    /// The part of the question's weight that `has` has.
    fn share(&self, has: impl Fn(&str) -> bool) -> f64 {
        let known = self.weights.iter().filter(|(term, _)| has(term));
        known.map(|(_, weight)| weight).sum::<f64>() / self.total
    }
}

/// At most `max` sentences that answer `question`, the best first; none if none does.
pub(crate) fn best(question: &str, chunks: &[Arc<Chunk>], max: usize) -> Vec<Hit> {
    let (mut candidates, around) = candidates(chunks);
    let asked = asked(question, &candidates);
    if asked.total <= 0.0 {
        return Vec::new();
    }
    let mut best_match = 0.0_f64;
    for candidate in &mut candidates {
        let Some(all) = around.get(candidate.hit.chunk) else { continue };
        let Some(matched) = matched(candidate, &asked, all) else { continue };
        best_match = best_match.max(matched);
        let hit = &candidate.hit;
        let is_asked = |word: &str| asked.terms.contains(&stem(&word.to_lowercase()));
        let lacks = asked.cue.is_some_and(|cue| !cues::has(&hit.sentence.words, cue, is_asked));
        let by_cue = if lacks { WITHOUT_CUE } else { 1.0 };
        candidate.score = matched * by_cue * prior(hit) * focus(hit, &asked.terms);
    }
    let least = if names_are_known(question, &candidates) { MIN_MATCH } else { MIN_MATCH_WITHOUT_NAME };
    if best_match < least {
        return Vec::new();
    }
    candidates.retain(|candidate| candidate.score > 0.0);
    with_what_follows(take_diverse(candidates, max))
}

/// How much of the question a sentence and what stands around it have; `None` if the sentence itself has too little.
/// `all` are the words of its chunk.
fn matched(candidate: &Candidate, asked: &Asked, all: &BTreeSet<String>) -> Option<f64> {
    let Candidate { words, terms, above, beside, .. } = candidate;
    let own = asked.share(|term| terms.contains(term));
    let near = asked.share(|term| terms.contains(term) || above.contains(term) || beside.contains(term));
    let far = asked.share(|term| all.contains(term));
    let pairs: BTreeSet<_> = pairs(words).filter(|pair| asked.pairs.contains(pair)).collect();
    let pairs = pairs.len() as f64 / asked.pairs.len().max(1) as f64;
    let matched = own + NEAR * (near - own) + FAR * (far - near).max(0.0) + PAIRS * pairs;
    (own >= MIN_OWN).then_some(matched)
}

fn pairs(words: &[String]) -> impl Iterator<Item = (String, String)> {
    words.iter().cloned().zip(words.iter().skip(1).cloned())
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
    by_kind * by_length * by_form * by_place / (1.0 + RANK * hit.chunk as f64)
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

/// The sentences of the chunks, and all words of each chunk.
fn candidates(chunks: &[Arc<Chunk>]) -> (Vec<Candidate>, Vec<BTreeSet<String>>) {
    let (mut candidates, mut around): (Vec<Candidate>, Vec<BTreeSet<String>>) = Default::default();
    for (index, chunk) in chunks.iter().enumerate() {
        let mut above: BTreeSet<String> =
            chunk.headings.iter().chain(&chunk.title).flat_map(|heading| terms(heading)).collect();
        let mut all = above.clone();
        let first = candidates.len();
        for sentence in sentences(chunk) {
            let words = terms(&sentence.words);
            let own: BTreeSet<String> = words.iter().cloned().collect();
            all.extend(own.iter().cloned());
            if sentence.kind == Kind::Heading {
                above.extend(own);
                continue;
            }
            let mut beside = BTreeSet::new();
            if let Some(before) = candidates.get_mut(first..).and_then(<[_]>::last_mut) {
                before.beside.extend(own.iter().cloned());
                beside.clone_from(&before.terms);
            }
            let hit = Hit { chunk: index, number: candidates.len(), sentence };
            candidates.push(Candidate { hit, words, terms: own, above: above.clone(), beside, score: 0.0 });
        }
        around.push(all);
    }
    (candidates, around)
}

/// How much each word of the question tells: rare words more. A word that stands nowhere tells the most, so that
/// sentences which share only the common words of a question do not answer it.
fn asked(question: &str, candidates: &[Candidate]) -> Asked {
    // In "the number of turns", turns are what is asked about.
    let words = terms(&question.to_lowercase().replace("number of", " "));
    let n = candidates.len() as f64;
    let weight = |term: &String| {
        let df = candidates.iter().filter(|candidate| candidate.terms.contains(term)).count() as f64;
        (term.clone(), 1.0 + ((n - df + 0.5) / (df + 0.5)).ln_1p())
    };
    let weights: BTreeMap<String, f64> = words.iter().map(weight).collect();
    Asked {
        pairs: pairs(&words).collect(),
        terms: words.into_iter().collect(),
        total: weights.values().sum(),
        weights,
        cue: cues::cue(question),
    }
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

/// Best first, but a sentence that follows another in the same chunk is read after it.
fn with_what_follows(best_first: Vec<Hit>) -> Vec<Hit> {
    let mut ordered: Vec<Hit> = Vec::new();
    for hit in best_first {
        let follows = |other: &Hit| other.chunk == hit.chunk && other.number + 1 == hit.number;
        let at = ordered.iter().position(follows).map_or(ordered.len(), |before| before + 1);
        ordered.insert(at, hit);
    }
    ordered
}
