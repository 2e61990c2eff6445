//! Jobs: submitted, listed, looked at, stopped, answered, repeated.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::caller::Caller;
use super::problem::Problem;
use crate::job::Job;

mod answer;
pub mod cancel;
pub mod detail;
pub mod list;
pub mod nodes;
mod one;
pub mod prepare;
pub mod prompts;
pub mod request;
mod retry;
pub mod submit;
pub mod timeline;
pub mod view;

pub use list::{JobFilter, PageOf};
pub use nodes::NodeError;
pub(crate) use nodes::values;
pub use prepare::{Prepared, prepare};
pub use request::{JobRequest, TypedJobRequest};
pub use view::{JobView, Links};

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(submit::create, list::list))
        .routes(routes!(submit::create_typed))
        .routes(routes!(cancel::cancel_many))
        .routes(routes!(one::show, one::delete))
        .routes(routes!(nodes::list))
        .routes(routes!(detail::show))
        .routes(routes!(timeline::timeline))
        .routes(routes!(prompts::prompts))
        .routes(routes!(nodes::graph))
        .routes(routes!(cancel::cancel))
        .routes(routes!(retry::retry))
        .routes(routes!(answer::resume))
}

/// The job `id` of the caller's tenant.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<Job, Problem> {
    let job = app.store.job(Some(&caller.tenant), id).await?;
    job.ok_or_else(|| Problem::not_found("job", id))
}
