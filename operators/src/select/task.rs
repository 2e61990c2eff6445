//! What the operators that look for the best set do alike: candidates, reward, search, and what comes out of it.

use std::collections::HashSet;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, SettingProblem};
use anabranch_engine::value::Chunk;

use super::candidates::Candidates;
use super::reward::judge::{self, Judge};
use super::reward::{Kind, Reward};
use super::search::tree::{self, Options};
use super::search::{Bounds, Found, Problem, Set, Step, exact, greedy};
use super::{Branch, In, Out, Stats};
use crate::tokens::Counter;

/// What the settings of these operators have in common.
pub(super) struct Task<'a> {
    pub(super) max_tokens: usize,
    pub(super) max_chunks: usize,
    pub(super) candidates: usize,
    pub(super) reward: &'a Kind,
    pub(super) is_ordered: bool,
    pub(super) bounds: Bounds,
    pub(super) model: &'a ModelName,
}

/// How the best set is looked for.
pub(super) enum Way<'a> {
    Greedy,
    Exact,
    Tree { options: Options, judge: Option<&'a judge::Settings> },
}

impl Task<'_> {
    pub(super) async fn run(&self, cx: &Cx, input: In, way: Way<'_>) -> Result<Out, OpError> {
        let counter = Counter::of(cx, self.model)?;
        let candidates = Candidates::of(&input.query, &input.chunks, self.candidates, &counter);
        let problem = Problem {
            costs: candidates.costs().to_vec(),
            max_tokens: self.max_tokens,
            max_chunks: self.max_chunks,
            is_ordered: self.is_ordered,
        };
        let reward = self.reward.of(cx, &input.query, &candidates, self.max_tokens);
        let reward = reward.as_ref();
        let (found, judge) = match way {
            Way::Greedy => (greedy::search(&problem, reward, self.bounds).await?, None),
            Way::Exact => (exact::search(&problem, reward, self.bounds).await?, None),
            Way::Tree { options, judge } => {
                (tree::search(&problem, reward, self.bounds, &options).await?, judge)
            }
        };
        let mut stats = Stats {
            evals: found.evals,
            iterations: found.iterations,
            best_value: found.value,
            cost: 0,
            candidates: problem.costs.len(),
            stop: found.stop,
            judged: None,
            answerable: None,
        };
        let mut set = found.set.clone();
        if let Some(settings) = judge.filter(|_| !set.is_empty()) {
            let judge = Judge { cx, settings, query: &input.query, candidates: &candidates };
            let (n_judged, answerable) = first_answerable(&judge, &found, settings.sets).await?;
            (stats.judged, stats.answerable) = (Some(n_judged), Some(answerable.is_some()));
            if let Some((answerable, value)) = answerable {
                (set, stats.best_value) = (answerable, value);
            }
        }
        stats.cost = problem.cost_of(&set);
        let tree = drawn(&found.steps, &candidates, (&set, stats.best_value));
        Ok(out(&input.chunks, &candidates, &set, stats, tree))
    }
}

/// The first of the best sets that the judge finds to hold an answer, and how many it was shown.
async fn first_answerable(
    judge: &Judge<'_>,
    found: &Found,
    n_sets: usize,
) -> Result<(usize, Option<(Set, f64)>), OpError> {
    let mut n_judged = 0;
    let best = (found.set.clone(), found.value);
    for set in std::iter::once(&best).chain(&found.runners_up).take(n_sets) {
        n_judged += 1;
        let values = judge.values(std::slice::from_ref(&set.0)).await?;
        if values.first().is_some_and(|value| *value > 0.0) {
            return Ok((n_judged, Some(set.clone())));
        }
    }
    Ok((n_judged, None))
}

/// The steps of a search, for people, with the way to the set taken.
fn drawn(steps: &[Step], candidates: &Candidates, (taken, worth): (&Set, f64)) -> Vec<Branch> {
    let named = |place: usize| {
        candidates.chunks().get(place).map_or_else(String::new, |chunk| chunk.id.0.to_string())
    };
    let mut branches: Vec<Branch> = Vec::with_capacity(steps.len());
    for (id, step) in steps.iter().enumerate() {
        let before = step.parent.and_then(|parent| steps.get(parent)).map(|parent| &parent.set);
        let added = step.set.places().find(|place| before.is_none_or(|before| !before.has(*place)));
        let label = added.map_or_else(|| "nothing".to_owned(), named);
        let Step { parent, visits, value, .. } = *step;
        branches.push(Branch { id, parent, label, visits, value, chosen: false });
    }
    // An exchange at the end, or a step that was seldom gone through, has led to it: the rest of the way is added.
    let is_part = |step: &&Step| step.set.places().all(|place| taken.has(place));
    let nearest =
        steps.iter().enumerate().filter(|(_, step)| is_part(step)).max_by_key(|(_, step)| step.set.len());
    let (mut at, known) = match nearest {
        Some((at, step)) if !taken.is_empty() => (Some(at), Some(&step.set)),
        _ => (None, None),
    };
    for place in known.into_iter().flat_map(|known| taken.places().filter(|place| !known.has(*place))) {
        let id = branches.len();
        branches.push(Branch { id, parent: at, label: named(place), visits: 0, value: worth, chosen: false });
        at = Some(id);
    }
    while let Some(branch) = at.and_then(|at| branches.get_mut(at)) {
        branch.chosen = true;
        at = branch.parent;
    }
    branches
}

/// The chunks of `set`, and those left out.
fn out(chunks: &[Arc<Chunk>], candidates: &Candidates, set: &Set, stats: Stats, tree: Vec<Branch>) -> Out {
    let taken: Vec<Arc<Chunk>> =
        set.places().filter_map(|place| candidates.chunks().get(place).cloned()).collect();
    Out { dropped: dropped(chunks, &taken), chunks: taken, tokens: stats.cost, stats, tree }
}

/// The chunks that were not taken, in the order in which they came. The same chunk twice is left out once.
pub(super) fn dropped(chunks: &[Arc<Chunk>], taken: &[Arc<Chunk>]) -> Vec<Arc<Chunk>> {
    let taken: HashSet<*const Chunk> = taken.iter().map(Arc::as_ptr).collect();
    chunks.iter().filter(|chunk| !taken.contains(&Arc::as_ptr(chunk))).cloned().collect()
}

/// Problems of `ordered` and `reward` together.
pub(super) fn check_order(is_ordered: bool, reward: &Kind) -> Vec<SettingProblem> {
    if !is_ordered || reward.minds_order() {
        return Vec::new();
    }
    vec![SettingProblem {
        pointer: "/ordered".to_owned(),
        message: "this reward is the same in every order, so `ordered` looks at every set many times"
            .to_owned(),
        hint: Some("leave `ordered` out, or set `reward: { cross_encoder: {} }`".to_owned()),
    }]
}
