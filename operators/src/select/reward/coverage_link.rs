//! A reward that is worked out: what of the query is covered, how relevant the parts are, how they belong together,
//! less what they repeat and cost.

use std::collections::BTreeSet;

use anabranch_engine::operator::OpError;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reward;
use crate::select::candidates::{Candidates, frequencies, idf};
use crate::select::links::links;
use crate::select::search::Set;
use crate::words::terms;

/// Most terms of a query that are looked at, the rarest first.
const TERMS_MAX: usize = 64;

/// How much each part of the reward counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The share of the query's words that the set has, rare words counting more.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub coverage: f64,
    /// The relevance of each chunk, from 0 to 1 for the best.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub relevance: f64,
    /// For each chunk, the relevance of the best other one in the set that it is linked with: the title of one stands
    /// in the other, or both have a rare name.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub link: f64,
    /// For each pair of chunks, the share of their words that they have in common; it counts against the set.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub redundancy: f64,
    /// The share of `max_tokens` that the set takes; it counts against the set.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub cost: f64,
    /// Whether names link, besides titles: those listed under `entities` in a chunk's metadata, else those of several
    /// words with capitals.
    pub names: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { coverage: 2.0, relevance: 0.25, link: 0.5, redundancy: 0.1, cost: 0.3, names: true }
    }
}

/// The reward that is worked out.
///
/// Coverage has less and less to give the more is taken, links give more the more is taken: together neither taking
/// what adds most nor going by single chunks finds the best set for sure.
#[derive(Debug, Clone)]
pub struct CoverageLink {
    settings: Settings,
    /// Which of the query's terms each candidate has, as bits.
    has: Vec<u64>,
    /// How much each of these terms counts; together 1.
    weights: Vec<f64>,
    relevance: Vec<f64>,
    /// Which candidates each is linked with, as bits. The lowest bit is the most relevant.
    links: Vec<u64>,
    /// The share of words in common, by both places.
    overlap: Vec<Vec<f64>>,
    /// The share of the tokens allowed.
    shares: Vec<f64>,
}

impl CoverageLink {
    /// The reward of sets of `candidates` for `query`, of which `max_tokens` may be taken.
    pub fn new(query: &str, candidates: &Candidates, max_tokens: usize, settings: &Settings) -> Self {
        let texts: Vec<BTreeSet<&str>> =
            candidates.terms().iter().map(|terms| terms.iter().map(String::as_str).collect()).collect();
        let frequencies = frequencies(candidates.terms());
        // A term that no candidate has can be covered by none.
        let distinct: BTreeSet<String> = terms(query).into_iter().collect();
        let mut asked: Vec<(String, f64)> = distinct
            .into_iter()
            .filter_map(|term| {
                let weight = idf(texts.len(), *frequencies.get(term.as_str())?);
                Some((term, weight))
            })
            .collect();
        asked.sort_by(|(one, a), (other, b)| b.total_cmp(a).then_with(|| one.cmp(other)));
        asked.truncate(TERMS_MAX);
        let total: f64 = asked.iter().map(|(_, weight)| weight).sum();
        let bits = |text: &BTreeSet<&str>| {
            let has = asked.iter().enumerate().filter(|(_, (term, _))| text.contains(term.as_str()));
            has.fold(0, |bits, (at, _)| bits | 1 << at)
        };
        Self {
            settings: *settings,
            has: texts.iter().map(bits).collect(),
            weights: asked.iter().map(|(_, weight)| weight / total).collect(),
            relevance: candidates.relevance().to_vec(),
            links: links(query, candidates, settings.names),
            overlap: texts
                .iter()
                .map(|one| texts.iter().map(|other| jaccard(one, other)).collect())
                .collect(),
            shares: candidates.costs().iter().map(|cost| *cost as f64 / max_tokens.max(1) as f64).collect(),
        }
    }

    /// The same with other weights. Whether names link stays as it was.
    #[must_use]
    pub fn weighing(&self, settings: &Settings) -> Self {
        Self { settings: Settings { names: self.settings.names, ..*settings }, ..self.clone() }
    }

    /// The same where other numbers of tokens may be taken.
    #[must_use]
    pub fn within(&self, candidates: &Candidates, max_tokens: usize) -> Self {
        let share = |cost: &usize| *cost as f64 / max_tokens.max(1) as f64;
        Self { shares: candidates.costs().iter().map(share).collect(), ..self.clone() }
    }

    /// What a set is worth.
    pub fn value(&self, set: &Set) -> f64 {
        let of = |values: &[f64], place: usize| values.get(place).copied().unwrap_or_default();
        let bits = |values: &[u64], place: usize| values.get(place).copied().unwrap_or_default();
        let taken = set.places().fold(0_u64, |taken, place| taken | 1 << place);
        let mut covered = 0;
        let mut worth = 0.0;
        for place in set.places() {
            covered |= bits(&self.has, place);
            worth += self.settings.relevance * of(&self.relevance, place);
            worth -= self.settings.cost * of(&self.shares, place);
            let partners = bits(&self.links, place) & taken;
            if partners != 0 {
                worth += self.settings.link * of(&self.relevance, partners.trailing_zeros() as usize);
            }
            let overlap = self.overlap.get(place).map_or(&[][..], Vec::as_slice);
            let others = set.places().filter(|other| *other < place);
            worth -= self.settings.redundancy * others.map(|other| of(overlap, other)).sum::<f64>();
        }
        while covered != 0 {
            worth += self.settings.coverage * of(&self.weights, covered.trailing_zeros() as usize);
            covered &= covered - 1;
        }
        worth
    }
}

#[async_trait]
impl Reward for CoverageLink {
    async fn values(&self, sets: &[Set]) -> Result<Vec<f64>, OpError> {
        Ok(sets.iter().map(|set| self.value(set)).collect())
    }
}

/// The share of the terms of both that both have.
fn jaccard(one: &BTreeSet<&str>, other: &BTreeSet<&str>) -> f64 {
    let both = one.intersection(other).count();
    let any = one.len() + other.len() - both;
    if any == 0 { 0.0 } else { both as f64 / any as f64 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{chunk, scored};
    use crate::tokens::Counter;
    use anabranch_engine::value::Chunk;

    const ONLY: Settings =
        Settings { coverage: 0.0, relevance: 0.0, link: 0.0, redundancy: 0.0, cost: 0.0, names: false };

    /// Two that belong together, the second less relevant, and one that repeats the first.
    fn three() -> Vec<Arc<Chunk>> {
        let with = |doc: &str, title: &str, text: &str, score| {
            let chunk = Chunk { title: Some(title.into()), ..Chunk::clone(&chunk(doc, text)) };
            scored(&Arc::new(chunk), score)
        };
        vec![
            with("a", "Emma", "A novel by Jane Austen.", 4.0),
            with("b", "Jane Austen", "Born 1775.", 2.0),
            with("c", "Emma", "A novel by her.", 1.0),
        ]
    }

    fn reward(settings: Settings) -> CoverageLink {
        let query = "When was the author of the novel Emma born?";
        let candidates = Candidates::of(query, &three(), 20, &Counter::default());
        CoverageLink::new(query, &candidates, 20, &settings)
    }

    fn set(places: &[usize]) -> Set {
        places.iter().fold(Set::default(), |set, place| set.with(*place, false))
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} and {b}");
    }

    #[test]
    fn coverage_counts_every_word_of_the_query_once() {
        let reward = reward(Settings { coverage: 1.0, ..ONLY });
        close(reward.value(&set(&[0, 1])), 1.0);
        close(reward.value(&set(&[0, 2])), reward.value(&set(&[0])));
        let (novel, born) = (reward.value(&set(&[0])), reward.value(&set(&[1])));
        close(novel + born, 1.0);
        assert!(born > novel, "one word that a single chunk has counts more than two that two have");
    }

    #[test]
    fn relevance_is_added_up() {
        close(reward(Settings { relevance: 1.0, ..ONLY }).value(&set(&[0, 1, 2])), 1.75);
    }

    #[test]
    fn a_link_gives_each_side_the_relevance_of_the_other() {
        let reward = reward(Settings { link: 1.0, ..ONLY });
        close(reward.value(&set(&[0, 1])), 0.5 + 1.0);
        close(reward.value(&set(&[0, 2])), 0.0);
        close(reward.value(&set(&[0])), 0.0);
    }

    #[test]
    fn what_is_repeated_counts_against_a_set_and_so_do_its_tokens() {
        // `emma`, `novel` of `emma`, `novel`, `jane`, `austen`.
        close(reward(Settings { redundancy: 1.0, ..ONLY }).value(&set(&[0, 2])), -0.5);
        let tokens: usize = three().iter().map(|chunk| Counter::default().of_chunk(chunk)).sum();
        close(reward(Settings { cost: 1.0, ..ONLY }).value(&set(&[0, 1, 2])), -(tokens as f64) / 20.0);
    }

    #[test]
    fn other_weights_change_the_weights_alone() {
        let settings = Settings::default();
        let found = reward(ONLY).weighing(&settings);
        close(found.value(&set(&[0, 1])), reward(Settings { names: false, ..settings }).value(&set(&[0, 1])));
    }

    #[test]
    fn nothing_is_worth_nothing() {
        close(reward(Settings::default()).value(&Set::default()), 0.0);
        let none = Candidates::of("q", &[], 20, &Counter::default());
        close(CoverageLink::new("q", &none, 0, &Settings::default()).value(&Set::default()), 0.0);
    }
}
