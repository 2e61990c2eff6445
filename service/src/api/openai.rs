//! The OpenAI-compatible endpoints: a flow is a model. Their errors have `OpenAI`'s shape.
//!
//! Behind them are the same durable jobs as behind everything else; an id says which: `chatcmpl-N` and `resp_N` are the
//! job `job_N`.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;

pub mod answer;
pub(crate) mod call;
pub mod chat;
mod conversation;
pub mod error;
mod events;
mod follow;
mod marks;
pub mod models;
pub mod request;
pub mod resource;
pub mod responses;

pub use error::{refusal, speaks};

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .routes(routes!(chat::complete))
        .routes(routes!(responses::create))
        .routes(routes!(responses::show, responses::forget))
        .routes(routes!(responses::cancel))
}

#[cfg(test)]
pub(crate) mod tests {
    use anabranch_engine::diagnostic::SourceFile;
    use anabranch_engine::plan::{Environment, Plan, compile};

    /// A flow with these inputs that answers with `answer`.
    pub(crate) fn plan(inputs: &str) -> Plan {
        flow(inputs, "{ answer: answer.answer }")
    }

    /// A flow with these inputs and outputs, which has a node `answer`.
    pub(crate) fn flow(inputs: &str, outputs: &str) -> Plan {
        let text = format!(
            "flow: qa\ninputs: {inputs}\nnodes:\n  \
             find: {{ op: retrieve.bm25, with: {{ index: docs }}, in: {{ query: '\"x\"' }} }}\n  \
             answer: {{ op: read.answer, in: {{ question: '\"x\"', chunks: find.chunks }} }}\n\
             outputs: {outputs}\n"
        );
        let registry = anabranch_operators::registry();
        let environment = Environment { registry: &registry, names: None, library: &() };
        let compiled = compile(&SourceFile::new("qa.yaml", text), &environment);
        compiled.unwrap_or_else(|problems| panic!("{problems}")).0
    }
}
