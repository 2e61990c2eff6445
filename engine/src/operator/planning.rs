//! What an operator that makes plans is given: the inventory of the node that runs them, and a checker.

use std::fmt;

use serde_json::Value as Json;

use super::{OperatorSpec, Port, SETTING_KIND};
use crate::diagnostic::Diagnostics;
use crate::value::Text;

/// What the node that runs a plan takes.
pub trait PlanKit: fmt::Debug + Send + Sync {
    /// What a plan may be made of.
    fn inventory(&self) -> &Inventory;
    /// Everything that is wrong with a plan, as the node will see it.
    fn check(&self, plan: &Json) -> Result<(), Diagnostics>;
}

/// What a plan may be made of, and what it must be.
#[derive(Debug)]
pub struct Inventory {
    /// What the steps can read, as `inputs.NAME`.
    pub inputs: Vec<Port>,
    /// What the plan must give.
    pub outputs: Vec<Port>,
    /// What the steps may run, in the order in which it is allowed.
    pub parts: Vec<Part>,
    /// Most steps.
    pub max_nodes: u32,
    /// How often a planner may repair a plan that cannot be used.
    pub repair: u32,
    /// What comes after what: a step that runs the first comes after one that runs each of the others.
    pub order: Vec<(Text, Vec<Text>)>,
    /// What some step must run.
    pub must: Vec<Text>,
}

/// Something that a step of a plan may run.
#[derive(Debug)]
pub struct Part {
    /// Its name: an operator if it has a dot, else a flow.
    pub name: Text,
    /// What it is for.
    pub about: Text,
    /// What it reads; optional where it can do without.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// JSON Schema of the settings that a plan may give; `None` for a flow.
    pub settings: Option<Json>,
}

impl Part {
    /// Whether it is an operator, and not a flow.
    pub fn is_operator(&self) -> bool {
        self.name.contains('.')
    }

    /// An operator, without the settings that are its author's.
    pub(crate) fn of_operator(spec: &OperatorSpec) -> Self {
        let mut settings = spec.settings.as_value().clone();
        if let Some(Json::Object(known)) = settings.get_mut("properties") {
            // Models, indexes and prompts are chosen by whoever wrote the flow.
            known.retain(|_, setting| setting.get(SETTING_KIND).is_none());
        }
        Self {
            name: spec.name.into(),
            about: spec.summary().split_whitespace().collect::<Vec<_>>().join(" ").into(),
            inputs: spec.inputs.ports.clone(),
            outputs: spec.outputs.ports.clone(),
            settings: Some(settings),
        }
    }
}
