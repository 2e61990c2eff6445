//! The OpenAI-compatible endpoints: a flow is a model. Their errors have OpenAI's shape.

use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;

use super::App;
use super::problem::Problem;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}

/// Whether errors of this path have OpenAI's shape.
pub fn speaks(path: &str) -> bool {
    let _ = path;
    false
}

/// A problem in OpenAI's shape, with the headers of `response`.
pub fn refusal(problem: &Problem, response: Response) -> Response {
    let _ = problem;
    response
}
