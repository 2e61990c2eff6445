//! Which operator a node runs and what its outputs are called: the journal has neither.

use anabranch_engine::event::Record;
use anabranch_engine::plan::{Kind, Node};
use anabranch_engine::run::Expanded;
use anabranch_engine::scope::Scope;
use anabranch_engine::value::Value as EngineValue;
use serde_json::{Map, Value};

use crate::api::App;
use crate::job::Job;
use crate::store::StoreError;

/// Names out of the flow of a job, and out of the plans that it made.
#[derive(Debug, Default)]
pub(super) struct Names(Option<Expanded>);

/// Records that are read at once.
const AT_ONCE: usize = 1_000;

impl Names {
    /// The names of a job's flow as they are before its record `next`; none if it cannot be compiled any more.
    pub(super) async fn of(app: &App, job: &Job, next: u64) -> Result<Self, StoreError> {
        let mut names = match app.flows.pinned(&job.hash).await {
            Ok(plan) => Self(Some(Expanded::new(plan))),
            Err(error) => {
                tracing::warn!(job = job.id, %error, "the flow of a job cannot be loaded; its events lack names");
                return Ok(Self(None));
            }
        };
        // Which nodes a plan has that was made at run time, only what happened before can tell.
        let mut heard = 0;
        while heard < next && names.0.as_ref().is_some_and(Expanded::wants_records) {
            let records = app.store.records(&job.id, heard, AT_ONCE).await?;
            for (_, record) in records.iter().filter(|(_, record)| record.seq < next) {
                names.hear(record);
            }
            heard = heard.saturating_add(AT_ONCE as u64);
            if records.len() < AT_ONCE {
                break;
            }
        }
        Ok(names)
    }

    /// Takes in the next record of the job.
    pub(super) fn hear(&mut self, record: &Record) {
        if let Some(expanded) = &mut self.0 {
            expanded.hear(record);
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
