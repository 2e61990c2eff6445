//! Operators: what flows are made of, each with its page, ports and settings.

use anabranch_engine::diagnostic::suggest;
use anabranch_engine::operator::{OperatorSpec, Port};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::caller::{Can, Read};
use super::problem::Problem;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(show))
}

/// All operators.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operators {
    /// By name.
    pub items: Vec<OperatorInfo>,
}

/// An operator in a sentence.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorInfo {
    /// Its name: `read.answer`.
    pub name: String,
    /// What it does.
    pub summary: String,
}

/// An operator with its page.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorPage {
    /// Its name and what it does.
    #[serde(flatten)]
    pub info: OperatorInfo,
    /// Its page, in Markdown.
    pub page: String,
    /// What it takes.
    pub inputs: Vec<PortInfo>,
    /// Type of further inputs, whatever their names, if it takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_inputs: Option<String>,
    /// What it gives.
    pub outputs: Vec<PortInfo>,
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings: Value,
}

/// A port of an operator.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its type, with `?` at the end where it may stay empty.
    #[serde(rename = "type")]
    pub ty: String,
    /// What it is for.
    pub about: String,
}

impl From<&OperatorSpec> for OperatorInfo {
    fn from(op: &OperatorSpec) -> Self {
        let summary = op.summary().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { name: op.name.to_owned(), summary }
    }
}

impl From<&Port> for PortInfo {
    fn from(port: &Port) -> Self {
        Self { name: port.name.to_string(), ty: port.ty.to_string(), about: port.doc.to_string() }
    }
}

/// List operators
#[utoipa::path(get, path = "/v1/operators", tag = "operators", operation_id = "list_operators", security(("key" = ["read"])),
    responses((status = 200, description = "all operators", body = Operators)))]
async fn list(State(app): State<App>, _: Can<Read>) -> Json<Operators> {
    Json(Operators { items: app.registry.iter().map(|op| OperatorInfo::from(&**op)).collect() })
}

/// Show an operator
///
/// Its page, its ports and the JSON Schema of its settings.
#[utoipa::path(get, path = "/v1/operators/{name}", tag = "operators", operation_id = "show_operator", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the operator: `read.answer`")),
    responses((status = 200, description = "the operator", body = OperatorPage)))]
async fn show(
    State(app): State<App>,
    _: Can<Read>,
    Path(name): Path<String>,
) -> Result<Json<OperatorPage>, Problem> {
    let Some(op) = app.registry.get(&name) else {
        let hint = suggest(&name, app.registry.names(), "there are");
        return Err(Problem::not_found("operator", &name).maybe_hint(hint));
    };
    Ok(Json(OperatorPage {
        info: OperatorInfo::from(&**op),
        page: op.page.trim().to_owned(),
        inputs: op.inputs.ports.iter().map(PortInfo::from).collect(),
        open_inputs: op.inputs.open.as_ref().map(ToString::to_string),
        outputs: op.outputs.ports.iter().map(PortInfo::from).collect(),
        settings: op.settings.as_value().clone(),
    }))
}
