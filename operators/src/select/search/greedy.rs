//! Takes one candidate after the other, each time the one that makes the set best.

use anabranch_engine::operator::OpError;

use super::{Bounds, Evaluator, Found, Problem, Set, Stop};
use crate::select::reward::Reward;

/// Looks for a set by taking what adds most, until nothing adds anything.
pub async fn search<R: Reward + ?Sized>(
    problem: &Problem,
    reward: &R,
    bounds: Bounds,
) -> Result<Found, OpError> {
    let mut evaluator = Evaluator::new(problem, reward, bounds);
    let (path, stop) = walk(&mut evaluator).await?;
    // Sets that were looked at on the way and left are worse than the last of the path, or equal and dearer.
    let iterations = path.len();
    Ok(evaluator.finish(iterations, stop, 0))
}

/// The sets whose extensions were all looked at, from the empty one on, and why it ended there.
pub(super) async fn walk<R: Reward + ?Sized>(
    evaluator: &mut Evaluator<'_, R>,
) -> Result<(Vec<Set>, Stop), OpError> {
    let problem = evaluator.problem();
    let mut path = Vec::new();
    let mut current = Set::default();
    loop {
        let extensions = problem.extensions(&current);
        if extensions.is_empty() {
            let stop = if current.is_empty() { Stop::NothingFits } else { Stop::NoGain };
            return Ok((path, stop));
        }
        if !evaluator.evaluate(&extensions).await? {
            return Ok((path, Stop::MaxEvals));
        }
        path.push(current.clone());
        // Whatever is best so far lies on this path: everything else that was looked at was passed over.
        match evaluator.best() {
            Some((best, _)) if best.len() > current.len() => current = best.clone(),
            _ => return Ok((path, Stop::NoGain)),
        }
    }
}
