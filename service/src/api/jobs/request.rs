//! What a submission says.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_engine::budget::Budget;
use anabranch_engine::flow::parse;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

macro_rules! job_request {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// The inputs of the flow.
            #[serde(default)]
            pub inputs: Map<String, Value>,
            /// What to find it by: at most 32, of 256 bytes at most.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub labels: BTreeMap<String, String>,
            /// Higher first, within a tenant: -100 to 100.
            #[serde(default)]
            pub priority: i16,
            /// When it is to be ended at the latest: a time (RFC 3339), or a duration from now (`90s`, `2h`).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub deadline: Option<String>,
            /// Limits on top of the flow's own; the smaller one counts.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub budget: Option<BudgetRequest>,
            /// The webhook that is told when it ends, by its id or its address; whatever else it is told of.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub webhook: Option<String>,
            /// The conversation that it belongs to.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub session_id: Option<String>,
            /// Not to be begun before: a time (RFC 3339), or a duration from now.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub run_at: Option<String>,
            /// Whether results of nodes with `cache` may be used; true if unset.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cache: Option<bool>,
            /// Seed of all randomness; 0 if unset.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub seed: Option<u64>,
        }
    };
}

job_request! {
    /// A job to be submitted. It names a flow, or brings one along.
    JobRequest {
        /// Name of the flow; `name@3` for its version 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub flow: Option<String>,
        /// Version of the flow; the active one if unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub version: Option<i32>,
        /// The YAML of a flow, instead of a name: for this job alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub flow_yaml: Option<String>,
    }
}

job_request! {
    /// A job of the flow in the path. Its inputs are those of the flow.
    TypedJobRequest {
        /// Version of the flow; the active one if unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub version: Option<i32>,
    }
}

/// Limits of a job; what is unset is not limited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetRequest {
    /// Most calls of chat models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// Most tokens read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_tokens: Option<u64>,
    /// Most money, in the currency of the price table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Longest time: `90s`, `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<String>,
}

impl BudgetRequest {
    /// A budget as the API shows it; `None` if it limits nothing.
    pub fn of(budget: &Budget) -> Option<Self> {
        (!budget.is_unlimited()).then(|| Self {
            model_calls: budget.model_calls,
            model_tokens: budget.model_tokens,
            cost: budget.cost,
            wall: budget.wall.map(|wall| format!("{}ms", wall.as_millis())),
        })
    }

    /// The budget, or what is wrong: pointer and message.
    pub fn read(&self) -> Result<Budget, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let wall = self.wall.as_deref().map(parse::duration).transpose();
        if let Err(problem) = &wall {
            problems.push(("/budget/wall", problem.clone()));
        }
        if self.cost.is_some_and(|cost| !cost.is_finite() || cost < 0.0) {
            problems.push(("/budget/cost", "`cost` is at least 0".to_owned()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Budget {
            model_calls: self.model_calls,
            model_tokens: self.model_tokens,
            cost: self.cost,
            wall: wall.unwrap_or_default(),
        })
    }
}

impl TypedJobRequest {
    /// The same for the flow called `name`.
    pub fn of(self, name: &str) -> JobRequest {
        JobRequest {
            flow: Some(name.to_owned()),
            version: self.version,
            flow_yaml: None,
            inputs: self.inputs,
            labels: self.labels,
            priority: self.priority,
            deadline: self.deadline,
            budget: self.budget,
            webhook: self.webhook,
            session_id: self.session_id,
            run_at: self.run_at,
            cache: self.cache,
            seed: self.seed,
        }
    }
}

/// A moment: a time (RFC 3339), or a duration from `now_ms`; unix ms.
pub fn moment(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let wait = days.and_then(|days| days.checked_mul(86_400)).map(Duration::from_secs);
    let wait = wait.or_else(|| parse::duration(text).ok());
    let at = wait.and_then(|wait| now_ms.checked_add(i64::try_from(wait.as_millis()).ok()?));
    at.ok_or_else(|| {
        format!(
            "`{text}` is neither a time (`2027-03-01T09:00:00Z`) nor a duration from now (`90s`, `2h`, `3d`)"
        )
    })
}
