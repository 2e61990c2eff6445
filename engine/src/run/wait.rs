//! What waits: for the caller of a run that has nothing else to do.

use serde::{Deserialize, Serialize};

use crate::plan::{Kind, Plan};
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Map, Mismatch, Text, Value};

/// A wait that nobody has answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenWait {
    /// Where it waits; answers name it.
    pub scope: Scope,
    /// The type that an answer must have.
    #[serde(rename = "type")]
    pub ty: Type,
    /// What is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<Text>,
    /// What the one who answers is shown.
    pub shown: Map,
    /// Since when it waits, in milliseconds of Unix time.
    #[serde(default)]
    pub since_ms: u64,
    /// Until when it waits, in milliseconds of Unix time.
    pub until_ms: u64,
}

/// What a wait of a plan waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitDecl {
    /// The type that an answer must have.
    #[serde(rename = "type")]
    pub ty: Type,
    /// What is asked.
    pub about: Option<Text>,
}

impl WaitDecl {
    /// The answer as a value of the type; or why it is none.
    pub fn check(&self, answer: Value) -> Result<Value, Mismatch> {
        answer.into_type(&self.ty)
    }
}

/// The wait that runs of `plan` open at `scope` (`hop[2]/approve`), if there is one: whoever takes answers for a run
/// that is elsewhere can tell a wrong one without it. Whether the run has come that far is not said.
pub fn wait_of(plan: &Plan, scope: &Scope) -> Option<WaitDecl> {
    let node = plan.node(scope)?;
    match &node.kind {
        Kind::Wait(wait) => {
            Some(WaitDecl { ty: wait.ty.clone(), about: wait.about.clone().or_else(|| node.about.clone()) })
        }
        Kind::Op(_) | Kind::Flow { .. } | Kind::Loop(_) | Kind::Each(_) | Kind::Plan(_) => None,
    }
}

/// The paths of the waits of `plan`, without indexes, in the order in which they are written.
pub fn waits_of(plan: &Plan) -> Vec<String> {
    plan.root.waits()
}
