//! The `OpenAPI` document: made from the handlers, with what holds for all of them said once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::plan::Plan;
use serde_json::{Value as Json, json};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::openai::speaks;
use super::problem::{Code, Mistake, ProblemBody, Span};
use crate::flows::schema;

/// The endpoint that takes jobs of any flow by its name.
const TYPED: &str = "/v1/flows/{name}/jobs";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Anabranch",
        description = "Runs Modular RAG flows as durable jobs.\n\nA *flow* is a graph of operators; a *job* is a run \
                       of one that was submitted here and that survives restarts. Every error is an RFC 9457 problem \
                       with a `code`, a `request_id` and all mistakes at once. 429 is the caller's fault, 503 is ours; \
                       both say when to try again.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "jobs", description = "Submit, watch, stop, answer and repeat jobs."),
        (name = "batches", description = "Many jobs in one request."),
        (name = "flows", description = "Flows, their versions, and what is wrong with one."),
        (name = "operators", description = "What flows are made of."),
        (name = "backends", description = "The models that flows ask, and the servers behind them."),
        (name = "indexes", description = "What flows search."),
        (name = "keys", description = "Who may call."),
        (name = "webhooks", description = "Being told of ends."),
        (name = "schedules", description = "Jobs by the clock."),
        (name = "usage", description = "What was used, and how good it was."),
        (name = "openai", description = "Flows as models, for OpenAI's clients."),
        (name = "mcp", description = "Flows as tools, for MCP's clients."),
        (name = "ops", description = "How the process is."),
    ),
    components(schemas(ProblemBody, Mistake, Span)),
)]
struct Base;

/// What the document begins with, before any endpoint.
pub fn base() -> Document {
    let mut document = Base::openapi();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A key, with scopes of `read`, `run`, `edit` and `admin`. None is needed on the machine itself while there is none.",
        ))
        .build();
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("key".to_owned(), SecurityScheme::Http(scheme).into());
    document
}

/// The document of all endpoints.
pub fn document() -> Json {
    let (_, document) = super::groups().split_for_parts();
    let mut json = serde_json::to_value(document).unwrap_or_default();
    if let Some(Json::Object(paths)) = json.get_mut("paths") {
        // `{*scope}` takes the rest of the path; OpenAPI has no word for it.
        let all: Vec<(String, Json)> = std::mem::take(paths).into_iter().collect();
        *paths = all.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        let ordered: BTreeMap<String, Json> = std::mem::take(paths).into_iter().collect();
        for (path, mut item) in ordered {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                add_problems(&path, operation);
                if let Some(operation) = operation.as_object_mut() {
                    operation.insert("operationId".to_owned(), operation_id(method, &path).into());
                }
            }
            paths.insert(path, item);
        }
    }
    json
}

/// The name of an operation, which no other has: `get_jobs_id_nodes`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

/// The problems that an operation can have by its nature: what needs a key can lack it, and so on.
fn add_problems(path: &str, operation: &mut Json) {
    let has = |key: &str| operation.get(key).is_some_and(|value| !value.is_null());
    let is_open = !has("security");
    let mut codes: Vec<Code> = Vec::new();
    if !is_open {
        codes.extend([Code::NoKey, Code::NoScope, Code::TooMany, Code::StoreAway]);
    }
    if has("parameters") {
        codes.push(Code::BadParameter);
    }
    if path.contains('{') {
        codes.push(Code::NotFound);
    }
    if has("requestBody") {
        codes.extend([Code::BadJson, Code::TooSlow, Code::TooLarge, Code::MediaType, Code::Invalid]);
    }
    codes.push(Code::Internal);
    if is_open {
        codes.push(Code::Overloaded);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Json::as_object_mut) else { return };
    for code in codes {
        let status = code.status();
        let what = status.canonical_reason();
        let told = if speaks(path) { openai_problem(what) } else { problem(what) };
        responses.entry(status.as_str().to_owned()).or_insert(told);
    }
    responses.sort_keys();
}

fn problem(what: Option<&str>) -> Json {
    json!({
        "description": what.unwrap_or("a problem"),
        "content": { super::problem::MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

/// The same in `OpenAI`'s shape.
fn openai_problem(what: Option<&str>) -> Json {
    json!({
        "description": what.unwrap_or("a problem"),
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/OpenAiError" } } },
    })
}

/// The document with an endpoint for each of these flows, which takes the inputs of that flow.
pub fn with_flows(mut document: Json, flows: &[Arc<Plan>]) -> Json {
    let Some(generic) = document.pointer("/paths").and_then(|paths| paths.get(TYPED)).cloned() else {
        return document;
    };
    let Some(request) = document.pointer("/components/schemas/TypedJobRequest").cloned() else {
        return document;
    };
    for plan in flows {
        let (path, name) = (TYPED.replace("{name}", &plan.name), schema_name("JobRequest", &plan.name));
        if let Some(paths) = document.get_mut("paths").and_then(Json::as_object_mut) {
            paths.insert(path, twin(generic.clone(), plan, &name));
        }
        if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Json::as_object_mut) {
            schemas.insert(name, request_of(request.clone(), plan));
        }
    }
    document
}

/// The endpoint that submits jobs of one flow.
fn twin(mut item: Json, plan: &Plan, schema: &str) -> Json {
    let Some(operation) = item.get_mut("post").and_then(Json::as_object_mut) else { return item };
    operation.insert("operationId".to_owned(), schema_name("submit", &plan.name).into());
    operation.insert("summary".to_owned(), format!("Submit a job of `{}`", plan.name).into());
    if let Some(about) = &plan.about {
        operation.insert("description".to_owned(), about.trim().into());
    }
    if let Some(Json::Array(parameters)) = operation.get_mut("parameters") {
        parameters.retain(|parameter| parameter.get("in").and_then(Json::as_str) != Some("path"));
    }
    operation.insert(
        "requestBody".to_owned(),
        json!({ "required": true, "content": {
            "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } } }),
    );
    item
}

/// What such an endpoint takes.
fn request_of(mut request: Json, plan: &Plan) -> Json {
    let mut inputs = schema::inputs(plan);
    // The document says once which dialect it is written in.
    inputs.as_object_mut().and_then(|inputs| inputs.remove("$schema"));
    let is_required = inputs.get("required").and_then(Json::as_array).is_some_and(|names| !names.is_empty());
    if let Some(request) = request.as_object_mut() {
        request.insert("description".to_owned(), format!("A job of the flow `{}`.", plan.name).into());
        if is_required {
            request.insert("required".to_owned(), json!(["inputs"]));
        }
        if let Some(properties) = request.get_mut("properties").and_then(Json::as_object_mut) {
            properties.insert("inputs".to_owned(), inputs);
        }
    }
    request
}

/// A name that a component of the document may have.
fn schema_name(what: &str, flow: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    format!("{what}.{}", flow.chars().map(plain).collect::<String>())
}

/// The document as the file `service/openapi.json` has it.
pub fn file() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}
