//! Monte Carlo tree search over sets: goes down to where it pays, looks at all ways to go on from there at once.

use std::collections::HashMap;

use anabranch_engine::operator::OpError;
use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bounds, Evaluator, Found, Problem, Set, Step, Stop, exchange, greedy};
use crate::select::reward::Reward;

/// What a set learns of those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backup {
    /// The best of them.
    #[default]
    MaxPath,
    /// The mean of the best of each step.
    Mean,
}

/// How the search goes about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Most steps.
    pub iterations: usize,
    /// How much a set counts that was seldom gone through.
    pub exploration: f64,
    /// How much the tokens of a set count against going there, as a share of those allowed.
    pub cost_weight: f64,
    /// What a set learns of those below it.
    pub backup: Backup,
    /// Whether it begins where the greedy search ends.
    pub is_warm: bool,
    /// Rounds, at the end, in which the chunks of the best set are exchanged for others; not where the order matters.
    pub exchanges: usize,
    /// Steps without anything better after which it ends.
    pub patience: Option<usize>,
    /// Decides between ways that look equal.
    pub seed: u64,
    /// How many sets to give beside the best.
    pub n_runners_up: usize,
}

/// Most sets of the tree that are shown.
const STEPS_MAX: usize = 100;

/// A set in the tree. Several ways lead to it, unless the order matters.
struct Node {
    set: Set,
    cost: usize,
    visits: u32,
    /// By [`Backup`]: the best value known at or below it, or the sum of what came up.
    value: f64,
    /// Empty until it was extended.
    children: Vec<usize>,
    /// Whether everything below it was looked at.
    is_done: bool,
}

struct Tree<'a, 'b, R: ?Sized> {
    evaluator: &'a mut Evaluator<'b, R>,
    options: &'a Options,
    nodes: Vec<Node>,
    by_set: HashMap<Set, usize>,
    /// Which candidate goes first where two look equal.
    priority: Vec<usize>,
    /// The least and the best reward so far: between them it is brought to 0 to 1, so that `exploration` means the same
    /// for every reward.
    range: (f64, f64),
}

/// Looks for a set along a tree in which each set is extended by one candidate.
pub async fn search<R: Reward + ?Sized>(
    problem: &Problem,
    reward: &R,
    bounds: Bounds,
    options: &Options,
) -> Result<Found, OpError> {
    let mut evaluator = Evaluator::new(problem, reward, bounds);
    let mut extended = Vec::new();
    if options.is_warm {
        let (path, stop) = greedy::walk(&mut evaluator).await?;
        if matches!(stop, Stop::NothingFits | Stop::MaxEvals) {
            return Ok(evaluator.finish(0, stop, options.n_runners_up));
        }
        extended = path;
    }
    let mut tree = Tree::new(&mut evaluator, options);
    // What the greedy search looked at is known: these steps cost nothing.
    let mut path = Vec::new();
    for set in extended {
        path.extend(tree.by_set.get(&set).copied());
        tree.extend(&path).await?;
    }
    let (iterations, stop) = tree.grow().await?;
    let steps = tree.steps();
    if stop == Stop::Iterations && !problem.is_ordered {
        exchange::improve(&mut evaluator, options.exchanges).await?;
    }
    Ok(Found { steps, ..evaluator.finish(iterations, stop, options.n_runners_up) })
}

impl<'a, 'b, R: Reward + ?Sized> Tree<'a, 'b, R> {
    fn new(evaluator: &'a mut Evaluator<'b, R>, options: &'a Options) -> Self {
        let n_candidates = evaluator.problem().costs.len();
        let mut priority: Vec<usize> = (0..n_candidates).collect();
        Rng::with_seed(options.seed).shuffle(&mut priority);
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        let mut tree =
            Self { evaluator, options, nodes: Vec::new(), by_set: HashMap::new(), priority, range };
        tree.node(Set::default(), 0.0);
        tree
    }

    /// Takes steps until it may not, or need not, take another.
    async fn grow(&mut self) -> Result<(usize, Stop), OpError> {
        let mut since_better = 0;
        for iteration in 0..self.options.iterations {
            if self.nodes.len() <= 1 && self.nodes.iter().all(|root| root.is_done) {
                return Ok((iteration, Stop::NothingFits));
            }
            if self.options.patience.is_some_and(|patience| since_better >= patience) {
                return Ok((iteration, Stop::Patience));
            }
            let before = self.evaluator.best().map(|(_, value)| value);
            let Some(path) = self.descend() else { return Ok((iteration, Stop::Exhausted)) };
            if !self.extend(&path).await? {
                return Ok((iteration + 1, Stop::MaxEvals));
            }
            let after = self.evaluator.best().map(|(_, value)| value);
            since_better = if after > before { 0 } else { since_better + 1 };
        }
        Ok((self.options.iterations, Stop::Iterations))
    }

    /// The way to a set that was not extended: at each one on to the child that promises most. None if all were.
    fn descend(&mut self) -> Option<Vec<usize>> {
        let mut path = vec![0];
        loop {
            let at = *path.last()?;
            let node = self.nodes.get(at)?;
            if node.children.is_empty() && !node.is_done {
                return Some(path);
            }
            let promise = |child: &usize| {
                let node = self.nodes.get(*child).filter(|node| !node.is_done)?;
                Some((*child, self.promise(node, at)))
            };
            let best = node.children.iter().filter_map(promise).reduce(|best, other| {
                let by_promise = other.1.total_cmp(&best.1);
                let by_luck = || self.priority_of(best.0).cmp(&self.priority_of(other.0));
                if by_promise.then_with(by_luck).is_gt() { other } else { best }
            });
            if let Some((child, _)) = best {
                path.push(child);
            } else {
                // The last that was left below it was reached another way.
                self.nodes.get_mut(at)?.is_done = true;
                path.pop();
            }
        }
    }

    /// The sets that it went through most, and all that lead there.
    fn steps(&self) -> Vec<Step> {
        let mut parents: Vec<Option<usize>> = vec![None; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for child in &node.children {
                // The first way to a set, of several: it cannot lead in a circle.
                if let Some(parent) = parents.get_mut(*child).filter(|parent| parent.is_none()) {
                    *parent = Some(at);
                }
            }
        }
        let mut by_visits: Vec<usize> = (0..self.nodes.len()).collect();
        let worth = |at: &usize| self.nodes.get(*at).map_or((0, 0.0), |node| (node.visits, self.worth(node)));
        by_visits.sort_by(|a, b| {
            let (a, b) = (worth(a), worth(b));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut steps = Vec::new();
        for at in by_visits {
            let parent_of = |at: &usize| parents.get(*at).copied().flatten();
            let way: Vec<usize> = std::iter::successors(Some(at), parent_of)
                .take_while(|at| !places.contains_key(at))
                .collect();
            if steps.len() + way.len() > STEPS_MAX {
                break;
            }
            for at in way.into_iter().rev() {
                let Some(node) = self.nodes.get(at) else { continue };
                let parent = parent_of(&at).and_then(|parent| places.get(&parent).copied());
                places.insert(at, steps.len());
                let (set, visits, value) = (node.set.clone(), node.visits, self.worth(node));
                steps.push(Step { parent, set, visits, value });
            }
        }
        steps
    }

    /// What is known of a set's worth.
    fn worth(&self, node: &Node) -> f64 {
        match self.options.backup {
            Backup::MaxPath => node.value,
            Backup::Mean => node.value / f64::from(node.visits),
        }
    }

    /// How much going to `node` from `parent` promises.
    fn promise(&self, node: &Node, parent: usize) -> f64 {
        let (least, best) = self.range;
        let mean = self.worth(node);
        let value = if best > least { ((mean - least) / (best - least)).clamp(0.0, 1.0) } else { 0.5 };
        let visits = self.nodes.get(parent).map_or(1, |parent| parent.visits);
        let seldom = (f64::from(visits).ln() / f64::from(node.visits)).sqrt();
        let share = node.cost as f64 / self.evaluator.problem().max_tokens.max(1) as f64;
        value + self.options.exploration * seldom - self.options.cost_weight * share
    }

    /// Where the candidate that `node` was last extended by stands among equals.
    fn priority_of(&self, node: usize) -> usize {
        let place = self.nodes.get(node).and_then(|node| node.set.places().last());
        place.and_then(|place| self.priority.get(place).copied()).unwrap_or_default()
    }

    /// Extends the last set of `path` in every way, and tells those above it. `false` if the reward may not be asked
    /// about all of them.
    async fn extend(&mut self, path: &[usize]) -> Result<bool, OpError> {
        let Some(set) = path.last().and_then(|at| self.nodes.get(*at)).map(|node| node.set.clone()) else {
            return Ok(true);
        };
        let extensions = self.evaluator.problem().extensions(&set);
        let is_complete = self.evaluator.evaluate(&extensions).await?;
        let mut children = Vec::with_capacity(extensions.len());
        let mut best = f64::NEG_INFINITY;
        for set in extensions {
            let Some(value) = self.evaluator.value(&set) else { break };
            best = best.max(value);
            children.push(self.node(set, value));
        }
        if !children.is_empty() {
            self.note(path, children, best);
        }
        Ok(is_complete)
    }

    /// The node of `set`, made if there is none.
    fn node(&mut self, set: Set, value: f64) -> usize {
        if let Some(known) = self.by_set.get(&set) {
            return *known;
        }
        if !set.is_empty() {
            self.range = (self.range.0.min(value), self.range.1.max(value));
        }
        let problem = self.evaluator.problem();
        let cost = problem.cost_of(&set);
        let is_done = problem.room(&set, cost).next().is_none();
        self.by_set.insert(set.clone(), self.nodes.len());
        self.nodes.push(Node { set, cost, visits: 1, value, children: Vec::new(), is_done });
        self.nodes.len() - 1
    }

    /// Writes down one step: the best of the new sets, and only that, counts for those above.
    fn note(&mut self, path: &[usize], children: Vec<usize>, best: f64) {
        if let Some(node) = path.last().and_then(|at| self.nodes.get_mut(*at)) {
            node.children = children;
        }
        for at in path.iter().rev() {
            let is_done = self.nodes.get(*at).is_some_and(|node| {
                node.children.iter().all(|child| self.nodes.get(*child).is_none_or(|child| child.is_done))
            });
            let Some(node) = self.nodes.get_mut(*at) else { continue };
            node.is_done = is_done;
            node.visits = node.visits.saturating_add(1);
            node.value = match self.options.backup {
                Backup::MaxPath => node.value.max(best),
                Backup::Mean => node.value + best,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BOUNDS, Rule, options};
    use super::*;

    #[test]
    fn defect_4_a_step_counts_once_for_those_above_and_only_its_best() {
        let problem = Problem { costs: vec![1; 5], max_tokens: 5, max_chunks: 5, is_ordered: false };
        let rule = Rule::new(|set: &[usize]| set.iter().sum::<usize>() as f64);
        for backup in [Backup::MaxPath, Backup::Mean] {
            let options = Options { backup, iterations: 2, exploration: 0.0, ..options() };
            let mut evaluator = Evaluator::new(&problem, &rule, BOUNDS);
            let mut tree = Tree::new(&mut evaluator, &options);
            futures::executor::block_on(tree.grow()).unwrap();
            let extended: Vec<&Node> = tree.nodes.iter().filter(|node| !node.children.is_empty()).collect();
            // The root, and `{4}`, the best of its five children; then the best of that one's four.
            let visits: Vec<u32> = extended.iter().map(|node| node.visits).collect();
            assert_eq!(visits, [3, 2]);
            let expected = if backup == Backup::MaxPath { [7.0, 7.0] } else { [4.0 + 7.0, 4.0 + 7.0] };
            let values: Vec<f64> = extended.iter().map(|node| node.value).collect();
            assert_eq!(values, expected);
            let others = tree.nodes.iter().filter(|node| node.children.is_empty());
            assert!(others.into_iter().all(|node| node.visits == 1));
        }
    }
}
