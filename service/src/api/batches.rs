//! Batches: many jobs in one request.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}
