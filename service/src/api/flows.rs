//! Flows: versions, checks, graphs.

use anabranch_engine::plan::Plan;
use anabranch_engine::plan::explain::{self, Format};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, LOCATION, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value as Json_;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, Query};
use super::caller::{Can, Edit, Read};
use super::problem::{Code, Mistake, Problem, mistakes};
use super::{App, etag};
use crate::flows::graph::Graph;
use crate::flows::{FlowError, Given, Ready, schema};
use crate::store::{Expected, FlowPut};

pub mod given;
pub mod shown;
pub mod tests;

use given::GivenFlow;
use shown::{
    Activated, Activation, CheckQuery, Checked, FlowBundle, FlowInfo, FlowSchema, Flows, GraphAs, GraphQuery,
    ListQuery, PutDone, PutQuery, VersionInfo, VersionQuery, Versions,
};

/// Flows on a page, if nothing is said.
const PAGE: usize = 100;
/// Most flows on a page.
const PAGE_MAX: usize = 1_000;
/// The media type of flows.
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(check))
        .routes(routes!(tests::run))
        .routes(routes!(show, put, remove))
        .routes(routes!(versions))
        .routes(routes!(activate))
        .routes(routes!(graph))
        .routes(routes!(schemas))
        .routes(routes!(explained))
}

/// List flows
///
/// The active version of each, by name.
#[utoipa::path(get, path = "/v1/flows", tag = "flows", operation_id = "list_flows", params(ListQuery), security(("key" = ["read"])),
    responses((status = 200, description = "a page of flows", body = Flows)))]
async fn list(
    State(app): State<App>,
    caller: Can<Read>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Flows>, Problem> {
    let all = app.flows.list(&caller.tenant).await.map_err(|error| Problem::flow(error, None))?;
    let limit = query.limit.map_or(PAGE, usize::from).clamp(1, PAGE_MAX);
    let after = query.cursor.unwrap_or_default();
    let mut rest = all.into_iter().filter(|flow| flow.name > after);
    let items: Vec<FlowInfo> = rest.by_ref().take(limit).map(FlowInfo::from).collect();
    let next_cursor = rest.next().and_then(|_| items.last().map(|last| last.name.clone()));
    Ok(Json(Flows { items, next_cursor }))
}

/// Check a flow
///
/// Tells everything that is wrong with it, each with its place; nothing is kept. Sub-flows that do not come along are the
/// active flows of the tenant.
#[utoipa::path(post, path = "/v1/flows/check", tag = "flows", operation_id = "check_flow", security(("key" = ["read"])),
    params(CheckQuery),
    request_body(content((Object = "application/yaml"), (Given = "application/json"))),
    responses((status = 200, description = "what is wrong, if anything is", body = Checked)))]
async fn check(
    State(app): State<App>,
    caller: Can<Read>,
    Query(query): Query<CheckQuery>,
    GivenFlow(given): GivenFlow,
) -> Result<Json<Checked>, Problem> {
    let (with_graph, with_schema) = query.read()?;
    match app.flows.bind(&caller.tenant, given).await {
        Ok(bound) => Ok(Json(Checked {
            valid: true,
            name: Some(bound.bundle.name.clone()),
            hash: Some(bound.plan.hash.to_string()),
            diagnostics: mistakes(&bound.warnings),
            graph: with_graph.then(|| Graph::of(&bound.plan)),
            schema: with_schema.then(|| schemas_of(&bound.plan)),
        })),
        Err(FlowError::Invalid(problems)) => {
            Ok(Json(Checked { diagnostics: mistakes(&problems), ..Checked::default() }))
        }
        Err(error) => Err(Problem::flow(error, None)),
    }
}

/// Put a flow
///
/// Makes it the newest version of its name, and the one that new jobs take; jobs that were taken in keep theirs. The same
/// flow again is the same version. Versions stay, so that nothing is lost without `If-Match`; with it, only the version
/// that the caller has seen is replaced, and `If-None-Match: *` only adds.
#[utoipa::path(put, path = "/v1/flows/{name}", tag = "flows", operation_id = "put_flow", security(("key" = ["edit"])),
    params(("name" = String, Path, description = "Name of the flow, as it says itself"), PutQuery,
        ("If-Match" = Option<String>, Header, description = "Tag of the version that is to be replaced"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such flow")),
    request_body(content((Object = "application/yaml"), (Given = "application/json"))),
    responses(
        (status = 200, description = "it is the active version, or it would be (`dry_run`)", body = PutDone),
        (status = 201, description = "it is the first of its name", body = PutDone),
        (status = 412, description = "another version is active than was expected", body = super::problem::ProblemBody, content_type = "application/problem+json"),
    ))]
async fn put(
    State(app): State<App>,
    caller: Can<Edit>,
    Path(name): Path<String>,
    Query(query): Query<PutQuery>,
    headers: HeaderMap,
    GivenFlow(given): GivenFlow,
) -> Result<Response, Problem> {
    let flow = |error| Problem::flow(error, None);
    let bound = app.flows.bind(&caller.tenant, given).await.map_err(flow)?;
    if bound.bundle.name != name {
        let message = format!("the flow calls itself `{}`, and the path `{name}`", bound.bundle.name);
        return Err(Problem::new(Code::InvalidFlow, message.clone())
            .errors(vec![Mistake { code: Some("flow_name".to_owned()), message, ..Mistake::default() }])
            .hint(format!("write `flow: {name}`, or put it as `/v1/flows/{}`", bound.bundle.name)));
    }
    let now = app.store.flow(&caller.tenant, &name, None).await?;
    let expected = etag::expected(&headers, now.as_ref().map(|now| &*now.etag))?;
    let hash = bound.plan.hash.to_string();
    let is_same = now.as_ref().is_some_and(|now| now.hash == hash);
    let mut done = PutDone {
        version: now.as_ref().filter(|_| is_same).map(|now| now.version),
        name,
        hash: hash.clone(),
        changed: !is_same,
        active: is_same || query.activate,
        dry_run: query.dry_run,
        warnings: mistakes(&bound.warnings),
    };
    if query.dry_run {
        if expected == Expected::Nothing && now.is_some() {
            return Err(etag::changed(now.as_ref().map(|now| &*now.etag)));
        }
        return Ok((StatusCode::OK, [(ETAG, etag::tag(&hash))], Json(done)).into_response());
    }
    let by = caller.key_id.as_deref();
    let put = app.flows.put(&caller.tenant, &bound, by, expected, !query.activate).await.map_err(flow)?;
    let is_first = match put {
        FlowPut::Same(version) => {
            done = PutDone { version: Some(version), changed: false, active: true, ..done };
            false
        }
        FlowPut::SameDraft(version) => {
            done = PutDone { version: Some(version), active: false, ..done };
            false
        }
        FlowPut::New(version, is_first) => {
            done = PutDone { version: Some(version), changed: true, active: query.activate, ..done };
            is_first
        }
        FlowPut::Unexpected(now) => return Err(etag::changed(now.as_deref())),
    };
    let location = HeaderValue::from_str(&app.url(&format!("/v1/flows/{}", done.name)));
    let mut response = ([(ETAG, etag::tag(&hash))], Json(done)).into_response();
    if is_first {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = location {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    Ok(response)
}

/// Show a flow
///
/// Its YAML as it was given; with `Accept: application/json` together with its sub-flows and prompts.
#[utoipa::path(get, path = "/v1/flows/{name}", tag = "flows", operation_id = "show_flow", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the flow"), VersionQuery,
        ("If-None-Match" = Option<String>, Header, description = "Tag of the version that the caller has")),
    responses(
        (status = 200, description = "the flow", content((Object = "application/yaml"), (FlowBundle = "application/json"))),
        (status = 304, description = "it is what the caller has"),
    ))]
async fn show(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Query(query): Query<VersionQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = |error| Problem::flow(error, None);
    let version = app.flows.version(&caller.tenant, &name, query.version).await.map_err(flow)?;
    let about_it = [(ETAG, etag::tag(&version.etag)), (VARY, HeaderValue::from_static("accept"))];
    if etag::is_known(&headers, &version.etag)? {
        return Ok((StatusCode::NOT_MODIFIED, about_it).into_response());
    }
    let bundle = app.flows.bundle(&version.hash).await.map_err(flow)?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") && !accepts.contains("yaml") {
        let info = FlowInfo::from(version);
        let parts = (bundle.flow.clone(), bundle.flows.clone(), bundle.prompts.clone());
        let (flow, flows, prompts) = parts;
        return Ok((about_it, Json(FlowBundle { info, flow, flows, prompts })).into_response());
    }
    Ok((about_it, [(CONTENT_TYPE, YAML)], bundle.flow.clone()).into_response())
}

/// Remove a flow
///
/// Takes it off the list, so that no new job can name it. Jobs that were taken in keep the version that they began with,
/// whatever they still have to do; a flow of the same name that is put later goes on counting versions.
#[utoipa::path(delete, path = "/v1/flows/{name}", tag = "flows", operation_id = "remove_flow", security(("key" = ["edit"])),
    params(("name" = String, Path, description = "Name of the flow")),
    responses((status = 204, description = "it is gone")))]
async fn remove(
    State(app): State<App>,
    caller: Can<Edit>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let was_there =
        app.flows.remove(&caller.tenant, &name).await.map_err(|error| Problem::flow(error, None))?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("flow", &name)) }
}

/// List the versions of a flow
///
/// Newest first, each with how many of its jobs have not ended.
#[utoipa::path(get, path = "/v1/flows/{name}/versions", tag = "flows", operation_id = "list_flow_versions", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the flow")),
    responses((status = 200, description = "all of its versions", body = Versions)))]
async fn versions(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
) -> Result<Json<Versions>, Problem> {
    versions_of(&app, &caller.tenant, &name).await.map(|items| Json(Versions { items }))
}

/// Activate a version of a flow
///
/// New jobs take it from now on: forwards, or back to an older one. Jobs that were taken in keep theirs; the answer counts
/// those that have not ended by version.
#[utoipa::path(post, path = "/v1/flows/{name}/activate", tag = "flows", operation_id = "activate_flow", security(("key" = ["edit"])),
    params(("name" = String, Path, description = "Name of the flow")),
    request_body = Activation,
    responses((status = 200, description = "it is active", body = Activated)))]
async fn activate(
    State(app): State<App>,
    caller: Can<Edit>,
    Path(name): Path<String>,
    Body { value: wanted, .. }: Body<Activation>,
) -> Result<Json<Activated>, Problem> {
    let flow = |error| Problem::flow(error, None);
    let before = app.store.flow(&caller.tenant, &name, None).await?;
    app.flows.activate(&caller.tenant, &name, wanted.version).await.map_err(flow)?;
    let items = versions_of(&app, &caller.tenant, &name).await?;
    let in_flight = items
        .iter()
        .filter(|version| version.in_flight > 0)
        .map(|version| (version.info.version, version.in_flight))
        .collect();
    Ok(Json(Activated { name, active: wanted.version, before: before.map(|flow| flow.version), in_flight }))
}

async fn versions_of(app: &App, tenant: &str, name: &str) -> Result<Vec<VersionInfo>, Problem> {
    let versions = app.flows.versions(tenant, name).await.map_err(|error| Problem::flow(error, None))?;
    let mut items = Vec::with_capacity(versions.len());
    for version in versions {
        let in_flight = app.store.in_flight(tenant, name, Some(version.version)).await?;
        items.push(VersionInfo { info: FlowInfo::from(version), in_flight });
    }
    Ok(items)
}

/// Show the graph of a flow
#[utoipa::path(get, path = "/v1/flows/{name}/graph", tag = "flows", operation_id = "flow_graph", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the flow"), GraphQuery),
    responses((status = 200, description = "nodes and edges, or a drawing",
        content((Graph = "application/json"), (String = "text/vnd.mermaid"), (String = "text/vnd.graphviz")))))]
async fn graph(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Query(query): Query<GraphQuery>,
) -> Result<Response, Problem> {
    let flow = ready(&app, &caller.tenant, &name, query.version).await?;
    let drawn = |kind: &'static str, format| {
        ([(CONTENT_TYPE, HeaderValue::from_static(kind))], explain::explain(&flow.plan, format))
            .into_response()
    };
    Ok(match query.format {
        GraphAs::Json => Json(Graph::of(&flow.plan)).into_response(),
        GraphAs::Mermaid => drawn("text/vnd.mermaid", Format::Mermaid),
        GraphAs::Dot => drawn("text/vnd.graphviz", Format::Dot),
    })
}

/// Show what a flow takes and gives
///
/// As JSON Schema.
#[utoipa::path(get, path = "/v1/flows/{name}/schema", tag = "flows", operation_id = "flow_schema", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the flow"), VersionQuery),
    responses((status = 200, description = "both schemas", body = FlowSchema)))]
async fn schemas(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<FlowSchema>, Problem> {
    let flow = ready(&app, &caller.tenant, &name, query.version).await?;
    Ok(Json(schemas_of(&flow.plan)))
}

fn schemas_of(plan: &Plan) -> FlowSchema {
    FlowSchema { inputs: schema::inputs(plan), outputs: schema::outputs(plan) }
}

/// Explain a flow
///
/// Its nodes, what they wait for, and the most operator executions, model calls and tokens that it can take: what
/// `anabranch explain --format json` prints.
#[utoipa::path(get, path = "/v1/flows/{name}/explain", tag = "flows", operation_id = "explain_flow", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the flow"), VersionQuery),
    responses((status = 200, description = "the plan", body = Object)))]
async fn explained(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<Json_>, Problem> {
    let flow = ready(&app, &caller.tenant, &name, query.version).await?;
    let text = explain::explain(&flow.plan, Format::Json);
    serde_json::from_str(&text).map(Json).map_err(Problem::internal)
}

async fn ready(app: &App, tenant: &str, name: &str, version: Option<i32>) -> Result<Ready, Problem> {
    app.flows.get(tenant, name, version).await.map_err(|error| Problem::flow(error, None))
}
