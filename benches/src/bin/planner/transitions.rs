//! From counts of transitions to plans that have exactly these transitions.

use std::collections::BTreeMap;

/// How often the second followed the first; `START` and `END` are the ends of plans.
pub(crate) type Counts = BTreeMap<String, BTreeMap<String, usize>>;

const START: &str = "START";
const END: &str = "END";

/// As many plans as begin, with all transitions of `counts` and no other.
///
/// Each plan goes on to where most transitions are left, preferring modules that it does not have yet: where as many
/// transitions lead into every module as out of it, such a walk can only end at the end. What is left over are circles;
/// each is put into a plan that comes by.
pub(crate) fn paths(counts: &Counts) -> Vec<Vec<String>> {
    let mut left = counts.clone();
    let n_plans: usize = counts.get(START).map(|next| next.values().sum()).unwrap_or_default();
    let mut plans: Vec<Vec<String>> = (0..n_plans).map(|_| walk(&mut left, START, END)).collect();
    while let Some(from) =
        left.iter().find(|(_, next)| next.values().any(|n| *n > 0)).map(|(from, _)| from.clone())
    {
        let circle = walk(&mut left, &from, &from);
        let host = plans.iter_mut().find_map(|plan| {
            let at = plan.iter().position(|module| *module == from)?;
            Some((plan, at))
        });
        let Some((plan, at)) = host else { break };
        plan.splice(at..at, std::iter::once(from).chain(circle));
    }
    plans
}

/// The modules between `from` and the next `to`.
fn walk(left: &mut Counts, from: &str, to: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut at = from.to_owned();
    while let Some(next) = left.get_mut(&at) {
        let rank = |(module, n): &(&String, &mut usize)| (!found.contains(module), **n);
        let best = next.iter_mut().filter(|(_, n)| **n > 0).max_by_key(rank);
        let Some((module, n)) = best else { break };
        *n -= 1;
        if module == to {
            break;
        }
        at = module.clone();
        found.push(at.clone());
    }
    found
}

/// The transitions of these plans.
pub(crate) fn counted(plans: &[Vec<String>]) -> Counts {
    let mut counts = Counts::new();
    for plan in plans {
        let modules = plan.iter().map(String::as_str);
        let from = std::iter::once(START).chain(modules.clone());
        for (from, to) in from.zip(modules.chain([END])) {
            *counts.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default() += 1;
        }
    }
    counts
}
