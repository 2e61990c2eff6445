//! One document of an index, as its chunks: what surrounds a passage that an answer rests on.

use anabranch_engine::value::DocumentId;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{App, Can, NamespaceQuery, Problem, Query, Read, backend, no_index, part};

/// A document of an index.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndexedDocument {
    /// Its name.
    pub id: String,
    /// All of its chunks, in the order of their places; neighbours may overlap:
    /// `{id, doc, text, range, lines, tokens, title, headings, meta}`.
    #[schema(value_type = Vec<Object>)]
    pub chunks: Vec<Value>,
}

/// Show a document of an index
///
/// As the chunks that it was cut into.
#[utoipa::path(get, path = "/v1/indexes/{name}/documents/{*id}", tag = "indexes", operation_id = "show_document_chunks", security(("key" = ["read"])),
    params(("name" = String, Path, description = "Name of the index"), ("id" = String, Path, description = "Name of the document"), NamespaceQuery),
    responses((status = 200, description = "the document", body = IndexedDocument),
        (status = 502, description = "the index failed", body = crate::api::problem::ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Can<Read>,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<NamespaceQuery>,
) -> Result<Json<IndexedDocument>, Problem> {
    // The tenant's view of the index knows which part of it is theirs; asked for another's, it refuses.
    part(&caller.tenant, &query.namespace)?;
    let resources = app.tenant_resources.of(&caller.tenant);
    let index = resources.indexes.get(&name).ok_or_else(|| no_index(&app, &name))?;
    let chunks = index
        .index
        .chunks_of(&query.namespace, &DocumentId(id.as_str().into()))
        .await
        .map_err(|error| backend(&app, &error))?;
    if chunks.is_empty() {
        return Err(Problem::not_found("document", &id));
    }
    let chunks = chunks.iter().map(|chunk| serde_json::to_value(&**chunk));
    Ok(Json(IndexedDocument { id, chunks: chunks.collect::<Result<_, _>>().map_err(Problem::internal)? }))
}
