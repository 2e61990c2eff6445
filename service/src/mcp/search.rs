//! Every index as a tool that searches it, with the operators that flows search with.

use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{Filter, Namespace};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{object, text};
use crate::api::App;
use crate::api::caller::Caller;
use crate::indexes::namespace_of;
use crate::indexes::search::{By, Search};

/// What the names of these tools begin with.
const PREFIX: &str = "search_";
/// Chunks that are given unless more or fewer are asked for.
const TOP_K: u32 = 8;
/// Most chunks that are given.
const TOP_K_MAX: u32 = 50;
/// Longest time for a search.
const TIME: Duration = Duration::from_mins(1);

/// What a search is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    query: String,
    #[serde(default = "top_k")]
    top_k: u32,
    #[serde(default)]
    namespace: Namespace,
}

fn top_k() -> u32 {
    TOP_K
}

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

/// Searches the caller's part of an index.
pub(super) async fn call(
    app: &App,
    caller: &Caller,
    index: String,
    arguments: JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let asked: Asked = serde_json::from_value(Json::Object(arguments))
        .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
    if !(1..=TOP_K_MAX).contains(&asked.top_k) {
        let message = format!("`top_k` is a whole number from 1 to {TOP_K_MAX}");
        return Err(ErrorData::invalid_params(message, None));
    }
    // Says so where the part is another tenant's.
    namespace_of(&caller.tenant, &asked.namespace)
        .map_err(|message| ErrorData::invalid_params(message, None))?;
    let has_vectors = app.resources.indexes.get(&index).is_some_and(|entry| entry.embedder.is_some());
    let search = Search {
        index,
        query: asked.query,
        by: if has_vectors { By::Hybrid } else { By::Words },
        top_k: asked.top_k,
        filter: Filter::default(),
        namespace: asked.namespace,
    };
    let resources = app.tenant_resources.of(&caller.tenant);
    let searching = tokio::time::timeout(TIME, search.run(&app.registry, resources));
    let found = tokio::select! {
        found = searching => found,
        () = context.ct.cancelled() => return Err(ErrorData::invalid_request("the call was taken back", None)),
    };
    let why = match found {
        Ok(Ok(found)) => {
            let chunks: Vec<Json> =
                found.iter().filter_map(|chunk| serde_json::to_value(&**chunk).ok()).collect();
            let mut result = CallToolResult::success(vec![ContentBlock::text(text::of_chunks(&chunks))]);
            result.structured_content = Some(json!({ "chunks": chunks }));
            return Ok(result);
        }
        Ok(Err(error)) => crate::exit::chain(&error),
        Err(_) => format!("the search did not end within {} s", TIME.as_secs()),
    };
    Ok(CallToolResult::error(vec![ContentBlock::text(why)]))
}
