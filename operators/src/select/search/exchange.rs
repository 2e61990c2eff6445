//! Exchanges chunks of the best set one by one: what a search along extensions alone reaches late or never.

use anabranch_engine::operator::OpError;

use super::{Evaluator, Problem, Set};
use crate::select::reward::Reward;

/// Sets that the exchanges begin at: the best one, and the next best that are no neighbours of those before.
const STARTS: usize = 4;

/// Exchanges each candidate of the best sets for each other, or for none, and goes on from the best set that comes of
/// it: until nothing is better, `rounds` are over or the reward may not be asked again.
pub(super) async fn improve<R: Reward + ?Sized>(
    evaluator: &mut Evaluator<'_, R>,
    rounds: usize,
) -> Result<(), OpError> {
    for start in starts(evaluator) {
        let mut current = start;
        for _ in 0..rounds {
            let neighbours = neighbours(evaluator.problem(), &current);
            let is_complete = evaluator.evaluate(&neighbours).await?;
            let known = |set: &Set| evaluator.value(set).unwrap_or(f64::NEG_INFINITY);
            let best = neighbours.iter().max_by(|one, other| known(one).total_cmp(&known(other)));
            match best.filter(|best| known(best) > known(&current)) {
                Some(best) if is_complete => current = best.clone(),
                _ if is_complete => break,
                _ => return Ok(()),
            }
        }
    }
    Ok(())
}

fn starts<R: Reward + ?Sized>(evaluator: &Evaluator<'_, R>) -> Vec<Set> {
    let mut starts: Vec<Set> = Vec::new();
    for (set, _) in evaluator.ranked() {
        if starts.iter().all(|start| start.n_exchanged(set) > 1) {
            starts.push(set.clone());
        }
        if starts.len() == STARTS {
            break;
        }
    }
    starts
}

/// Every set that fits and differs from `set` by one candidate more, less or exchanged.
fn neighbours(problem: &Problem, set: &Set) -> Vec<Set> {
    let mut all = problem.extensions(set);
    for place in set.places() {
        let less = set.without(place);
        all.extend(problem.extensions(&less).into_iter().filter(|other| other != set));
        if !less.is_empty() {
            all.push(less);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BOUNDS, Rule, options};
    use super::super::tree::{Options, search};
    use super::*;

    /// Pairs that are worth something only together, behind a single candidate that looks best.
    #[test]
    fn an_exchange_finds_what_extensions_miss() {
        let problem = Problem { costs: vec![1; 6], max_tokens: 2, max_chunks: 2, is_ordered: false };
        let rule = Rule::new(|set: &[usize]| match set {
            [0] => 5.0,
            [0, 1] => 6.0,
            [1, 2] => 7.0,
            _ => 0.0,
        });
        let found = |exchanges| {
            let options = Options { exchanges, iterations: 0, is_warm: true, ..options() };
            futures::executor::block_on(search(&problem, &rule, BOUNDS, &options)).unwrap()
        };
        assert_eq!(found(0).set, Set::default().with(0, false).with(1, false));
        assert_eq!(found(1).set, Set::default().with(1, false).with(2, false));
    }

    #[test]
    fn neighbours_fit_and_are_never_empty() {
        let problem = Problem { costs: vec![1, 2, 3, 4], max_tokens: 4, max_chunks: 2, is_ordered: false };
        let set = Set::default().with(0, false).with(2, false);
        let all = neighbours(&problem, &set);
        assert!(all.iter().all(|other| !other.is_empty() && problem.cost_of(other) <= 4 && other.len() <= 2));
        // `{2}` and `{0}`, and `{0, 1}`: nothing else fits beside one of them.
        assert_eq!(all.len(), 3, "{all:?}");
    }
}
