//! Indexes: what is in them, searching one, and putting documents in. Each tenant sees its own part of every index.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_engine::backend::{Filter, IndexStats, Namespace};
use anabranch_engine::diagnostic::suggest;
use anabranch_engine::value::DocumentId;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{self, Body, Large, Query};
use super::caller::{Can, Edit, Read};
use super::problem::{Code, Mistake, Problem};
use crate::indexes::search::{By, Search, SearchError};
use crate::indexes::{WriteError, namespace_of};
use crate::indexing::{self, Given, Summary};

mod document;

/// Chunks that a search finds, if nothing is said.
const TOP_K: u32 = 10;
/// Most chunks that a search finds.
const TOP_K_MAX: u32 = 1_000;
/// Longest query, in bytes.
const QUERY_BYTES: usize = 64 << 10;
/// Most documents of a request.
const DOCUMENTS_MAX: usize = 10_000;
/// Longest name of a document, in bytes.
const ID_BYTES: usize = 1_024;
/// Longest time that indexing the documents of a request takes.
const INDEXING_MAX: Duration = Duration::from_mins(10);

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(search))
        .routes(routes!(put))
        .routes(routes!(document::show, remove))
}

/// All indexes.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexList {
    /// By name.
    pub items: Vec<IndexInfo>,
}

/// An index, as far as the tenant sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// The embedder of its vectors; none if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<String>,
    /// Documents in it.
    pub documents: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Length of its vectors; 0 if there are none.
    pub dimensions: u32,
}

/// What is looked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What to look for.
    #[schema(min_length = 1)]
    pub query: String,
    /// What makes a chunk a good one.
    #[serde(default)]
    pub by: By,
    /// Most chunks.
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    pub top_k: Option<u32>,
    /// Only chunks whose metadata fit: `{"year": [2024, 2025]}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub filter: Filter,
    /// Part of the index.
    #[serde(default)]
    #[schema(value_type = String)]
    pub namespace: Namespace,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundChunks {
    /// The chunks, best first: `{id, doc, text, range, lines, tokens, title, headings, score, meta}`.
    #[schema(value_type = Vec<Object>)]
    pub chunks: Vec<Value>,
}

/// Documents for an index.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentsRequest {
    /// The documents.
    #[schema(min_items = 1, max_items = 10_000)]
    pub documents: Vec<NewDocument>,
    /// Part of the index.
    #[serde(default)]
    #[schema(value_type = String)]
    pub namespace: Namespace,
}

/// A document for an index.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    /// Its name: one with the same name is replaced.
    #[schema(min_length = 1, max_length = 1024)]
    pub id: String,
    /// Its title.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
    /// Facts to filter by.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub meta: BTreeMap<String, Value>,
}

/// What became of the documents.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexingDone {
    /// Documents that are new.
    pub added: usize,
    /// Documents that were replaced.
    pub changed: usize,
    /// Documents that were there just so.
    pub unchanged: usize,
    /// Chunks of those that are new or were replaced.
    pub chunks: usize,
    /// Documents that could not be indexed; they stay as they were.
    pub failed: Vec<FailedDocument>,
}

/// A document that could not be indexed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedDocument {
    /// Its name.
    pub id: String,
    /// Why.
    pub message: String,
}

/// Which part of an index.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NamespaceQuery {
    /// Part of the index.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub namespace: Namespace,
}

impl From<Summary> for IndexingDone {
    fn from(summary: Summary) -> Self {
        let failed = |(id, why): (DocumentId, indexing::Failure)| FailedDocument {
            id: id.0.to_string(),
            message: why.to_string(),
        };
        Self {
            added: summary.added,
            changed: summary.changed,
            unchanged: summary.unchanged,
            chunks: summary.chunks,
            failed: summary.failed.into_iter().map(failed).collect(),
        }
    }
}

/// List indexes
///
/// Those that were there when the service started, each with what the caller's tenant has in it.
#[utoipa::path(get, path = "/v1/indexes", tag = "indexes", operation_id = "list_indexes", security(("key" = ["read"])),
    responses((status = 200, description = "all indexes", body = IndexList)))]
async fn list(State(app): State<App>, caller: Can<Read>) -> Result<Json<IndexList>, Problem> {
    let part = part(&caller.tenant, &Namespace::default())?;
    let mut items = Vec::new();
    for name in app.indexes.names() {
        items.extend(info(&app, name, &part).await?);
    }
    Ok(Json(IndexList { items }))
}

/// Show an index
#[utoipa::path(get, path = "/v1/indexes/{name}", tag = "indexes", operation_id = "show_index", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the index"), NamespaceQuery),
    responses((status = 200, description = "what is in it", body = IndexInfo)))]
async fn show(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Query(query): Query<NamespaceQuery>,
) -> Result<Json<IndexInfo>, Problem> {
    let part = part(&caller.tenant, &query.namespace)?;
    info(&app, &name, &part).await?.map(Json).ok_or_else(|| no_index(&app, &name))
}

/// Search an index
///
/// Finds what `retrieve.bm25`, `retrieve.dense` and `retrieve.hybrid` find with their usual settings.
#[utoipa::path(post, path = "/v1/indexes/{name}/search", tag = "indexes", operation_id = "search_index", request_body = SearchRequest, security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the index")),
    responses((status = 200, description = "the chunks that fit best", body = FoundChunks),
        (status = 502, description = "the index or its embedder failed", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn search(
    State(app): State<App>,
    caller: Can<Read>,
    Path(name): Path<String>,
    Body { value: asked, .. }: Body<SearchRequest>,
) -> Result<Json<FoundChunks>, Problem> {
    let index = app.indexes.get(&name).ok_or_else(|| no_index(&app, &name))?;
    part(&caller.tenant, &asked.namespace)?;
    let top_k = asked.top_k.unwrap_or(TOP_K);
    if !(1..=TOP_K_MAX).contains(&top_k) {
        return Err(Problem::invalid("/top_k", format!("expected a whole number from 1 to {TOP_K_MAX}")));
    }
    if asked.query.trim().is_empty() || asked.query.len() > QUERY_BYTES {
        return Err(Problem::invalid("/query", format!("a query has 1 to {QUERY_BYTES} bytes")));
    }
    if asked.by != By::Words && index.encoder.is_none() {
        return Err(
            Problem::invalid("/by", format!("index `{name}` has no vectors")).hint("search by `words`")
        );
    }
    let search = Search {
        index: name,
        query: asked.query,
        by: asked.by,
        top_k,
        filter: asked.filter,
        namespace: asked.namespace,
    };
    let resources = app.tenant_resources.of(&caller.tenant);
    let found = search.run(&app.registry, resources).await.map_err(|error| match error {
        SearchError::Failed(failure) => Problem::new(Code::Backend, failure.to_string()),
        SearchError::Invalid(_) | SearchError::Inputs(_) => {
            Problem::invalid("", format!("the search makes no sense: {}", crate::exit::chain(&error)))
        }
    })?;
    let chunks =
        found.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(Problem::internal)?;
    Ok(Json(FoundChunks { chunks }))
}

/// Put documents into an index
///
/// A document with the name of one that is there replaces it; all others stay. One that is there just so is left alone, so
/// that the same request can be sent again. Up to 32 MiB.
#[utoipa::path(post, path = "/v1/indexes/{name}/documents", tag = "indexes", operation_id = "put_documents", request_body = DocumentsRequest, security(("key" = ["edit"])),
    params(("name" = String, Path, description = "Name of the index")),
    responses((status = 200, description = "what became of them", body = IndexingDone),
        (status = 409, description = "the index is made of files, or has vectors of another embedder", body = super::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "the index or its embedder failed", body = super::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "others are writing it", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn put(
    State(app): State<App>,
    caller: Can<Edit>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Large(bytes): Large,
) -> Result<Json<IndexingDone>, Problem> {
    body::must_be_json(&headers)?;
    let asked: DocumentsRequest = body::json(&bytes)?;
    let part = part(&caller.tenant, &asked.namespace)?;
    if asked.documents.is_empty() || asked.documents.len() > DOCUMENTS_MAX {
        return Err(Problem::invalid("/documents", format!("expected 1 to {DOCUMENTS_MAX} documents")));
    }
    let wrong: Vec<Mistake> = asked
        .documents
        .iter()
        .enumerate()
        .filter(|(_, document)| {
            let id = &document.id;
            id.trim().is_empty() || id.len() > ID_BYTES || id.chars().any(char::is_control)
        })
        .map(|(at, _)| {
            Mistake::at(format!("/documents/{at}/id"), format!("a name has 1 to {ID_BYTES} visible bytes"))
        })
        .collect();
    if !wrong.is_empty() {
        return Err(Problem::new(Code::Invalid, "some documents have no proper name").errors(wrong));
    }
    let documents = asked.documents.into_iter().map(|document| Given {
        id: DocumentId(document.id.into()),
        title: document.title.map(Into::into),
        text: document.text.into(),
        meta: document.meta,
    });
    let resources = app.tenant_resources.of(&caller.tenant);
    let writing = app.indexes.put(&name, &part, documents.collect(), &resources);
    let summary = tokio::time::timeout(INDEXING_MAX, writing)
        .await
        .map_err(|_| {
            let detail = format!("the documents were not indexed within {} s", INDEXING_MAX.as_secs());
            Problem::new(Code::Backend, detail).hint("send fewer at once")
        })?
        .map_err(|error| unwritten(&app, error))?;
    if let Some(error) = &summary.gave_up
        && summary.added + summary.changed == 0
    {
        return Err(backend(&app, error));
    }
    Ok(Json(summary.into()))
}

/// Take a document out of an index
#[utoipa::path(delete, path = "/v1/indexes/{name}/documents/{*id}", tag = "indexes", operation_id = "remove_document", security(("key" = ["edit"])),
    params(("name" = String, Path, description = "Name of the index"), ("id" = String, Path, description = "Name of the document"), NamespaceQuery),
    responses((status = 204, description = "it is gone"),
        (status = 409, description = "the index is made of files", body = super::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "the index failed", body = super::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "others are writing it", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<App>,
    caller: Can<Edit>,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<NamespaceQuery>,
) -> Result<StatusCode, Problem> {
    let part = part(&caller.tenant, &query.namespace)?;
    let removed = app.indexes.remove(&name, &part, &DocumentId(id.as_str().into())).await;
    if removed.map_err(|error| unwritten(&app, error))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("document", &id))
    }
}

/// The caller's part of every index.
fn part(tenant: &str, namespace: &Namespace) -> Result<Namespace, Problem> {
    namespace_of(tenant, namespace).map_err(|why| Problem::invalid("/namespace", why))
}

async fn info(app: &App, name: &str, part: &Namespace) -> Result<Option<IndexInfo>, Problem> {
    let stats = app.indexes.stats(name, part).await.map_err(|error| backend(app, &error))?;
    let (Some(stats), Some(index)) = (stats, app.indexes.get(name)) else { return Ok(None) };
    let IndexStats { documents, chunks, vectors, dimensions } = stats;
    let embedder = index.encoder.as_ref().map(|encoder| encoder.name.to_string());
    Ok(Some(IndexInfo { name: name.to_owned(), embedder, documents, chunks, vectors, dimensions }))
}

fn no_index(app: &App, name: &str) -> Problem {
    Problem::not_found("index", name).maybe_hint(suggest(name, app.indexes.names(), "there are"))
}

/// An index or its embedder failed; what it said may have our key in it.
fn backend(app: &App, error: &dyn std::error::Error) -> Problem {
    Problem::new(Code::Backend, app.resources.redacted(crate::exit::chain(error)))
}

fn unwritten(app: &App, error: WriteError) -> Problem {
    match error {
        WriteError::Unknown(name) => no_index(app, &name),
        WriteError::OfFiles(_) => Problem::new(Code::Conflict, error.to_string())
            .hint("put the documents into its files, or into a namespace of their own"),
        WriteError::Busy(_) => Problem::new(Code::Overloaded, error.to_string()),
        WriteError::Indexing(indexing::Error::OtherVectors { .. }) => {
            Problem::new(Code::Conflict, error.to_string())
                .hint("index all of its documents again: `anabranch index PATH --into NAME`")
        }
        WriteError::Indexing(indexing::Error::Index(_)) => backend(app, &error),
        WriteError::Indexing(error) => Problem::internal(crate::exit::chain(&error)),
    }
}
