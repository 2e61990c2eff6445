//! The nodes of a run, those of plans that were made while it ran among them.

use std::sync::Arc;

use crate::event::Record;
use crate::plan::{Body, Kind, Node, Plan};
use crate::scope::Scope;
use crate::state::{RunState, Setup};

/// The flow of a run with what its plans turned out to be, by the records that it was told.
pub struct Expanded {
    plan: Arc<Plan>,
    /// What has happened; nothing if the flow runs no plans, or the records are not those of a run of it.
    state: Option<Box<RunState>>,
}

impl std::fmt::Debug for Expanded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expanded").field("plan", &self.plan.name).finish_non_exhaustive()
    }
}

impl Expanded {
    /// The flow of a run that has not begun.
    pub fn new(plan: Arc<Plan>) -> Self {
        let setup = Setup { keep_plans: true, ..Setup::default() };
        let state = runs_plans(&plan.root).then(|| Box::new(RunState::new(plan.clone(), setup)));
        Self { plan, state }
    }

    /// Whether it has to be told what happens.
    pub fn wants_records(&self) -> bool {
        self.state.is_some()
    }

    /// Takes in the next record of the run; all of them must come, in their order.
    pub fn hear(&mut self, record: &Record) {
        if let Some(state) = &mut self.state
            && state.apply(record).is_err()
        {
            self.state = None;
        }
    }

    /// The node that runs at `scope`; that of a plan once the plan has begun.
    pub fn node(&self, scope: &Scope) -> Option<&Node> {
        let path = scope.to_string();
        let mut rest = path.as_str();
        let mut body = &*self.plan.root;
        loop {
            let (first, inner) = match rest.split_once('/') {
                Some((first, inner)) => (first, Some(inner)),
                None => (rest, None),
            };
            let name = first.split('[').next().unwrap_or(first);
            let node = body.nodes.iter().find(|node| *node.name == *name)?;
            let Some(inner) = inner else { return Some(node) };
            (body, rest) = match &node.kind {
                Kind::Plan(_) if node.fallback(inner).is_none() => {
                    let opened = path.len() - inner.len() - 1;
                    (&**self.state.as_ref()?.plans().get(path.get(..opened)?)?, inner)
                }
                _ => node.inner(inner)?,
            };
        }
    }
}

/// Whether some node of the body, or inside it, runs a plan that is made at run time.
fn runs_plans(body: &Body) -> bool {
    body.nodes.iter().any(|node| {
        let inside = node.body().is_some_and(runs_plans);
        let instead = match &node.on_error {
            crate::plan::OnError::Flow { body, .. } => runs_plans(body),
            _ => false,
        };
        matches!(node.kind, Kind::Plan(_)) || inside || instead
    })
}
