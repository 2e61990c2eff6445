//! Batches: many jobs in one request, all of them taken in or none.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{Large, Query, json};
use super::caller::{Can, Read, Run};
use super::headers::idempotency_key;
use super::jobs::PageOf;
use super::jobs::cancel::{CancelMode, CancelRequest};
use super::jobs::list::{PAGE, PAGE_MAX};
use super::jobs::submit::made_before;
use super::problem::{Code, Problem};
use super::time::rfc3339;
use crate::job::{Idempotency, NewJob, Status, Submitted, new_id};
use crate::store::{Batch, NewBatch};

mod lines;
mod results;

/// What a body of lines may call itself.
const KINDS: [&str; 4] =
    ["application/jsonl", "application/x-jsonlines", "application/x-ndjson", "application/json-lines"];

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(results::results))
        .routes(routes!(cancel))
}

/// Many jobs that were submitted in one request.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    /// `bat_…`.
    pub id: String,
    /// Jobs that it was submitted with.
    pub jobs: u64,
    /// How many of them are where; those that were forgotten since are not counted. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeMap<Status, u64>>,
    /// Whether every job has ended. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<bool>,
    /// Labels that were given to all of its jobs.
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub cancelled_at: Option<String>,
    /// The key that submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Where more is found.
    pub links: BatchLinks,
}

/// Where more of a batch is found; relative unless `server.public_url` is set.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchLinks {
    /// The batch.
    #[serde(rename = "self")]
    pub this: String,
    /// What its jobs came to, in the order of the lines.
    pub results: String,
    /// Its jobs.
    pub jobs: String,
}

/// What all jobs of a batch get.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(
    dead_code,
    reason = "says what the query can hold; labels have names of their own and are read by hand"
)]
struct BatchQuery {
    /// A label for every job: `label.NAME=VALUE`, as often as needed. A line's own label of that name counts.
    #[param(rename = "label.NAME")]
    label: Option<String>,
    /// The conversation that every job belongs to, unless its line names one.
    session_id: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<String>,
    /// Batches on a page: 50 if unset, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

impl BatchView {
    fn of(app: &App, batch: Batch, counts: Option<BTreeMap<Status, u64>>) -> Self {
        let url = app.url(&format!("/v1/batches/{}", batch.id));
        let ended = counts.as_ref().map(|counts| counts.keys().all(|status| status.is_final()));
        Self {
            jobs: batch.n_jobs,
            counts,
            ended,
            labels: batch.labels,
            created_at: rfc3339(batch.created_ms),
            cancelled_at: batch.cancelled_ms.map(rfc3339),
            created_by: batch.created_by,
            links: BatchLinks {
                results: format!("{url}/results"),
                jobs: app.url(&format!("/v1/jobs?batch_id={}", batch.id)),
                this: url,
            },
            id: batch.id,
        }
    }
}

async fn find(app: &App, tenant: &str, id: &str) -> Result<Batch, Problem> {
    app.store.batch(tenant, id).await?.ok_or_else(|| Problem::not_found("batch", id))
}

async fn counted(app: &App, batch: Batch) -> Result<BatchView, Problem> {
    let counts = app.store.batch_counts(&batch.id).await?;
    Ok(BatchView::of(app, batch, Some(counts)))
}

/// Submit a batch
///
/// One job a line (JSONL), each as `POST /v1/jobs` takes it. If anything is wrong with any line, every mistake is told
/// with its line, and nothing is submitted. Otherwise all jobs are queued and on disk with the answer, in one step: a
/// process that ends in the middle leaves none of them.
#[utoipa::path(post, path = "/v1/batches", tag = "batches", security(("key" = ["run"])),
    params(BatchQuery, ("Idempotency-Key" = Option<String>, Header, description = "makes the submission repeatable for 24 hours")),
    request_body(content = String, content_type = "application/jsonl", description = "a job a line; at most `limits.batch` of them, in at most `limits.documents_bytes`"),
    responses((status = 202, description = "all jobs are queued", body = BatchView,
        headers(("Location" = String, description = "the batch")))))]
async fn create(
    State(app): State<App>,
    can: Can<Run>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Large,
) -> Result<Response, Problem> {
    must_be_lines(&headers)?;
    let key = idempotency_key(&headers)?;
    let query = query.unwrap_or_default();
    let common = lines::Common::read(&query)?;
    let batch = NewBatch {
        id: new_id("bat"),
        tenant: can.tenant.clone(),
        labels: common.labels.clone(),
        created_ms: app.now_ms(),
        created_by: can.key_id.clone(),
        idempotency: key.map(|key| Idempotency {
            endpoint: "POST /v1/batches".to_owned(),
            key,
            body_hash: blake3::Hasher::new()
                .update(query.as_bytes())
                .update(b"\n")
                .update(&body.0)
                .finalize()
                .to_hex()
                .to_string(),
        }),
    };
    let admitted = async {
        let jobs = lines::read(&app, &can, &common, &batch.id, &body.0).await?;
        app.admission.enter(&app, (&can.tenant, can.key_id.as_deref()), jobs.len()).await?;
        Ok(jobs)
    };
    let submitted = match admitted.await {
        Ok(jobs) => take_in(&app, &batch, jobs).await?,
        Err(problem) => match made_before(&app, &can.tenant, batch.idempotency.as_ref()).await {
            Some(id) => Submitted::Before(id),
            None => return Err(problem),
        },
    };
    drop(body);
    let (id, is_replayed) = match submitted {
        Submitted::New => (batch.id, false),
        Submitted::Before(id) => (id, true),
        Submitted::OtherBody => {
            return Err(Problem::new(
                Code::KeyReused,
                "the `Idempotency-Key` was used for another request within the last 24 hours",
            ));
        }
    };
    let view = counted(&app, find(&app, &can.tenant, &id).await?).await?;
    let location = HeaderValue::from_str(&view.links.this).ok();
    let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    if is_replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn take_in(app: &App, batch: &NewBatch, jobs: Vec<NewJob>) -> Result<Submitted, Problem> {
    let mut flows = std::collections::BTreeMap::<String, u64>::new();
    for job in &jobs {
        *flows.entry(job.flow.clone()).or_default() += 1;
    }
    let submitted = app.store.submit_batch(batch, jobs).await?;
    if submitted == Submitted::New {
        for (flow, jobs) in &flows {
            app.metrics.submitted(&batch.tenant, flow, *jobs);
        }
    }
    Ok(submitted)
}

fn must_be_lines(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if KINDS.contains(&kind.as_str()) {
        return Ok(());
    }
    let what = if given.is_empty() { "of no kind".to_owned() } else { format!("`{given}`") };
    Err(Problem::new(Code::MediaType, format!("the body is {what}"))
        .hint("send a job a line with `Content-Type: application/jsonl`"))
}

/// List batches
///
/// Newest first, without counting their jobs.
#[utoipa::path(get, path = "/v1/batches", tag = "batches", security(("key" = ["read"])), params(ListQuery),
    responses((status = 200, description = "a page of batches", body = PageOf<BatchView>)))]
async fn list(
    State(app): State<App>,
    can: Can<Read>,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<BatchView>>, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::new(Code::BadParameter, format!("`limit` is a number from 1 to {PAGE_MAX}")));
    }
    let cursor = query.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let page = app.store.batches(&can.tenant, cursor, limit).await?;
    let items = page.items.into_iter().map(|batch| BatchView::of(&app, batch, None)).collect();
    Ok(Json(PageOf { items, next_cursor: page.next }))
}

/// Show a batch
///
/// With how many of its jobs are where.
#[utoipa::path(get, path = "/v1/batches/{id}", tag = "batches", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the batch")),
    responses((status = 200, description = "the batch", body = BatchView)))]
async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Problem> {
    let batch = find(&app, &can.tenant, &id).await?;
    counted(&app, batch).await.map(Json)
}

/// Cancel a batch
///
/// Every job of it that has not ended. Asked again, it answers the same.
#[utoipa::path(post, path = "/v1/batches/{id}/cancel", tag = "batches", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the batch")),
    request_body(content = Option<CancelRequest>, description = "how; graceful without a body"),
    responses((status = 200, description = "every job has ended", body = BatchView),
        (status = 202, description = "workers are told of those that run", body = BatchView)))]
async fn cancel(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let request: CancelRequest = if body.is_empty() { CancelRequest::default() } else { json(&body)? };
    if !app.store.cancel_batch(&can.tenant, &id, request.mode == CancelMode::Now).await? {
        return Err(Problem::not_found("batch", &id));
    }
    app.runner.look();
    let view = counted(&app, find(&app, &can.tenant, &id).await?).await?;
    let status = if view.ended == Some(true) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(view)).into_response())
}
