//! Flows as models: which there are.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::caller::Read;
use crate::api::problem::Problem;
use crate::api::{App, Can};

/// What names of models begin with that are flows.
const PREFIX: &str = "flow/";

/// A list of models.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelCard>,
}

/// A flow as a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelCard {
    /// `flow/NAME`, which is the active version, or `flow/NAME@VERSION`.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When the version was made (unix seconds).
    pub created: i64,
    /// `anabranch`.
    pub owned_by: &'static str,
    /// What the flow is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Which flow a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) flow: String,
    pub(super) version: Option<i32>,
}

impl Named {
    /// Reads `flow/NAME` or `flow/NAME@VERSION`; the name alone will do.
    pub(super) fn parse(model: &str) -> Result<Self, Problem> {
        let name = model.strip_prefix(PREFIX).unwrap_or(model);
        let (flow, version) = match name.rsplit_once('@') {
            Some((flow, version)) => {
                let version = version.parse().map_err(|_| {
                    Problem::invalid("/model", format!("`{version}` is no version of a flow"))
                        .hint(format!("write `{PREFIX}{flow}`, or `{PREFIX}{flow}@1`"))
                })?;
                (flow, Some(version))
            }
            None => (name, None),
        };
        Ok(Self { flow: flow.to_owned(), version })
    }
}

/// The name of a flow as a model.
pub(super) fn id(flow: &str, version: Option<i32>) -> String {
    match version {
        Some(version) => format!("{PREFIX}{flow}@{version}"),
        None => format!("{PREFIX}{flow}"),
    }
}

/// List the flows as models
///
/// Each flow is there as `flow/NAME`, which is always its active version, and as `flow/NAME@VERSION` of that version.
#[utoipa::path(get, path = "/v1/models", operation_id = "openai_list_models", tag = "openai", security(("key" = ["read"])),
    responses((status = 200, description = "the models", body = ModelList)))]
pub(super) async fn list(State(app): State<App>, can: Can<Read>) -> Result<Json<ModelList>, Problem> {
    let flows = app.flows.list(&can.tenant).await.map_err(|error| Problem::flow(error, None))?;
    let mut data = Vec::with_capacity(flows.len() * 2);
    for flow in flows {
        for version in [None, Some(flow.version)] {
            data.push(card(id(&flow.name, version), flow.created_ms, flow.about.clone()));
        }
    }
    Ok(Json(ModelList { object: "list", data }))
}

/// Look at a flow as a model
#[utoipa::path(get, path = "/v1/models/{*model}", operation_id = "openai_show_model", tag = "openai", security(("key" = ["read"])),
    params(("model" = String, Path, description = "`flow/NAME` or `flow/NAME@VERSION`")),
    responses((status = 200, description = "the model", body = ModelCard),
        (status = 422, description = "this is no name of a model", body = super::error::OpenAiError)))]
pub(super) async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(model): Path<String>,
) -> Result<Json<ModelCard>, Problem> {
    let named = Named::parse(&model)?;
    let found = app.flows.version(&can.tenant, &named.flow, named.version).await;
    let found = found.map_err(|error| Problem::flow(error, None))?;
    Ok(Json(card(id(&found.name, named.version), found.created_ms, found.about)))
}

fn card(id: String, created_ms: i64, description: Option<String>) -> ModelCard {
    ModelCard { id, object: "model", created: created_ms / 1000, owned_by: "anabranch", description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_flow_and_perhaps_its_version() {
        let named = |model| Named::parse(model).map(|named| (named.flow, named.version));
        assert_eq!(named("flow/qa").unwrap(), ("qa".to_owned(), None));
        assert_eq!(named("flow/qa@3").unwrap(), ("qa".to_owned(), Some(3)));
        assert_eq!(named("qa").unwrap(), ("qa".to_owned(), None));
        assert_eq!(named("flow/qa@new").unwrap_err().hint.unwrap(), "write `flow/qa`, or `flow/qa@1`");
        assert_eq!(id("qa", Some(3)), "flow/qa@3");
    }
}
