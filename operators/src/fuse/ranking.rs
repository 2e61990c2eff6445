//! Makes one ranking of several: by ranks or by scores.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anabranch_engine::operator::{OpError, SettingProblem};
use anabranch_engine::value::{Chunk, ChunkId, Score};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the scores of a ranking are made comparable with those of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// From 0 for the worst to 1 for the best; where all are equal, all are 1.
    #[default]
    Minmax,
    /// How many standard deviations a score lies above the mean; where all are equal, all are 0.
    Zscore,
    /// As they are.
    None,
}

/// Each chunk with what it got from the rankings.
type Gathered = IndexMap<ChunkId, (Arc<Chunk>, Vec<f64>)>;

/// Fuses by ranks: a chunk has the sum of `weight / (k + rank)` over the rankings that have it, ranks from 1.
pub(crate) fn rrf(rankings: &[Vec<Arc<Chunk>>], k: f64, weights: &[f64]) -> Result<Vec<Arc<Chunk>>, OpError> {
    let weights = weights_for(rankings, weights)?;
    let mut gathered = Gathered::new();
    for (ranking, weight) in rankings.iter().zip(weights) {
        for (rank, chunk) in (1_u32..).zip(once_each(ranking)) {
            let (_, parts) = gathered.entry(chunk.id.clone()).or_insert_with(|| (chunk.clone(), Vec::new()));
            parts.push(weight / (k + f64::from(rank)));
        }
    }
    ranked(gathered)
}

/// Fuses by scores: a chunk has the sum of `weight * score` over all rankings, the scores made comparable before. In a
/// ranking that does not have it, it has the least score of that ranking.
pub(crate) fn weighted(
    rankings: &[Vec<Arc<Chunk>>],
    normalise: Normalise,
    weights: &[f64],
) -> Result<Vec<Arc<Chunk>>, OpError> {
    let weights = weights_for(rankings, weights)?;
    let mut gathered: Gathered = rankings
        .iter()
        .flatten()
        .rev()
        .map(|chunk| (chunk.id.clone(), (chunk.clone(), Vec::new())))
        .collect();
    for (position, (ranking, weight)) in rankings.iter().zip(weights).enumerate() {
        let chunks: Vec<&Arc<Chunk>> = once_each(ranking).collect();
        let scores = chunks.iter().map(|chunk| score_of(chunk, position)).collect::<Result<Vec<_>, _>>()?;
        let scores = normalised(&scores, normalise);
        let least = match normalise {
            Normalise::Minmax => 0.0,
            _ => scores.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0),
        };
        let own: HashMap<&ChunkId, f64> = chunks.iter().map(|chunk| &chunk.id).zip(scores).collect();
        for (id, (_, parts)) in &mut gathered {
            parts.push(weight * own.get(id).copied().unwrap_or(least));
        }
    }
    ranked(gathered)
}

/// The chunks of a ranking; one that stands in it twice only at its better place.
fn once_each(ranking: &[Arc<Chunk>]) -> impl Iterator<Item = &Arc<Chunk>> {
    let mut seen = HashSet::with_capacity(ranking.len());
    ranking.iter().filter(move |chunk| seen.insert(&chunk.id))
}

/// A weight for every ranking; without any, all count the same.
fn weights_for(rankings: &[Vec<Arc<Chunk>>], weights: &[f64]) -> Result<Vec<f64>, OpError> {
    match weights.len() {
        0 => Ok(vec![1.0; rankings.len()]),
        n if n == rankings.len() => Ok(weights.to_vec()),
        n => Err(OpError::InvalidInput(format!(
            "there are {n} `weights` for {} rankings; give one for each, or leave `weights` out where rankings may be absent",
            rankings.len()
        ))),
    }
}

/// The problem of weights that leave no ranking anything to say.
pub(crate) fn check_weights(pointer: &str, weights: &[f64]) -> Vec<SettingProblem> {
    if weights.is_empty() || weights.iter().any(|weight| *weight > 0.0) {
        return Vec::new();
    }
    vec![SettingProblem {
        pointer: pointer.to_owned(),
        message: "all weights are 0, so every chunk would score the same".to_owned(),
        hint: Some("give at least one ranking a weight above 0".to_owned()),
    }]
}

fn score_of(chunk: &Chunk, ranking: usize) -> Result<f64, OpError> {
    chunk.score.map(Score::get).ok_or_else(|| {
        OpError::InvalidInput(format!(
            "chunk `{}` of `rankings[{ranking}]` has no score; take it from a node that gives scores (`retrieve.*`, `rerank.*`), or fuse by ranks with `fuse.rrf`",
            chunk.id
        ))
    })
}

/// The scores of one ranking on a common scale.
fn normalised(scores: &[f64], how: Normalise) -> Vec<f64> {
    let n = scores.len().max(1) as f64;
    match how {
        Normalise::None => scores.to_vec(),
        Normalise::Minmax => {
            let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // Half the distance, which is finite for any two finite scores.
            let above = |score: f64| score / 2.0 - least / 2.0;
            let span = above(most);
            scores.iter().map(|score| if span > 0.0 { above(*score) / span } else { 1.0 }).collect()
        }
        Normalise::Zscore => {
            let mean = scores.iter().map(|score| score / n).sum::<f64>();
            let distances: Vec<f64> = scores.iter().map(|score| score / 2.0 - mean / 2.0).collect();
            // In units of the largest distance first: the square of a large one would not be finite.
            let far = distances.iter().copied().map(f64::abs).fold(0.0, f64::max);
            let alike = scores.iter().all(|score| Some(score) == scores.first());
            if alike || far == 0.0 {
                return vec![0.0; scores.len()];
            }
            let deviation = (distances.iter().map(|d| (d / far).powi(2)).sum::<f64>() / n).sqrt();
            distances.iter().map(|d| d / far / deviation).collect()
        }
    }
}

/// The chunks with the sums of their parts, best first.
fn ranked(gathered: Gathered) -> Result<Vec<Arc<Chunk>>, OpError> {
    let mut chunks = Vec::with_capacity(gathered.len());
    for (chunk, mut parts) in gathered.into_values() {
        // In one order, whatever that of the rankings: the sum of floats depends on it.
        parts.sort_by(f64::total_cmp);
        let score = Score::new(parts.iter().sum()).ok_or_else(|| {
            OpError::InvalidInput(format!("the scores of chunk `{}` are too large to be added", chunk.id))
        })?;
        chunks.push(Arc::new(Chunk { score: Some(score), ..Chunk::clone(&chunk) }));
    }
    chunks.sort_by(|a, b| best_first(a, b));
    Ok(chunks)
}

/// The better score first; equal ones in the order of document and place.
pub(crate) fn best_first(a: &Chunk, b: &Chunk) -> Ordering {
    let score = |chunk: &Chunk| chunk.score.map_or(f64::NEG_INFINITY, Score::get);
    score(b)
        .total_cmp(&score(a))
        .then_with(|| a.doc.cmp(&b.doc))
        .then_with(|| a.range.cmp(&b.range))
        .then_with(|| a.id.cmp(&b.id))
}

/// The first `top_k` of `chunks`, and their scores.
pub(crate) fn top(mut chunks: Vec<Arc<Chunk>>, top_k: usize) -> (Vec<Arc<Chunk>>, Vec<Score>) {
    chunks.truncate(top_k);
    let scores = chunks.iter().map(|chunk| chunk.score.unwrap_or_default()).collect();
    (chunks, scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, docs_of, scored};
    use proptest::prelude::*;

    #[test]
    fn scores_come_onto_one_scale() {
        assert_eq!(normalised(&[4.0, 1.0, 2.0], Normalise::None), [4.0, 1.0, 2.0]);
        assert_eq!(normalised(&[5.0, 1.0, 2.0], Normalise::Minmax), [1.0, 0.0, 0.25]);
        assert_eq!(normalised(&[3.0, 3.0], Normalise::Minmax), [1.0, 1.0]);
        // Mean 5, deviation 2.
        let found = normalised(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], Normalise::Zscore);
        let expected = [-1.5, -0.5, -0.5, -0.5, 0.0, 0.0, 1.0, 2.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(normalised(&[0.1, 0.1, 0.1], Normalise::Zscore), [0.0; 3]);
        assert!([Normalise::Minmax, Normalise::Zscore].iter().all(|how| normalised(&[], *how).is_empty()));
    }

    #[test]
    fn the_largest_scores_there_are_stay_finite() {
        for how in [Normalise::Minmax, Normalise::Zscore] {
            let found = normalised(&[f64::MAX, 0.0, f64::MIN], how);
            assert!(found.iter().all(|score| score.is_finite()), "{found:?}");
        }
    }

    /// Rankings of some of eight chunks, each with falling scores.
    fn rankings() -> impl Strategy<Value = Vec<Vec<Arc<Chunk>>>> {
        let order = Just((0..8).collect::<Vec<usize>>()).prop_shuffle();
        let ranking = (order, 0..=8_usize).prop_map(|(order, n)| {
            let chunk = |(place, name): (usize, &usize)| {
                scored(&chunk(&name.to_string(), "text"), 1.0 / (1.0 + place as f64))
            };
            order.iter().take(n).enumerate().map(chunk).collect::<Vec<_>>()
        });
        proptest::collection::vec(ranking, 0..5)
    }

    fn shown(chunks: &[Arc<Chunk>]) -> Vec<(String, f64)> {
        chunks.iter().map(|chunk| (chunk.doc.to_string(), chunk.score.unwrap().get())).collect()
    }

    fn all_ways(rankings: &[Vec<Arc<Chunk>>]) -> [Vec<Arc<Chunk>>; 4] {
        [
            rrf(rankings, 60.0, &[]).unwrap(),
            weighted(rankings, Normalise::Minmax, &[]).unwrap(),
            weighted(rankings, Normalise::Zscore, &[]).unwrap(),
            weighted(rankings, Normalise::None, &[]).unwrap(),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_the_rankings_changes_nothing(
            (rankings, shuffled) in rankings().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
        ) {
            for (one, other) in all_ways(&rankings).iter().zip(all_ways(&shuffled)) {
                prop_assert_eq!(shown(one), shown(&other));
            }
        }

        #[test]
        fn one_ranking_keeps_its_order_alone_and_beside_itself(rankings in rankings(), copies in 1..4_usize) {
            for ranking in rankings {
                for fused in all_ways(&vec![ranking.clone(); copies]) {
                    prop_assert_eq!(docs_of(&fused), docs_of(&ranking));
                }
            }
        }

        #[test]
        fn scores_are_the_sums_that_the_formula_says(rankings in rankings(), k in 0.0..100.0_f64) {
            for (doc, score) in shown(&rrf(&rankings, k, &[]).unwrap()) {
                let rank = |ranking: &Vec<Arc<Chunk>>| ranking.iter().position(|chunk| *chunk.doc.0 == *doc);
                let expected: f64 = rankings.iter().filter_map(rank).map(|rank| 1.0 / (k + rank as f64 + 1.0)).sum();
                prop_assert!((score - expected).abs() < 1e-12, "{} {}", score, expected);
            }
            for (doc, score) in shown(&weighted(&rankings, Normalise::None, &[]).unwrap()) {
                // Scores fall, so the last one is the least.
                let own = |ranking: &Vec<Arc<Chunk>>| {
                    let chunk = ranking.iter().find(|chunk| *chunk.doc.0 == *doc).or(ranking.last());
                    chunk.map_or(0.0, |chunk| chunk.score.unwrap().get())
                };
                let expected: f64 = rankings.iter().map(own).sum();
                prop_assert!((score - expected).abs() < 1e-12, "{} {}", score, expected);
            }
        }
    }
}
