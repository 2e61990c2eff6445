//! The flows of a service: versions in the store, compiled plans in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::diagnostic::Diagnostics;
use anabranch_engine::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// A flow with everything that it is made of, so that any process can compile it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Name of the flow.
    pub name: String,
    /// Its YAML.
    pub flow: String,
    /// YAML of its sub-flows, by name, and of theirs.
    pub flows: BTreeMap<String, String>,
    /// Its prompt files, by path.
    pub prompts: BTreeMap<String, String>,
}

/// A flow that is ready to run.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Name of the flow.
    pub name: String,
    /// Its version in the store; `None` for one that was sent along.
    pub version: Option<i32>,
    /// Hash of the bundle: the plan's.
    pub hash: String,
    /// The compiled flow.
    pub plan: Arc<Plan>,
}

/// Why a flow is not there.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// There is none of this name (and version); what is nearest.
    #[error("there is no flow `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// It is no valid flow.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds, compiles and keeps flows. Cheap to clone.
#[derive(Clone)]
pub struct Flows {
    store: Store,
}

impl Flows {
    /// The flow that new jobs take: the active version, or the one asked for.
    pub async fn get(&self, tenant: &str, name: &str, version: Option<i32>) -> Result<Ready, FlowError> {
        let _ = (tenant, name, version, &self.store);
        todo!()
    }

    /// The flow of a job, by the hash that it pins.
    pub async fn pinned(&self, hash: &str) -> Result<Arc<Plan>, FlowError> {
        let _ = hash;
        todo!()
    }
}
