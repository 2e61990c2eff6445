//! What a node asks its model, worked out again: the journal has what came of it, not the words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::event::{Record, RunId};
use anabranch_engine::plan::Kind;
use anabranch_engine::run::{execute_task, last_attempt};
use anabranch_engine::scope::Scope;
use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{find, nodes};
use crate::api::App;
use crate::api::caller::{Can, Read};
use crate::api::problem::Problem;

/// Most prompts of an answer.
const PROMPTS_MAX: usize = 32;
/// Longest time that a node may take to ask.
const ASKING_MAX: Duration = Duration::from_secs(5);

/// What a node asks its models.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prompts {
    /// The node execution.
    pub node: String,
    /// What it asks before it has an answer, in order: one request, or those that it makes side by side; at most 32.
    pub items: Vec<Prompt>,
    /// Why there is nothing to show, if there is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_none: Option<String>,
}

/// What a node asks a model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Prompt {
    /// The model, as the configuration names it.
    pub model: String,
    /// `{messages: [{role, content}], temperature, max_tokens, response_schema, …}`.
    #[schema(value_type = Object)]
    pub request: Value,
}

/// Show what a node asks its models
///
/// Worked out again from what the node read: it runs by itself, with models that listen and do not answer. So it is what
/// comes before any answer; what an operator asks after one is not shown. Nothing is sent to anybody.
#[utoipa::path(get, path = "/v1/jobs/{id}/prompts/{*scope}", operation_id = "show_prompts", tag = "jobs", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job"),
        ("scope" = String, Path, description = "the node execution: `answer`, `hop[2]/search`")),
    responses((status = 200, description = "what it asks", body = Prompts)))]
pub async fn prompts(
    State(app): State<App>,
    can: Can<Read>,
    Path((id, node)): Path<(String, String)>,
) -> Result<Json<Prompts>, Problem> {
    let job = find(&app, &can, &id).await?;
    let plan = nodes::plan(&app, &job).await?;
    let scope = Scope::from(&*node);
    let nothing = |why: &str| {
        Ok(Json(Prompts { node: node.clone(), items: Vec::new(), why_none: Some(why.to_owned()) }))
    };
    let Some(placed) = plan.node(&scope) else { return Err(Problem::not_found("node", &node)) };
    let Kind::Op(op) = &placed.kind else { return nothing("only operators ask models") };
    if op.spec.has_effects {
        return nothing("it has effects outside, and is not run again to be looked at");
    }
    let records: Vec<Record> =
        nodes::records(&app, &id).await?.into_iter().map(|(_, record)| record).collect();
    let task =
        last_attempt(&plan, &RunId(id.as_str().into()), &records, &scope).map_err(Problem::internal)?;
    let Some(task) = task else { return nothing("it has not run here") };
    let asked = Asked::default();
    let resources = Arc::new(listening(&app.resources, &asked));
    let ran = tokio::time::timeout(ASKING_MAX, execute_task(&plan, task, resources)).await;
    let items = asked.take();
    if !items.is_empty() {
        return Ok(Json(Prompts { node, items, why_none: None }));
    }
    match ran {
        Ok(Ok(done)) if done.result.is_ok() => nothing("it asks no model"),
        Ok(Ok(done)) => {
            let why = done.result.err().map(|failure| failure.message).unwrap_or_default();
            nothing(&format!("what it asks depends on what only the run can give it: {why}"))
        }
        Ok(Err(refused)) => nothing(&refused.why),
        Err(_) => nothing("it took too long to ask"),
    }
}

/// What was asked so far.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<Mutex<Vec<Prompt>>>);

impl Asked {
    fn take(&self) -> Vec<Prompt> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The models of a process as ones that listen; and nothing else that could be reached.
fn listening(resources: &Resources, asked: &Asked) -> Resources {
    let models = resources.models.iter().map(|(name, model)| {
        let model = match model {
            Model::Extractive => Model::Extractive,
            Model::Chat(_) => Model::Chat(Arc::new(Listener { name: name.clone(), asked: asked.clone() })),
        };
        (name.clone(), model)
    });
    Resources { models: models.collect(), ..Resources::default() }
}

/// Writes down what it is asked, and refuses to answer.
#[derive(Debug)]
struct Listener {
    name: String,
    asked: Asked,
}

#[async_trait]
impl ChatModel for Listener {
    fn name(&self) -> &str {
        &self.name
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let mut asked = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < PROMPTS_MAX {
            let request = serde_json::to_value(request).unwrap_or_default();
            asked.push(Prompt { model: self.name.clone(), request });
        }
        Err(Error::Rejected {
            backend: format!("model `{}`", self.name),
            message: "it only listens".to_owned(),
        })
    }
}
