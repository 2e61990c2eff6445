//! Looks at every set.

use anabranch_engine::operator::OpError;

use super::{Bounds, Evaluator, Found, Problem, Set, Stop};
use crate::select::reward::Reward;

/// Sets that are put together before the reward is asked about them, at most.
const AHEAD: usize = 1_024;

/// Looks at every set that fits, those of the most relevant candidates first, until the reward may not be asked again.
pub async fn search<R: Reward + ?Sized>(
    problem: &Problem,
    reward: &R,
    bounds: Bounds,
) -> Result<Found, OpError> {
    let mut evaluator = Evaluator::new(problem, reward, bounds);
    let mut ahead: Vec<Set> = Vec::new();
    let mut iterations = 0;
    // Depth first, with a stack of what is still to extend: at most `max_chunks` times the number of candidates.
    let mut open = vec![Set::default()];
    let mut is_complete = true;
    while let Some(set) = open.pop() {
        iterations += 1;
        let last = set.places().last().filter(|_| !problem.is_ordered);
        let first = last.map_or(0, |last| last + 1);
        let extensions: Vec<Set> = problem
            .room(&set, problem.cost_of(&set))
            .filter(|place| *place >= first)
            .map(|place| set.with(place, problem.is_ordered))
            .collect();
        ahead.extend_from_slice(&extensions);
        if ahead.len() >= AHEAD {
            is_complete = evaluator.evaluate(&ahead).await?;
            ahead.clear();
            if !is_complete {
                break;
            }
        }
        open.extend(extensions.into_iter().rev());
    }
    if is_complete {
        is_complete = evaluator.evaluate(&ahead).await?;
    }
    let stop = match evaluator.best() {
        _ if !is_complete => Stop::MaxEvals,
        None => Stop::NothingFits,
        Some(_) => Stop::Exhausted,
    };
    Ok(evaluator.finish(iterations, stop, 0))
}
