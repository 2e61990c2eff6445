//! Flows as the API shows them, and what it is asked about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::{IntoParams, ToSchema};

use crate::api::problem::{Code, Mistake, Problem};
use crate::api::time::rfc3339;
use crate::flows::graph::Graph;
use crate::store::FlowVersion;

/// A page of flows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Flows {
    /// What is on it.
    pub items: Vec<FlowInfo>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A version of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowInfo {
    /// Name of the flow.
    pub name: String,
    /// 1, 2, …
    pub version: i32,
    /// Names everything that it is made of; also its `ETag`.
    pub hash: String,
    /// Whether new jobs take it.
    pub active: bool,
    /// What it is for, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// When it was put.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The key that put it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

impl From<FlowVersion> for FlowInfo {
    fn from(version: FlowVersion) -> Self {
        Self {
            name: version.name,
            version: version.version,
            hash: version.hash,
            active: version.is_active,
            about: version.about,
            created_at: rfc3339(version.created_ms),
            created_by: version.created_by,
        }
    }
}

/// A flow with everything that it is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowBundle {
    /// Which version it is.
    #[serde(flatten)]
    pub info: FlowInfo,
    /// Its YAML.
    pub flow: String,
    /// YAML of its sub-flows, by path.
    pub flows: BTreeMap<String, String>,
    /// Its prompt files, by path.
    pub prompts: BTreeMap<String, String>,
}

/// All versions of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    /// Newest first.
    pub items: Vec<VersionInfo>,
}

/// A version of a flow, with what still depends on it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionInfo {
    /// Which version it is.
    #[serde(flatten)]
    pub info: FlowInfo,
    /// Jobs of this version that have not ended.
    pub in_flight: u64,
}

/// What is wrong with a flow.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Checked {
    /// Whether it loads.
    pub valid: bool,
    /// The name that it gives itself, if it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names everything that it is made of, if it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Errors and warnings, by file and place.
    pub diagnostics: Vec<Mistake>,
    /// Its nodes and edges, if it loads (`include=graph`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    /// What it takes and gives, if it loads (`include=schema`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<FlowSchema>,
}

/// What is told of a flow besides.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// What is told of a flow that loads besides: `graph`, `schema`; separated by commas.
    pub include: Option<String>,
}

impl CheckQuery {
    /// Whether the graph is told, and whether the schemas are.
    pub fn read(&self) -> Result<(bool, bool), Problem> {
        let (mut graph, mut schema) = (false, false);
        for word in self.include.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
            match word {
                "graph" => graph = true,
                "schema" => schema = true,
                _ => {
                    return Err(Problem::new(Code::BadParameter, format!("`include` cannot be `{word}`"))
                        .hint("there are `graph` and `schema`"));
                }
            }
        }
        Ok((graph, schema))
    }
}

/// What putting a flow did.
#[derive(Debug, Serialize, ToSchema)]
pub struct PutDone {
    /// Name of the flow.
    pub name: String,
    /// The version that it is; none for a new one that was only tried (`dry_run`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Names everything that it is made of; also its `ETag`.
    pub hash: String,
    /// Whether it is another than the version that was active.
    pub changed: bool,
    /// Whether new jobs take it.
    pub active: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// What is odd about it.
    pub warnings: Vec<Mistake>,
}

/// Which version is to be active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The version.
    #[schema(minimum = 1)]
    pub version: i32,
}

/// What activating a version did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Activated {
    /// Name of the flow.
    pub name: String,
    /// The version that new jobs take.
    pub active: i32,
    /// The version that they took before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i32>,
    /// Jobs that have not ended, by the version that they keep.
    pub in_flight: BTreeMap<i32, u64>,
}

/// What a flow takes and gives.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowSchema {
    /// JSON Schema of the mapping of inputs.
    #[schema(value_type = Object)]
    pub inputs: Json,
    /// JSON Schema of the mapping of outputs.
    #[schema(value_type = Object)]
    pub outputs: Json,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Most items on it.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u16>,
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// The version; the active one if it is left out.
    #[param(minimum = 1)]
    pub version: Option<i32>,
}

/// Which version, and how it is drawn.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GraphQuery {
    /// The version; the active one if it is left out.
    #[param(minimum = 1)]
    pub version: Option<i32>,
    /// The form.
    #[serde(default)]
    #[param(inline)]
    pub format: GraphAs,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GraphAs {
    /// Nodes and edges.
    #[default]
    Json,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// How a flow is put.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PutQuery {
    /// Only says what would be: nothing is kept.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether new jobs take it; otherwise it waits to be activated.
    #[serde(default = "yes")]
    #[param(default = true)]
    pub activate: bool,
}

fn yes() -> bool {
    true
}
