//! The figures of a ranking that the reference file has.

use std::collections::BTreeSet;

use anabranch_evaluation::ranking::{ndcg_at, recall_at, reciprocal_rank_at};
use serde::{Deserialize, Serialize};

/// The figures of one set and system. The names are those of the reference file.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Share of the relevant documents among the first 5.
    #[serde(rename = "recall@5")]
    pub recall_5: f64,
    /// Among the first 10.
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    /// Among the first 20.
    #[serde(rename = "recall@20")]
    pub recall_20: f64,
    /// Normalised discounted cumulative gain of the first 10.
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
    /// One over the rank of the first relevant one of the first 10.
    #[serde(rename = "mrr@10")]
    pub mrr_10: f64,
}

impl Figures {
    /// Adds `weight` times `other`.
    pub fn add(&mut self, other: &Self, weight: f64) {
        self.recall_5 += other.recall_5 * weight;
        self.recall_10 += other.recall_10 * weight;
        self.recall_20 += other.recall_20 * weight;
        self.ndcg_10 += other.ndcg_10 * weight;
        self.mrr_10 += other.mrr_10 * weight;
    }
}

/// The figures of one query: a document is relevant or not.
pub fn figures_of(ranked: &[&str], relevant: &BTreeSet<&str>) -> Figures {
    Figures {
        recall_5: recall_at(ranked, relevant, 5),
        recall_10: recall_at(ranked, relevant, 10),
        recall_20: recall_at(ranked, relevant, 20),
        ndcg_10: ndcg_at(ranked, relevant, 10),
        mrr_10: reciprocal_rank_at(ranked, relevant, 10),
    }
}
