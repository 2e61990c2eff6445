//! Operators that choose among chunks under a number of tokens, and what they share.

use std::sync::Arc;

use anabranch_engine::ports;
use anabranch_engine::value::Chunk;
use serde::{Deserialize, Serialize};

use crate::record::map_record;

pub mod budget;
pub mod candidates;
pub mod exact;
pub mod greedy;
mod links;
pub mod mcts;
pub mod mmr;
pub mod reward;
pub mod search;
mod task;

ports! {
    /// What those read that choose for a query.
    pub struct In {
        /// What the chunks should answer, usually the question.
        pub query: String,
        /// The chunks to choose among. Their order does not matter: their scores do, or, where one has none, their
        /// words.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What those give that look for the best set.
    pub struct Out {
        /// The chunks taken, best first.
        pub chunks: Vec<Arc<Chunk>>,
        /// The chunks left out, in the order in which they came.
        pub dropped: Vec<Arc<Chunk>>,
        /// Tokens of the chunks taken, together.
        pub tokens: usize,
        /// How the search went: `evals`, `iterations`, `best_value`, `cost`, `candidates`, `stop` and, with a judge,
        /// `judged` and `answerable`.
        pub stats: Stats,
        /// Of `select.mcts`, the 100 sets that the search went through most and the way to the set taken, as a tree: `id`,
        /// `parent` (null for the empty set at the root), `label` (the chunk that was added), `visits` (0 for what an exchange led to),
        /// `value`, and `chosen` on the way to the set taken. Empty otherwise.
        pub tree: Vec<Branch>,
    }
}

/// A set in a search's tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Names it in the tree.
    pub id: usize,
    /// The set that it was made of by one more chunk.
    pub parent: Option<usize>,
    /// That chunk.
    pub label: String,
    /// How often the search went through it.
    pub visits: u32,
    /// What the search knows of its worth and of that of the sets below it.
    pub value: f64,
    /// Whether it is on the way to the set taken.
    pub chosen: bool,
}

/// How a search went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Sets whose reward was worked out; none twice.
    pub evals: usize,
    /// Steps of the search: sets extended by one chunk in every way.
    pub iterations: usize,
    /// The reward of the set taken.
    pub best_value: f64,
    /// Its tokens.
    pub cost: usize,
    /// How many chunks were looked at, copies left out.
    pub candidates: usize,
    /// Why it ended: `nothing_fits`, `exhausted`, `no_gain`, `iterations`, `patience` or `max_evals`.
    pub stop: search::Stop,
    /// How many sets a judge was shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub judged: Option<usize>,
    /// Whether the judge found the set taken to hold an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answerable: Option<bool>,
}

map_record!(Branch, Stats);
