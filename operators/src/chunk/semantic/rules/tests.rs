//! The rules beside the reference programs, and the groups beside all divisions.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;

/// What `SemanticChunker` of langchain-experimental 0.4.2 and the minima of lmchunker 0.5.1 cut at, for random numbers.
const RECORDED: &str = include_str!("recorded.json");

#[derive(Deserialize)]
struct Recorded {
    rule: String,
    amount: f64,
    values: Vec<f64>,
    cuts: Vec<usize>,
}

#[test]
fn cuts_are_those_of_the_reference_programs() {
    let all: Vec<Recorded> = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(all.len(), 66);
    for Recorded { rule, amount, values, cuts } in all {
        let ours = match &*rule {
            "minima" => minima(&values, amount, false),
            "minima_adaptive" => minima(&values, amount, true),
            rule => {
                let rule: Rule = serde_json::from_value(rule.into()).unwrap();
                rule.cuts(&values, amount, 0)
            }
        };
        assert_eq!(ours, cuts, "{rule} {amount} {values:?}");
    }
}

#[test]
fn a_target_size_and_a_least_cosine_cut_where_they_say() {
    let distances = [0.1, 0.9, 0.2, 0.8, 0.3];
    assert_eq!(Rule::TargetSize.cuts(&distances, 100.0, 250), [1, 3]);
    assert_eq!(Rule::TargetSize.cuts(&distances, 100.0, 99), Vec::<usize>::new());
    assert_eq!(Rule::Absolute.cuts(&distances, 0.75, 0), [1, 3, 4]);
    assert_eq!(Rule::Gradient.cuts(&[0.5], 95.0, 0), Vec::<usize>::new());
    assert_eq!(Rule::Percentile.cuts(&[], 95.0, 0), Vec::<usize>::new());
}

#[test]
fn margins_are_held_against_the_mean_of_the_last_five() {
    let mut margin = Margin::default();
    let kept: Vec<bool> = [0.5, -0.1, 0.5, 0.5, 0.6, 0.39, 0.7, 0.1].map(|m| margin.keeps(m)).into();
    // After five of them the threshold is .4; then it moves along.
    assert_eq!(kept, [true, false, true, true, true, false, true, false]);
}

/// What a division is worth, by the definition.
fn worth(vectors: &[&[f32]], cuts: &[usize]) -> f64 {
    let n = vectors.len();
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    let all: Vec<f64> = pairs.map(|(a, b)| dot(vectors[a], vectors[b])).collect();
    let mean = if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 };
    let group = |at: usize| cuts.iter().filter(|cut| **cut < at).count();
    let mut sum = 0.0;
    for a in 0..n {
        for b in 0..n {
            if a != b && group(a) == group(b) {
                sum += dot(vectors[a], vectors[b]) - mean;
            }
        }
    }
    sum
}

/// Every division into groups of at most `longest`.
fn divisions(n: usize, longest: usize) -> Vec<Vec<usize>> {
    let all =
        (0..1_usize << n.saturating_sub(1)).map(|mask| (0..n - 1).filter(|at| mask >> at & 1 == 1).collect());
    all.filter(|cuts: &Vec<usize>| sizes(n, cuts).iter().all(|size| *size <= longest)).collect()
}

fn sizes(n: usize, cuts: &[usize]) -> Vec<usize> {
    let ends: Vec<usize> = cuts.iter().map(|cut| cut + 1).chain([n]).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| end - start).collect()
}

#[test]
fn the_bound_holds_where_nothing_is_alike() {
    // The public implementation gives one group of all ten here.
    let vectors: Vec<Vec<f32>> =
        (0..10).map(|at| (0..10).map(|axis| f32::from(u8::from(at == axis))).collect()).collect();
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    assert!(sizes(10, &clusters(&vectors, 4)).iter().all(|size| *size <= 4));
}

proptest! {
    #[test]
    fn groups_are_bounded_and_no_other_division_is_worth_more(
        angles in prop::collection::vec(0.0_f32..6.0, 1..9),
        longest in 1_usize..5,
    ) {
        let vectors: Vec<Vec<f32>> = angles.iter().map(|angle| vec![angle.cos(), angle.sin()]).collect();
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let cuts = clusters(&vectors, longest);
        prop_assert!(sizes(vectors.len(), &cuts).iter().all(|size| *size <= longest));
        let best = divisions(vectors.len(), longest).iter().map(|cuts| worth(&vectors, cuts)).fold(f64::MIN, f64::max);
        prop_assert!(worth(&vectors, &cuts) >= best - 1e-4);
    }
}
