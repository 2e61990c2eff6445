//! Jobs: submitted, listed, looked at, stopped, answered, repeated.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}
