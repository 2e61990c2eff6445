//! Plans that are made while the flow runs: checked when their node starts, and run as a scope of its own.

use std::sync::Arc;

use super::frame::{At, Composite, FrameId, Phase, Role};
use super::start::Hindrance;
use super::{RunState, absence, failure, node_of};
use crate::diagnostic::Diagnostics;
use crate::event::FailureKind;
use crate::flow::expression::Slot;
use crate::plan::{Body, Kind, Node, Planned};
use crate::run::Opened;
use crate::value::{Map, Text, Value};

/// What an open plan keeps.
pub(super) struct Expanded {
    pub(super) frame: FrameId,
    /// What was wrong with the plan, if the fallback runs in its place.
    problems: Vec<String>,
}

/// What is to run.
struct Chosen {
    body: Arc<Body>,
    /// Names the plan within the run's flow: nodes of the same names in other plans are others.
    salt: Text,
    problems: Vec<String>,
}

impl RunState {
    pub(super) fn start_plan(&mut self, at: At, node: &Node, spec: &Planned) -> Result<(), Hindrance> {
        let plan = match self.eval(at, &spec.plan)? {
            Slot::Present(plan) => plan,
            missing => {
                return Err(Hindrance::Absent(absence::needs(&self.scope(at), "its `plan`", &missing)));
            }
        };
        let inputs = self.plan_inputs(at, spec)?;
        if self.start_stub(at, node)? {
            return Ok(());
        }
        let chosen = self.choose(at, spec, &plan)?;
        self.open_budget(at, node);
        let steps = chosen.body.nodes.len();
        let shown = self.setup.notes.then(|| shown(&plan, spec, &inputs, &chosen.problems));
        self.note_opened_with(at, Opened::Plan(steps), shown.unwrap_or_default());
        let ledger = self.node_ledger(at).clone();
        let path = self.scope(at).sub();
        if self.setup.keep_plans {
            self.plans.insert(path.to_string(), chosen.body.clone());
        }
        let role = Role::Plan { parent: at };
        let frame = self.open(path, chosen.body, role, inputs, Arc::default(), ledger);
        self.frame_mut(frame).salt = Some(chosen.salt);
        let expanded = Expanded { frame, problems: chosen.problems };
        self.frame_mut(at.frame).node_mut(at.node).phase = Phase::Open(Composite::Plan(Box::new(expanded)));
        Ok(())
    }

    fn plan_inputs(&self, at: At, spec: &Planned) -> Result<Vec<Slot>, Hindrance> {
        let ports = spec.kit.inventory.inputs.iter().zip(&spec.inputs);
        ports
            .map(|(port, expr)| {
                let value = self.port_value(at, expr, &port.ty, &port.name)?;
                Ok(value.map_or_else(|| Slot::Absent(absence::not_given(&port.name)), Slot::Present))
            })
            .collect()
    }

    /// The plan, or what stands in for one that cannot be used.
    fn choose(&self, at: At, spec: &Planned, plan: &Value) -> Result<Chosen, Hindrance> {
        let plan = plan.to_json();
        let problems = match spec.kit.compile(&plan) {
            Ok(body) => {
                let salt = blake3::hash(plan.to_string().as_bytes()).to_hex().as_str().into();
                return Ok(Chosen { body, salt, problems: Vec::new() });
            }
            Err(problems) => in_words(&problems),
        };
        if let Some(body) = &spec.fallback {
            Ok(Chosen { body: body.clone(), salt: "fallback".into(), problems })
        } else {
            let message = format!("the plan cannot be used: {}", problems.join("; "));
            Err(failure(self.scope(at), FailureKind::InvalidInput, message).into())
        }
    }

    /// The steps have ended: what they give goes to the outputs of the node.
    pub(super) fn plan_done(&mut self, id: FrameId, parent: At, slots: &[Slot]) {
        let steps = self.frame(id).body.clone();
        let body = self.frame(parent.frame).body.clone();
        let Kind::Plan(spec) = &node_of(&body, parent.node).kind else { return };
        let Phase::Open(Composite::Plan(expanded)) =
            &mut self.frame_mut(parent.frame).node_mut(parent.node).phase
        else {
            return;
        };
        let problems = std::mem::take(&mut expanded.problems);
        let scope = self.scope(parent);
        let mut outputs = Vec::with_capacity(spec.kit.inventory.outputs.len() + 2);
        for (port, position) in spec.kit.inventory.outputs.iter().zip(spec.kit.positions(&steps)) {
            let given = position.and_then(|position| slots.get(position)).cloned();
            // A value of which only now is known what it is must be what the node promises.
            let slot = match given.unwrap_or_else(|| Slot::Absent(absence::not_put_out(&scope, &port.name))) {
                Slot::Present(value) => match value.into_type(&port.ty) {
                    Ok(value) => Slot::Present(value),
                    Err(mismatch) => {
                        let message = format!("output `{}` of the plan: {mismatch}", port.name);
                        self.close(id);
                        return self.fail(parent, failure(scope, FailureKind::Type, message));
                    }
                },
                missing => missing,
            };
            outputs.push(slot);
        }
        outputs.push(Slot::Present(Value::Bool(!problems.is_empty())));
        outputs.push(Slot::Present(Value::list(problems.into_iter().map(Value::text))));
        let n_steps = steps.nodes.len();
        self.close(id);
        self.close_node(parent, n_steps, None);
        self.settle(parent, outputs);
    }
}

/// The plan as it is run, for whoever watches: what it was given, and why it is another.
fn shown(plan: &Value, spec: &Planned, inputs: &[Slot], problems: &[String]) -> Map {
    let mut shown = Map::new();
    shown.insert("plan".into(), plan.clone());
    for (port, slot) in spec.kit.inventory.inputs.iter().zip(inputs) {
        if let Slot::Present(value) = slot {
            shown.entry(port.name.clone()).or_insert_with(|| value.clone());
        }
    }
    if !problems.is_empty() {
        let problems = Value::list(problems.iter().map(|problem| Value::text(problem.as_str())));
        shown.insert("problems".into(), problems);
    }
    shown
}

/// What is wrong with a plan, a line a problem.
fn in_words(problems: &Diagnostics) -> Vec<String> {
    let in_words = problems.iter().map(|problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}: {}{hint}", problem.code, problem.message)
    });
    in_words.collect()
}
