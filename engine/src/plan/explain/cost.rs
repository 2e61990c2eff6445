//! The most that a run of a plan can take.

use crate::flow::expression::Expr;
use crate::limits;
use crate::plan::build::calls_models;
use crate::plan::{Body, Kind, Late, Node, OnError, Plan, Planned, Ref, Settings};

/// How often operators run and models are called, in the worst case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Cost {
    /// Attempts of operators.
    pub executions: u64,
    /// Model calls, counting for each attempt of an operator the most that its settings allow.
    pub model_calls: u64,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            executions: self.executions.saturating_add(other.executions),
            model_calls: self.model_calls.saturating_add(other.model_calls),
        }
    }

    /// What both stay within.
    fn or(self, other: Self) -> Self {
        Self {
            executions: self.executions.max(other.executions),
            model_calls: self.model_calls.max(other.model_calls),
        }
    }

    fn times(self, n: u64) -> Self {
        Self {
            executions: self.executions.saturating_mul(n),
            model_calls: self.model_calls.saturating_mul(n),
        }
    }
}

/// The worst case of `plan`: every condition true, every turn made, every item there, every attempt needed.
///
/// Budgets are not counted in: they may end a run sooner.
pub fn worst_case(plan: &Plan) -> Cost {
    of_body(&plan.root, &[])
}

/// `captures` are the greatest numbers that the captured values can be, as far as that is known.
fn of_body(body: &Body, captures: &[Option<u64>]) -> Cost {
    body.nodes.iter().map(|node| of_node(body, captures, node)).fold(Cost::default(), Cost::plus)
}

fn of_node(body: &Body, captures: &[Option<u64>], node: &Node) -> Cost {
    let inner = |inner: &Body| {
        let known: Vec<Option<u64>> = inner.captures.iter().map(|&at| greatest(body, captures, at)).collect();
        of_body(inner, &known)
    };
    let times = |late: &Late<u32>, most: u64| match late {
        Late::Now(count) => u64::from(*count),
        Late::Later(expr) => bare(expr).and_then(|at| greatest(body, captures, at)).unwrap_or(most).min(most),
    };
    let own = match &node.kind {
        Kind::Op(op) => {
            let model_calls = match &op.settings {
                _ if !calls_models(&op.spec) => 0,
                Settings::Ready(operator) => operator.model_calls_max(),
                // Settings that are only known when the node starts: at least one.
                Settings::Late { .. } => 1,
            };
            Cost { executions: 1, model_calls }.times(u64::from(op.retry.attempts))
        }
        Kind::Flow { body, .. } => of_body(body, &[]),
        Kind::Loop(turn) => inner(&turn.body).times(times(&turn.max_turns, u64::from(limits::MAX_TURNS))),
        Kind::Plan(planned) => {
            let steps = of_part(planned).times(u64::from(planned.kit.inventory.max_nodes));
            let fallback = planned.fallback.as_ref().map(|body| of_body(body, &[])).unwrap_or_default();
            steps.or(fallback)
        }
        // A person answers, not a model.
        Kind::Wait(_) => Cost::default(),
        Kind::Each(item) => inner(&item.body).times(times(&item.max_items, limits::EACH_ITEMS as u64)),
    };
    match &node.on_error {
        OnError::Flow { body, .. } => own.plus(of_body(body, &[])),
        OnError::Fail | OnError::Skip | OnError::Value(_) => own,
    }
}

/// The most that a step of a plan can take, an operator with its own settings: those that a plan gives it are not known.
fn of_part(planned: &Planned) -> Cost {
    let kit = &planned.kit;
    let operators = kit.registry.iter().map(|spec| {
        let calls = if calls_models(spec) {
            let operator = spec.build(serde_json::json!({}));
            operator.map_or(1, |operator| operator.model_calls_max())
        } else {
            0
        };
        Cost { executions: 1, model_calls: calls }
    });
    let flows = kit.flows.values().map(|flow| of_body(&flow.body, &[]));
    operators.chain(flows).fold(Cost::default(), Cost::or)
}

/// The reference that `expr` is, if it is nothing more.
fn bare(expr: &Expr) -> Option<Ref> {
    let is_path = expr.source.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    match expr.refs.as_slice() {
        [only] if is_path => Some(only.at),
        _ => None,
    }
}

/// The `max` of the flow input that `at` refers to.
fn greatest(body: &Body, captures: &[Option<u64>], at: Ref) -> Option<u64> {
    match at {
        Ref::Input(position) => {
            let max = body.inputs.get(position as usize)?.max?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
            Some(max.max(0.0) as u64)
        }
        Ref::Capture(position) => captures.get(position as usize).copied().flatten(),
        Ref::Port { .. } => None,
    }
}
