//! Laws of the search, and instances that mislead it.

use std::sync::Mutex;

use async_trait::async_trait;
use proptest::prelude::*;

use super::tree::{Backup, Options};
use super::*;

/// A reward by a rule that keeps what it was asked, batch by batch.
pub(super) struct Rule<F> {
    of: F,
    asked: Mutex<Vec<Vec<Set>>>,
    of_nothing: Option<f64>,
}

impl<F: Fn(&[usize]) -> f64 + Send + Sync> Rule<F> {
    pub(super) fn new(of: F) -> Self {
        Self { of, asked: Mutex::default(), of_nothing: Some(0.0) }
    }

    /// Every set that it was asked about, in order.
    pub(super) fn asked(&self) -> Vec<Set> {
        self.asked.lock().unwrap().concat()
    }
}

#[async_trait]
impl<F: Fn(&[usize]) -> f64 + Send + Sync> Reward for Rule<F> {
    async fn values(&self, sets: &[Set]) -> Result<Vec<f64>, OpError> {
        self.asked.lock().unwrap().push(sets.to_vec());
        Ok(sets.iter().map(|set| (self.of)(&set.places().collect::<Vec<_>>())).collect())
    }

    fn of_nothing(&self) -> Option<f64> {
        self.of_nothing
    }
}

pub(super) const BOUNDS: Bounds = Bounds { max_evals: 100_000, batch: 32 };

pub(super) fn options() -> Options {
    Options {
        iterations: 1_000,
        exploration: 0.5,
        cost_weight: 0.1,
        backup: Backup::MaxPath,
        is_warm: true,
        exchanges: 0,
        patience: None,
        seed: 7,
        n_runners_up: 0,
    }
}

fn problem(costs: &[usize], max_tokens: usize) -> Problem {
    Problem { costs: costs.to_vec(), max_tokens, max_chunks: 8, is_ordered: false }
}

fn run<T>(future: impl Future<Output = Result<T, OpError>>) -> T {
    futures::executor::block_on(future).unwrap()
}

fn places(found: &Found) -> Vec<usize> {
    found.set.places().collect()
}

/// What the three searches take.
fn all<F: Fn(&[usize]) -> f64 + Send + Sync + Copy>(problem: &Problem, of: F) -> [Found; 3] {
    [
        run(greedy::search(problem, &Rule::new(of), BOUNDS)),
        run(tree::search(problem, &Rule::new(of), BOUNDS, &options())),
        run(exact::search(problem, &Rule::new(of), BOUNDS)),
    ]
}

#[test]
fn the_pair_trap_catches_the_greedy_search_alone() {
    // 0 and 1 are worth nothing alone and 1 together; 2 is worth 0.3 and fills the budget.
    let worth = |set: &[usize]| match set {
        [0, 1] => 1.0,
        [2] => 0.3,
        _ => 0.0,
    };
    let [greedy, tree, exact] = all(&problem(&[5, 5, 10], 10), worth);
    assert_eq!((places(&greedy), greedy.value), (vec![2], 0.3));
    assert_eq!((places(&tree), tree.value), (vec![0, 1], 1.0));
    assert_eq!(places(&exact), [0, 1]);
    // Without a warm start too.
    let cold = Options { is_warm: false, ..options() };
    let found = run(tree::search(&problem(&[5, 5, 10], 10), &Rule::new(worth), BOUNDS, &cold));
    assert_eq!(places(&found), [0, 1]);
}

#[test]
fn a_candidate_that_lowers_the_worth_is_left_although_it_fits() {
    let worth = |set: &[usize]| {
        let spoilt = if set.contains(&3) { 0.5 } else { 0.0 };
        set.iter().filter(|place| **place < 3).count() as f64 - spoilt
    };
    for found in all(&problem(&[1; 4], 100), worth) {
        assert_eq!(places(&found), [0, 1, 2]);
    }
}

#[test]
fn a_sum_of_whole_numbers_gives_the_knapsack() {
    let (costs, worths) = ([12, 2, 1, 4, 1, 7, 3], [40_usize, 20, 10, 100, 15, 50, 32]);
    for max_tokens in [1, 5, 8, 15, 20, 30] {
        let mut best = vec![0; max_tokens + 1];
        for (cost, worth) in costs.iter().zip(worths) {
            for room in (*cost..=max_tokens).rev() {
                best[room] = best[room].max(best[room - cost] + worth);
            }
        }
        let worth = |set: &[usize]| set.iter().map(|place| worths[*place]).sum::<usize>() as f64;
        let [_, tree, exact] = all(&problem(&costs, max_tokens), worth);
        let best = best[max_tokens] as f64;
        assert_eq!((exact.value, tree.value), (best, best), "{max_tokens}");
    }
}

#[test]
fn of_equal_sets_the_cheaper_then_the_smaller_then_the_earlier_is_taken() {
    for (costs, expected) in [([3, 2, 5], vec![1]), ([2, 2, 5], vec![0])] {
        for found in all(&problem(&costs, 10), |_| 1.0) {
            assert_eq!(places(&found), expected);
        }
    }
    // 0 and 1 cost what 2 costs.
    let worth = |set: &[usize]| f64::from(u8::from(set == [0, 1] || set == [2]));
    let [_, tree, exact] = all(&problem(&[1, 1, 2], 2), worth);
    assert_eq!((places(&tree), places(&exact)), (vec![2], vec![2]));
}

#[test]
fn nothing_is_taken_only_where_everything_is_worth_less() {
    for found in all(&problem(&[1, 1], 2), |_| -0.1) {
        assert!(found.set.is_empty() && found.value == 0.0 && found.runners_up.is_empty());
    }
    for found in all(&problem(&[1, 1], 2), |set| if set == [1] { 0.1 } else { -1.0 }) {
        assert_eq!(places(&found), [1]);
    }
    // A reward whose zero means nothing takes the least bad.
    let rule = Rule { of_nothing: None, ..Rule::new(|set: &[usize]| -(set[0] as f64) - 5.0) };
    assert_eq!(places(&run(tree::search(&problem(&[1, 1], 2), &rule, BOUNDS, &options()))), [0]);
}

// What follows are the defects of a public implementation, each with what we do instead.

#[test]
fn defect_1_the_budget_holds_for_every_set_that_is_looked_at() {
    let problem = problem(&[4, 3, 9, 2, 6], 9);
    for exploration in [0.0, 0.5, 100.0] {
        let rule = Rule::new(|set: &[usize]| set.len() as f64);
        let options = Options { exploration, ..options() };
        run(tree::search(&problem, &rule, BOUNDS, &options));
        assert!(rule.asked().iter().all(|set| problem.cost_of(set) <= 9), "{:?}", rule.asked());
    }
}

#[test]
fn defect_2_where_nothing_fits_nothing_is_taken_and_it_says_so() {
    for found in all(&problem(&[11, 12], 10), |_| 1.0) {
        assert_eq!((found.set.len(), found.stop, found.evals), (0, Stop::NothingFits, 0));
    }
    let cold = Options { is_warm: false, ..options() };
    for costs in [&[11, 12][..], &[]] {
        let found = run(tree::search(&problem(costs, 10), &Rule::new(|_| 1.0), BOUNDS, &cold));
        assert_eq!((found.set.len(), found.stop), (0, Stop::NothingFits));
    }
}

#[test]
fn defect_3_one_count_of_tokens_steers_the_search_and_limits_it() {
    // Both lead to the same; the dearer one is gone to first only where cost does not steer.
    let worth = |set: &[usize]| if set.len() > 1 { 0.0 } else { 1.0 + 1e-9 * set[0] as f64 };
    let second = |cost_weight| {
        let rule = Rule::new(worth);
        let options = Options { cost_weight, is_warm: false, iterations: 2, exploration: 0.0, ..options() };
        run(tree::search(&problem(&[1, 50, 1], 100), &rule, BOUNDS, &options));
        // The first step looks at the three alone; the second extends one of them.
        let asked = rule.asked();
        asked[3].places().find(|place| asked[4].has(*place)).unwrap()
    };
    assert_eq!(second(0.0), 2);
    let worth_of_first = |cost_weight| second(cost_weight);
    assert_ne!(worth_of_first(1.0), 1, "1 has half of all tokens");
}

#[test]
fn defect_5_the_search_goes_the_same_way_whatever_the_scale_of_the_reward() {
    let worth = |set: &[usize]| {
        let sum: usize = set.iter().map(|place| (place * 7 + 3) % 5).sum();
        sum as f64 - (set.len() * set.len()) as f64 * 0.7
    };
    let way = |factor: f64, shift: f64| {
        let rule = Rule::new(move |set: &[usize]| worth(set) * factor + shift);
        let options = Options { iterations: 12, exploration: 2.4, is_warm: false, ..options() };
        run(tree::search(&problem(&[3, 4, 2, 5, 1, 6], 12), &rule, BOUNDS, &options));
        rule.asked()
    };
    // Powers of two, so that rounding changes nothing.
    assert_eq!(way(1.0, 0.0), way(1024.0, 0.0));
    assert_eq!(way(1.0, 0.0), way(0.125, 0.0));
    assert_eq!(way(1.0, 0.0).len(), way(1.0, -64.0).len());
}

#[test]
fn defect_6_orders_of_a_set_are_one_set_unless_the_order_matters() {
    let rule = Rule::new(|set: &[usize]| set.len() as f64);
    let found = run(tree::search(&problem(&[1; 4], 4), &rule, BOUNDS, &options()));
    assert_eq!((found.evals, found.stop), (15, Stop::Exhausted));
    let ordered = Problem { is_ordered: true, ..problem(&[1; 4], 4) };
    let worth = |set: &[usize]| if set == [2, 0, 3, 1] { 9.0 } else { set.len() as f64 };
    let [_, tree, exact] = all(&ordered, worth);
    assert_eq!((places(&tree), tree.evals), (vec![2, 0, 3, 1], 4 + 12 + 24 + 24));
    assert_eq!((places(&exact), exact.evals), (vec![2, 0, 3, 1], 64));
}

#[test]
fn defect_7_a_set_is_worth_what_the_reward_says_of_all_of_it_and_not_the_sum_of_its_parts() {
    let worth = |set: &[usize]| if set.len() == 2 { 0.1 } else { 1.0 };
    let [_, tree, exact] = all(&problem(&[1, 1], 2), worth);
    assert_eq!((tree.set.len(), exact.set.len()), (1, 1));
}

#[test]
fn patience_ends_a_search_that_finds_nothing_better() {
    let worth = |set: &[usize]| 1.0 / set.len() as f64;
    let options = Options { patience: Some(3), ..options() };
    let found = run(tree::search(&problem(&[1; 10], 10), &Rule::new(worth), BOUNDS, &options));
    assert_eq!((found.iterations, found.stop), (3, Stop::Patience));
}

#[test]
fn the_runners_up_are_the_next_best() {
    let worth = |set: &[usize]| if set.len() == 1 { 3.0 - set[0] as f64 } else { -1.0 };
    let options = Options { n_runners_up: 2, ..options() };
    let found = run(tree::search(&problem(&[1; 3], 3), &Rule::new(worth), BOUNDS, &options));
    let runners_up: Vec<Vec<usize>> =
        found.runners_up.iter().map(|(set, _)| set.places().collect()).collect();
    assert_eq!((places(&found), runners_up), (vec![0], vec![vec![1], vec![2]]));
}

/// A problem of up to eight candidates, with any reward over their sets.
fn instances() -> impl Strategy<Value = (Problem, Vec<f64>)> {
    proptest::collection::vec(1..10_usize, 1..8).prop_flat_map(|costs| {
        let n_sets = 1 << costs.len();
        let total: usize = costs.iter().sum();
        (1..=total + 1, proptest::collection::vec(-1.0..1.0_f64, n_sets))
            .prop_map(move |(max_tokens, worth)| (problem(&costs, max_tokens), worth))
    })
}

fn mask(set: &[usize]) -> usize {
    set.iter().fold(0, |mask, place| mask | 1 << place)
}

/// The best worth of all sets that fit, nothing among them.
fn by_brute_force(problem: &Problem, worth: &[f64]) -> f64 {
    let n = problem.costs.len();
    let cost =
        |mask: usize| (0..n).filter(|at| mask >> at & 1 == 1).map(|at| problem.costs[at]).sum::<usize>();
    (1..1 << n).filter(|mask| cost(*mask) <= problem.max_tokens).map(|mask| worth[mask]).fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn every_search_keeps_its_promises((problem, worth) in instances(), seed: u64, mean: bool) {
        let rule = || Rule::new(|set: &[usize]| worth[mask(set)]);
        let best = by_brute_force(&problem, &worth);
        let single = (0..problem.costs.len())
            .filter(|place| problem.costs[*place] <= problem.max_tokens)
            .map(|place| worth[1 << place])
            .fold(0.0, f64::max);

        let exact = run(exact::search(&problem, &rule(), BOUNDS));
        prop_assert!(exact.value.total_cmp(&best).is_eq());
        let greedy = run(greedy::search(&problem, &rule(), BOUNDS));
        prop_assert!(greedy.value >= single);
        let backup = if mean { Backup::Mean } else { Backup::MaxPath };
        let mut least = greedy.value;
        for iterations in [0, 1, 2, 4, 8, 16, 1_000] {
            let options = Options { iterations, backup, seed, ..options() };
            let rule = rule();
            let found = run(tree::search(&problem, &rule, BOUNDS, &options));
            prop_assert!(problem.cost_of(&found.set) <= problem.max_tokens);
            prop_assert!(found.value >= least, "more steps are never worse");
            least = found.value;
            let mut asked = rule.asked();
            prop_assert_eq!(asked.len(), found.evals);
            asked.sort();
            asked.dedup();
            prop_assert_eq!(asked.len(), found.evals, "no set twice");
        }
        prop_assert!(least.total_cmp(&best).is_eq(), "with enough steps it is the best of all");
    }

    #[test]
    fn batches_and_bounds_change_nothing_but_when_it_ends(
        (problem, worth) in instances(), seed: u64, max_evals in 1..60_usize, batch in 1..9_usize,
    ) {
        let search = |batch| {
            let rule = Rule::new(|set: &[usize]| worth[mask(set)]);
            let bounds = Bounds { max_evals, batch };
            let found = run(tree::search(&problem, &rule, bounds, &Options { seed, ..options() }));
            (found, rule)
        };
        let (found, rule) = search(batch);
        prop_assert!(found.evals <= max_evals);
        prop_assert!(rule.asked.lock().unwrap().iter().all(|asked| asked.len() <= batch));
        let (other, all) = search(1_000);
        prop_assert_eq!(&found, &other);
        prop_assert_eq!(rule.asked(), all.asked());
        prop_assert_eq!(search(batch).0, found, "the same seed goes the same way");
    }
}
