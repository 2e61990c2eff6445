//! Who the caller is taken for: what a client asks first, to know what it can offer.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::caller::{Can, Read, Scope};

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(whoami))
}

/// Who the caller is taken for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whoami {
    /// Whose objects they see.
    pub tenant: String,
    /// The key that they showed; none where none is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// Version of the service.
    pub version: &'static str,
    /// Whether this process also runs jobs.
    pub runs_jobs: bool,
}

/// Say who I am
#[utoipa::path(get, path = "/v1/whoami", tag = "keys", operation_id = "whoami", security(("key" = ["read"])),
    responses((status = 200, description = "who the caller is taken for", body = Whoami)))]
async fn whoami(State(app): State<App>, can: Can<Read>) -> Json<Whoami> {
    Json(Whoami {
        tenant: can.tenant.clone(),
        key_id: can.key_id.clone(),
        scopes: can.scopes.clone(),
        version: env!("CARGO_PKG_VERSION"),
        runs_jobs: app.roles.worker,
    })
}
