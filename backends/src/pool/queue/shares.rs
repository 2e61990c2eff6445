//! Fair shares by virtual time: whoever has had least goes first, and nobody saves up turns by being away.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996) with one change: virtual time also advances with what is
//! served, so that a stream of newcomers, who all begin at the present, cannot hold back somebody who waits.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Most of those who are away and still owe time that are remembered; beyond it the debts that end first are forgotten.
const AWAY_MAX: usize = 4_096;
/// Steps of virtual time in a token, so that it advances while many share.
const STEPS: u64 = 1_024;

/// Who shares, and how far each is.
#[derive(Debug)]
pub(super) struct Shares<K> {
    /// Virtual time.
    now: u64,
    n_joined: u64,
    flows: HashMap<K, Flow>,
    ready: BTreeSet<(u64, u64, K)>,
    /// Those without anything to send whose last turn is not over in virtual time.
    away: BTreeSet<(u64, K)>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    /// When its next turn begins.
    start: u64,
    /// Equal starts: who joined first.
    joined: u64,
    is_ready: bool,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { now: 0, n_joined: 0, flows: HashMap::new(), ready: BTreeSet::new(), away: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Shares<K> {
    /// `key` has something to send.
    pub(super) fn join(&mut self, key: &K) {
        let before = self.flows.get(key).copied();
        if before.is_some_and(|flow| flow.is_ready) {
            return;
        }
        if let Some(flow) = before {
            self.away.remove(&(flow.start, key.clone()));
        }
        self.n_joined += 1;
        let start = before.map_or(self.now, |flow| flow.start.max(self.now));
        self.flows.insert(key.clone(), Flow { start, joined: self.n_joined, is_ready: true });
        self.ready.insert((start, self.n_joined, key.clone()));
    }

    /// `key` has nothing to send any more.
    pub(super) fn leave(&mut self, key: &K) {
        let Some(flow) = self.flows.get_mut(key).filter(|flow| flow.is_ready) else { return };
        flow.is_ready = false;
        let flow = *flow;
        self.ready.remove(&(flow.start, flow.joined, key.clone()));
        self.away.insert((flow.start, key.clone()));
        self.forgive();
    }

    /// `key` has sent something that takes `cost`.
    pub(super) fn charge(&mut self, key: &K, cost: u64) {
        let n_ready = self.ready.len().max(1) as u64;
        let Some(flow) = self.flows.get_mut(key).filter(|flow| flow.is_ready) else { return };
        let steps = cost.max(1).saturating_mul(STEPS);
        let before = *flow;
        flow.start = flow.start.max(self.now).saturating_add(steps);
        let after = flow.start;
        self.ready.remove(&(before.start, before.joined, key.clone()));
        self.ready.insert((after, before.joined, key.clone()));
        let least = self.ready.first().map_or(after, |first| first.0);
        self.now = self.now.saturating_add(steps / n_ready).max(least.min(before.start));
        self.forgive();
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<&K> {
        self.ready().next()
    }

    /// All who have something to send, by turn.
    pub(super) fn ready(&self) -> impl Iterator<Item = &K> {
        self.ready.iter().map(|(_, _, key)| key)
    }

    /// Forgets those away whose last turn is over: they are as good as new.
    fn forgive(&mut self) {
        while let Some((end, _)) = self.away.first()
            && (*end <= self.now || self.away.len() > AWAY_MAX)
        {
            if let Some((_, key)) = self.away.pop_first() {
                self.flows.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_always_have_something_take_turns_by_cost() {
        let mut shares = Shares::default();
        shares.join(&"small");
        shares.join(&"large");
        let mut served = HashMap::new();
        for _ in 0..300 {
            let key = *shares.first().unwrap();
            let cost = if key == "small" { 1 } else { 2 };
            shares.charge(&key, cost);
            *served.entry(key).or_insert(0) += 1;
        }
        assert_eq!((served["small"], served["large"]), (200, 100));
    }

    #[test]
    fn who_leaves_after_every_turn_gets_no_more_than_who_stays() {
        let mut shares = Shares::default();
        shares.join(&"stays");
        let mut n_turns = 0;
        for _ in 0..100 {
            shares.join(&"leaves");
            let key = *shares.first().unwrap();
            shares.charge(&key, 10);
            if key == "leaves" {
                n_turns += 1;
            }
            shares.leave(&"leaves");
        }
        assert!((45..=55).contains(&n_turns), "{n_turns}");
    }

    #[test]
    fn newcomers_without_end_do_not_hold_back_who_waits() {
        let mut shares = Shares::default();
        shares.join(&0);
        let mut n_turns = 0;
        for newcomer in 1..=300 {
            shares.join(&newcomer);
            let key = *shares.first().unwrap();
            shares.charge(&key, 10);
            if key == 0 {
                n_turns += 1;
            } else {
                shares.leave(&key);
            }
        }
        assert!(n_turns > 5, "{n_turns} of 300");
    }

    #[test]
    fn whoever_is_away_is_forgotten_in_time() {
        let mut shares = Shares::default();
        for key in 0..10_000 {
            shares.join(&key);
            shares.charge(&key, 5);
            shares.leave(&key);
        }
        assert!(shares.flows.len() <= AWAY_MAX + 1, "{}", shares.flows.len());
    }
}
