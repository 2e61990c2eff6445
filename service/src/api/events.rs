//! What happens in a job, as a stream or a page.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}
