//! Every index as a tool that searches it, with the operators that flows search with.

use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::run::{self, Options, Outcome};
use anabranch_engine::value::{Map as Values, Value};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value as Json, json};

use super::text;
use crate::api::App;

/// What the names of these tools begin with.
const PREFIX: &str = "search_";
/// Chunks that are given unless more or fewer are asked for.
const TOP_K: u64 = 8;
/// Most chunks that are given.
const TOP_K_MAX: u64 = 50;
/// Longest time for a search.
const TIME: Duration = Duration::from_secs(60);

/// A tool for each index.
pub(super) fn list(app: &App) -> Vec<Tool> {
    app.resources.indexes.keys().map(|name| tool(name)).collect()
}

/// The index that the tool called `name` searches.
pub(super) fn index(app: &App, name: &str) -> Option<String> {
    let index = name.strip_prefix(PREFIX)?;
    app.resources.indexes.contains_key(index).then(|| index.to_owned())
}

fn tool(index: &str) -> Tool {
    let inputs = json!({
        "type": "object",
        "properties": {
            "query": { "type": "string", "description": "What to look for." },
            "top_k": { "type": "integer", "minimum": 1, "maximum": TOP_K_MAX, "default": TOP_K, "description": "Most passages to give." },
            "namespace": { "type": "string", "description": "Whose passages are searched, in an index with namespaces." },
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let outputs = json!({
        "type": "object",
        "properties": { "chunks": { "type": "array", "items": { "type": "object" }, "description": "The passages, best first." } },
        "required": ["chunks"],
    });
    let about = format!("Finds passages in the index `{index}`, each with its document and lines.");
    Tool::new_with_raw(format!("{PREFIX}{index}"), Some(about.into()), Arc::new(object(inputs)))
        .with_raw_output_schema(Arc::new(object(outputs)))
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

fn object(json: Json) -> JsonObject {
    match json {
        Json::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// Searches.
pub(super) async fn call(
    app: &App,
    index: &str,
    arguments: JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let searching = tokio::time::timeout(TIME, search(app, index, &arguments, context));
    match searching.await {
        Ok(Ok(found)) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text::of_chunks(&found))]);
            result.structured_content = Some(json!({ "chunks": found }));
            Ok(result)
        }
        Ok(Err(Failed::Wrong(message))) => Err(ErrorData::invalid_params(message, None)),
        Ok(Err(Failed::Broken(message))) => Ok(CallToolResult::error(vec![ContentBlock::text(message)])),
        Err(_) => {
            let message = format!("the search did not end within {} s", TIME.as_secs());
            Ok(CallToolResult::error(vec![ContentBlock::text(message)]))
        }
    }
}

enum Failed {
    /// The arguments make no sense.
    Wrong(String),
    /// The index or its embedder failed.
    Broken(String),
}

/// Runs a flow of one node: the operator that flows search with, so that both find the same.
async fn search(
    app: &App,
    index: &str,
    arguments: &JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<Vec<Json>, Failed> {
    let wrong = |message: &str| Failed::Wrong(message.to_owned());
    let known = ["query", "top_k", "namespace"];
    if let Some(name) = arguments.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Failed::Wrong(format!(
            "there is no argument `{name}`; there are `query`, `top_k`, `namespace`"
        )));
    }
    let query = arguments.get("query").and_then(Json::as_str).ok_or_else(|| wrong("`query` is a text"))?;
    let top_k = match arguments.get("top_k") {
        None | Some(Json::Null) => TOP_K,
        Some(top_k) => top_k
            .as_u64()
            .filter(|top_k| (1..=TOP_K_MAX).contains(top_k))
            .ok_or_else(|| Failed::Wrong(format!("`top_k` is a whole number from 1 to {TOP_K_MAX}")))?,
    };
    let mut settings = json!({ "index": index, "top_k": top_k });
    if let (Some(namespace), Some(settings)) = (arguments.get("namespace"), settings.as_object_mut()) {
        settings.insert("namespace".to_owned(), namespace.clone());
    }
    let has_vectors = app.resources.indexes.get(index).is_some_and(|entry| entry.embedder.is_some());
    let operator = if has_vectors { "retrieve.hybrid" } else { "retrieve.bm25" };
    let flow = format!(
        "flow: search\ninputs: {{ query: text }}\nnodes:\n  search:\n    op: {operator}\n    with: {settings}\n    \
         in: {{ query: inputs.query }}\noutputs: {{ chunks: search.chunks }}\n"
    );
    let plan = plan(app, flow)?;
    let inputs: Values = [("query".into(), Value::Text(query.into()))].into_iter().collect();
    let options = Options { cancel: context.ct.child_token(), ..Options::default() };
    let report = run::run(plan, inputs, app.resources.clone(), options)
        .await
        .map_err(|error| Failed::Broken(error.to_string()))?;
    match report.outcome {
        Outcome::Succeeded => {}
        Outcome::Failed(failure) => return Err(Failed::Broken(failure.message)),
        _ => return Err(wrong("the search was stopped")),
    }
    let found = report.outputs.get("chunks").and_then(Value::as_list).unwrap_or_default();
    Ok(found.iter().map(Value::to_json).collect())
}

fn plan(app: &App, flow: String) -> Result<Arc<Plan>, Failed> {
    let environment = Environment { registry: &app.registry, names: None, library: &() };
    match compile(&SourceFile::new("(search)", flow), &environment) {
        Ok((plan, _)) => Ok(Arc::new(plan)),
        Err(problems) => {
            let first = problems.iter().next().map(|problem| problem.message.clone());
            Err(Failed::Wrong(first.unwrap_or_default()))
        }
    }
}
