//! Figures of a ranking of documents, each of which is relevant or not.
//!
//! A ranking lists documents best first, each once; see [`distinct`]. Ranks count from 1. Where nothing is relevant
//! there is nothing to find, and every figure is 0: leave such questions out.

use std::collections::{BTreeSet, HashSet};

/// A ranking with each document where it comes first: chunks of one document rank as their best.
pub fn distinct<'a>(docs: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    docs.into_iter().filter(|doc| seen.insert(*doc)).collect()
}

/// The ranks of the relevant documents, in order.
fn hits<'a>(ranked: &'a [&str], relevant: &'a BTreeSet<&str>) -> impl Iterator<Item = usize> {
    ranked.iter().zip(1..).filter(|(doc, _)| relevant.contains(*doc)).map(|(_, rank)| rank)
}

fn hits_within(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> usize {
    hits(ranked, relevant).take_while(|rank| *rank <= k).count()
}

/// The share of the relevant documents that are among the first `k`.
pub fn recall_at(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> f64 {
    hits_within(ranked, relevant, k) as f64 / relevant.len().max(1) as f64
}

/// 1 if every relevant document is among the first `k`, else 0: what a question over several documents needs.
pub fn all_at(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> f64 {
    let is_all = !relevant.is_empty() && hits_within(ranked, relevant, k) == relevant.len();
    f64::from(u8::from(is_all))
}

/// 1 if any relevant document is among the first `k`, else 0.
pub fn hit_at(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> f64 {
    f64::from(u8::from(hits_within(ranked, relevant, k) > 0))
}

/// Normalised discounted cumulative gain of the first `k`: a document at rank r gains 1 / log2(r + 1).
///
/// Source: Järvelin and Kekäläinen 2002, with gains of 0 and 1.
pub fn ndcg_at(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> f64 {
    let gain = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
    let ideal: f64 = (1..=relevant.len().min(k)).map(gain).sum();
    let gained: f64 = hits(ranked, relevant).take_while(|rank| *rank <= k).map(gain).sum();
    // An empty sum of floats is -0.
    if ideal > 0.0 { (gained + 0.0) / ideal } else { 0.0 }
}

/// One over the rank of the first relevant document, if it is among the first `k`; else 0. Its mean is the MRR.
pub fn reciprocal_rank_at(ranked: &[&str], relevant: &BTreeSet<&str>, k: usize) -> f64 {
    hits(ranked, relevant).next().filter(|rank| *rank <= k).map_or(0.0, |rank| 1.0 / rank as f64)
}

/// The mean of the precision at the rank of each relevant document; one that is not found counts 0. Its mean is the MAP.
pub fn average_precision(ranked: &[&str], relevant: &BTreeSet<&str>) -> f64 {
    let sum: f64 =
        hits(ranked, relevant).zip(1..).map(|(rank, n): (usize, usize)| n as f64 / rank as f64).sum();
    (sum + 0.0) / relevant.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn nothing_found_is_a_plain_zero() {
        let relevant = BTreeSet::from(["z"]);
        for figure in [ndcg_at(&["a"], &relevant, 10), average_precision(&["a"], &relevant)] {
            assert_eq!(figure.to_string(), "0");
        }
    }

    #[test]
    fn a_ranking_by_hand() {
        // Relevant are a, b and z; a comes second, b fourth, z not at all.
        let ranked = ["x", "a", "y", "b", "w"];
        let relevant = BTreeSet::from(["a", "b", "z"]);
        assert!(near(recall_at(&ranked, &relevant, 1), 0.0));
        assert!(near(recall_at(&ranked, &relevant, 3), 1.0 / 3.0));
        assert!(near(recall_at(&ranked, &relevant, 5), 2.0 / 3.0));
        assert!(near(all_at(&ranked, &relevant, 5), 0.0));
        assert!(near(all_at(&ranked, &BTreeSet::from(["a", "b"]), 4), 1.0));
        assert!(near(all_at(&ranked, &BTreeSet::from(["a", "b"]), 3), 0.0));
        assert!(near(hit_at(&ranked, &relevant, 1), 0.0));
        assert!(near(hit_at(&ranked, &relevant, 2), 1.0));
        assert!(near(reciprocal_rank_at(&ranked, &relevant, 5), 0.5));
        assert!(near(reciprocal_rank_at(&ranked, &relevant, 1), 0.0), "beyond the first");
        // 1/2 at rank 2, 2/4 at rank 4, nothing for z: one third of 1.
        assert!(near(average_precision(&ranked, &relevant), 1.0 / 3.0));
        // Gains 1/log2(3) and 1/log2(5) over 1 + 1/log2(3) + 1/log2(4).
        let by_hand = (1.0 / 3_f64.log2() + 1.0 / 5_f64.log2()) / (1.0 + 1.0 / 3_f64.log2() + 0.5);
        assert!(near(ndcg_at(&ranked, &relevant, 10), by_hand));
        // Only the first three count: 1/log2(3) over the same ideal of three.
        assert!(near(
            ndcg_at(&ranked, &relevant, 3),
            (1.0 / 3_f64.log2()) / (1.0 + 1.0 / 3_f64.log2() + 0.5)
        ));
    }

    #[test]
    fn chunks_of_a_document_rank_as_their_best() {
        assert_eq!(distinct(["b", "a", "b", "c", "a"]), ["b", "a", "c"]);
    }

    #[test]
    fn where_nothing_is_relevant_there_is_nothing_to_find() {
        let (ranked, relevant) = (["a"], BTreeSet::new());
        for figure in [recall_at, all_at, hit_at, ndcg_at, reciprocal_rank_at] {
            assert!(near(figure(&ranked, &relevant, 5), 0.0));
        }
        assert!(near(average_precision(&ranked, &relevant), 0.0));
    }

    fn some_ranking() -> impl Strategy<Value = (Vec<usize>, BTreeSet<usize>)> {
        let ranked = Just((0..12).collect::<Vec<usize>>()).prop_shuffle().prop_flat_map(|all| {
            (0..=all.len()).prop_map(move |n| all.iter().take(n).copied().collect::<Vec<_>>())
        });
        (ranked, prop::collection::btree_set(0..16_usize, 1..5))
    }

    proptest! {
        #[test]
        fn figures_are_shares_and_grow_with_k((ranked, relevant) in some_ranking(), k in 1..12_usize) {
            let names: Vec<String> = (0..16).map(|n| n.to_string()).collect();
            let ranked: Vec<&str> = ranked.iter().map(|n| names[*n].as_str()).collect();
            let relevant: BTreeSet<&str> = relevant.iter().map(|n| names[*n].as_str()).collect();
            for figure in [recall_at, all_at, hit_at, ndcg_at, reciprocal_rank_at] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&figure(&ranked, &relevant, k)));
            }
            for figure in [recall_at, all_at, hit_at, reciprocal_rank_at] {
                prop_assert!(figure(&ranked, &relevant, k) <= figure(&ranked, &relevant, k + 1));
            }
            let recall = recall_at(&ranked, &relevant, k);
            prop_assert!(all_at(&ranked, &relevant, k) <= recall && recall <= hit_at(&ranked, &relevant, k));
            prop_assert!((0.0..=1.0).contains(&average_precision(&ranked, &relevant)));
        }

        #[test]
        fn within_the_first_k_recall_does_not_mind_the_order_and_the_rest_likes_hits_first(
            (ranked, relevant) in some_ranking(),
        ) {
            let names: Vec<String> = (0..16).map(|n| n.to_string()).collect();
            let ranked: Vec<&str> = ranked.iter().map(|n| names[*n].as_str()).collect();
            let relevant: BTreeSet<&str> = relevant.iter().map(|n| names[*n].as_str()).collect();
            let k = ranked.len();
            let mut sorted = ranked.clone();
            sorted.sort_by_key(|doc| !relevant.contains(doc));
            prop_assert!(near(recall_at(&ranked, &relevant, k), recall_at(&sorted, &relevant, k)));
            prop_assert!(ndcg_at(&ranked, &relevant, 10) <= ndcg_at(&sorted, &relevant, 10) + 1e-12);
            prop_assert!(average_precision(&ranked, &relevant) <= average_precision(&sorted, &relevant) + 1e-12);
            if relevant.len() <= 10 && relevant.iter().all(|doc| ranked.contains(doc)) {
                prop_assert!(near(ndcg_at(&sorted, &relevant, 10), 1.0));
                prop_assert!(near(average_precision(&sorted, &relevant), 1.0));
            }
        }
    }
}
