//! The best of what a search finds, in bounded memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use tantivy::DocAddress;

use super::order::Order;

/// A chunk that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) score: f64,
    rank: u32,
    pub(super) address: DocAddress,
}

impl Ord for Hit {
    /// The worse of two is the greater, so that a heap has the worst on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.rank.cmp(&other.rank))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Hit {}

/// The best `n_wanted` hits so far; of equal scores, those that come first by document and place.
pub(super) struct Best {
    n_wanted: usize,
    hits: BinaryHeap<Hit>,
    order: Arc<Order>,
    /// What a hit must reach, once there are enough.
    bar: f64,
}

impl Best {
    /// None yet, of `n_wanted`.
    pub(super) fn new(n_wanted: usize, order: Arc<Order>) -> Self {
        Self { n_wanted, hits: BinaryHeap::new(), order, bar: f64::NEG_INFINITY }
    }

    /// The score below which nothing is taken any more.
    pub(super) fn bar(&self) -> f64 {
        self.bar
    }

    /// Takes a hit if it is among the best.
    pub(super) fn offer(&mut self, score: f64, address: DocAddress) {
        if score < self.bar {
            return;
        }
        let hit = Hit { score, rank: self.order.rank(address), address };
        if self.hits.len() < self.n_wanted {
            self.hits.push(hit);
        } else if let Some(mut worst) = self.hits.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
        if self.hits.len() >= self.n_wanted {
            self.bar = self.hits.peek().map_or(f64::INFINITY, |worst| worst.score);
        }
    }

    /// The hits, best first.
    pub(super) fn into_sorted(self) -> Vec<Hit> {
        self.hits.into_sorted_vec()
    }
}
