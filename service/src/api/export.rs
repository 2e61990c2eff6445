//! All that is known of a job, in one document.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}
