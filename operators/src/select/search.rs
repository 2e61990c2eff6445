//! Looks for the set of candidates that is worth most and fits.

use std::cmp::Ordering;

use anabranch_engine::operator::OpError;
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use super::reward::Reward;

pub mod exact;
mod exchange;
pub mod greedy;
pub mod tree;

#[cfg(test)]
mod tests;

/// Some candidates, by their places. In the order of the places, unless the order matters to the reward.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(Vec<u8>);

impl Set {
    /// The places.
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|place| usize::from(*place))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the candidate at `place` is among them.
    pub fn has(&self, place: usize) -> bool {
        self.places().any(|other| other == place)
    }

    /// These and the candidate at `place`: behind them if the order matters, else where it belongs.
    pub(crate) fn with(&self, place: usize, is_ordered: bool) -> Self {
        // There are at most `CANDIDATES_MAX` candidates.
        let place = u8::try_from(place).unwrap_or(u8::MAX);
        let mut places = Vec::with_capacity(self.0.len() + 1);
        places.extend_from_slice(&self.0);
        let at = if is_ordered { places.len() } else { places.partition_point(|other| *other < place) };
        places.insert(at, place);
        Self(places)
    }

    /// How many candidates have to be exchanged, added or left out to make one of the other.
    fn n_exchanged(&self, other: &Self) -> usize {
        let n_common = self.places().filter(|place| other.has(*place)).count();
        self.len().max(other.len()) - n_common
    }

    /// These but the candidate at `place`.
    fn without(&self, place: usize) -> Self {
        Self(self.0.iter().copied().filter(|other| usize::from(*other) != place).collect())
    }
}

/// What may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The candidates' tokens, by place.
    pub costs: Vec<usize>,
    /// Most tokens that a set may have.
    pub max_tokens: usize,
    /// Most candidates that a set may have.
    pub max_chunks: usize,
    /// Whether two orders of the same candidates are two sets.
    pub is_ordered: bool,
}

impl Problem {
    /// Tokens of the candidate at `place`.
    fn cost(&self, place: usize) -> usize {
        self.costs.get(place).copied().unwrap_or_default()
    }

    /// Tokens of a set.
    pub fn cost_of(&self, set: &Set) -> usize {
        set.places().map(|place| self.cost(place)).sum()
    }

    /// The candidates that still fit beside `set`, which has `cost` tokens.
    fn room<'a>(&'a self, set: &'a Set, cost: usize) -> impl Iterator<Item = usize> + 'a {
        let places = if set.len() < self.max_chunks { 0..self.costs.len() } else { 0..0 };
        places.filter(move |place| {
            cost.saturating_add(self.cost(*place)) <= self.max_tokens && !set.has(*place)
        })
    }

    /// Every set that fits and has one candidate more than `set`.
    fn extensions(&self, set: &Set) -> Vec<Set> {
        self.room(set, self.cost_of(set)).map(|place| set.with(place, self.is_ordered)).collect()
    }
}

/// How much may be asked of a reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most sets whose reward is worked out.
    pub max_evals: usize,
    /// Most sets that the reward is asked about at a time.
    pub batch: usize,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// No candidate fits, or there is none.
    NothingFits,
    /// Every set was looked at.
    Exhausted,
    /// No candidate more makes the set better.
    NoGain,
    /// It took all steps that it may.
    Iterations,
    /// It took as many steps as `patience` allows without finding anything better.
    Patience,
    /// It asked for the reward as often as it may.
    MaxEvals,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The best set: of equal ones that of fewer tokens, then of fewer candidates, then of earlier ones.
    pub set: Set,
    /// Its reward.
    pub value: f64,
    /// The next best with their rewards, best first.
    pub runners_up: Vec<(Set, f64)>,
    /// Sets whose reward was worked out.
    pub evals: usize,
    /// Steps taken.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
    /// Of a search along a tree, the sets that it went through most, each behind the one that it was made of.
    pub steps: Vec<Step>,
}

/// A set that a search went through.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step that it came from.
    pub parent: Option<usize>,
    /// The set.
    pub set: Set,
    /// How often it went through it.
    pub visits: u32,
    /// What it knows of its worth.
    pub value: f64,
}

/// Asks a reward about every set once, in batches, and no more often than it may.
pub(crate) struct Evaluator<'a, R: ?Sized> {
    problem: &'a Problem,
    reward: &'a R,
    bounds: Bounds,
    values: IndexMap<Set, f64>,
    best: Option<(Set, f64)>,
}

impl<'a, R: Reward + ?Sized> Evaluator<'a, R> {
    pub(crate) fn new(problem: &'a Problem, reward: &'a R, bounds: Bounds) -> Self {
        Self { problem, reward, bounds, values: IndexMap::new(), best: None }
    }

    /// Works out the rewards of `sets` that are not known. `false` if it may not ask about all of them; those in front
    /// are known then.
    pub(crate) async fn evaluate(&mut self, sets: &[Set]) -> Result<bool, OpError> {
        let is_unknown = |set: &&Set| !self.values.contains_key(*set);
        let unknown: IndexSet<&Set> = sets.iter().filter(is_unknown).collect();
        let mut unknown: Vec<Set> = unknown.into_iter().cloned().collect();
        let room = self.bounds.max_evals.saturating_sub(self.values.len());
        let is_complete = unknown.len() <= room;
        unknown.truncate(room);
        for batch in unknown.chunks(self.bounds.batch.max(1)) {
            let values = self.reward.values(batch).await?;
            for (set, value) in batch.iter().zip(values) {
                if self.best.as_ref().is_none_or(|best| self.is_better((set, value), (&best.0, best.1))) {
                    self.best = Some((set.clone(), value));
                }
                self.values.insert(set.clone(), value);
            }
        }
        Ok(is_complete)
    }

    /// The reward of `set`, if it was worked out.
    pub(crate) fn value(&self, set: &Set) -> Option<f64> {
        self.values.get(set).copied()
    }

    /// The best set so far.
    pub(crate) fn best(&self) -> Option<(&Set, f64)> {
        self.best.as_ref().map(|(set, value)| (set, *value))
    }

    /// All sets that were looked at with their rewards, best first.
    pub(crate) fn ranked(&self) -> impl Iterator<Item = (&Set, f64)> {
        let mut sets: Vec<(&Set, f64)> = self.values.iter().map(|(set, value)| (set, *value)).collect();
        sets.sort_by(|one, other| self.order(*one, *other));
        sets.into_iter()
    }

    pub(crate) fn problem(&self) -> &'a Problem {
        self.problem
    }

    fn is_better(&self, one: (&Set, f64), other: (&Set, f64)) -> bool {
        self.order(one, other).is_lt()
    }

    /// The better one first.
    fn order(&self, one: (&Set, f64), other: (&Set, f64)) -> Ordering {
        let by_cost = || self.problem.cost_of(one.0).cmp(&self.problem.cost_of(other.0));
        let by_place = || one.0.len().cmp(&other.0.len()).then_with(|| one.0.cmp(other.0));
        other.1.total_cmp(&one.1).then_with(by_cost).then_with(by_place)
    }

    /// What was found, with up to `n_runners_up` sets beside it.
    pub(crate) fn finish(self, iterations: usize, stop: Stop, n_runners_up: usize) -> Found {
        let evals = self.values.len();
        let mut runners_up = Vec::new();
        if n_runners_up > 0 {
            // The best one stands in front of them.
            let others = self.ranked().skip(1).take(n_runners_up);
            runners_up = others.map(|(set, value)| (set.clone(), value)).collect();
        }
        let nothing = self.reward.of_nothing();
        let (set, value) = match self.best {
            Some((set, value)) if nothing.is_none_or(|nothing| value > nothing) => (set, value),
            _ => {
                runners_up.clear();
                (Set::default(), nothing.unwrap_or_default())
            }
        };
        Found { set, value, runners_up, evals, iterations, stop, steps: Vec::new() }
    }
}
