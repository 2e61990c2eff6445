//! Which operator a node runs and what its outputs are called: the journal has neither.

use std::sync::Arc;

use anabranch_engine::plan::{Kind, Node, Plan};
use anabranch_engine::scope::Scope;
use anabranch_engine::value::Value as EngineValue;
use serde_json::{Map, Value};

use crate::api::App;
use crate::job::Job;

/// Names out of the flow of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Option<Arc<Plan>>);

impl Names {
    /// The names of a job's flow; none if that cannot be compiled any more.
    pub(super) async fn of(app: &App, job: &Job) -> Self {
        match app.flows.pinned(&job.hash).await {
            Ok(plan) => Self(Some(plan)),
            Err(error) => {
                tracing::warn!(job = job.id, %error, "the flow of a job cannot be loaded; its events lack names");
                Self(None)
            }
        }
    }

    /// The operator of a node, or what else it is.
    pub(super) fn op(&self, scope: &str) -> String {
        match self.node(scope).map(|node| &node.kind) {
            Some(Kind::Op(op)) => op.spec.name.to_owned(),
            Some(Kind::Flow { .. }) => "flow".to_owned(),
            Some(Kind::Loop(_)) => "loop".to_owned(),
            Some(Kind::Each(_)) => "each".to_owned(),
            Some(Kind::Wait(_)) => "wait".to_owned(),
            Some(Kind::Plan(_)) => "plan".to_owned(),
            None => String::new(),
        }
    }

    /// The outputs of a node that are there, by port.
    pub(super) fn outputs(&self, scope: &str, values: &[Option<EngineValue>]) -> Map<String, Value> {
        let ports = self.node(scope).map(|node| node.outputs.as_slice()).unwrap_or_default();
        let named = values.iter().enumerate().filter_map(|(position, value)| {
            let name = ports.get(position).map_or_else(|| position.to_string(), |port| port.name.to_string());
            Some((name, value.as_ref()?.to_json()))
        });
        named.collect()
    }

    fn node(&self, scope: &str) -> Option<&Node> {
        self.0.as_ref()?.node(&Scope::from(scope))
    }
}
