//! Feedback: what people say of the answers of jobs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{Body, escape};
use super::caller::{Can, Read, Run};
use super::problem::{Code, Mistake, Problem};
use crate::job::new_id;
use crate::store::{Feedback, FeedbackPut};

/// Longest comment.
const COMMENT_BYTES: usize = 16 * 1024;
/// Most labels, and most bytes of the name and value of one.
const LABELS: (usize, usize) = (32, 256);

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(give, list))
}

/// What somebody says of a job's answer: a score, words, or both.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeedbackRequest {
    /// From -1 (bad) to 1 (good).
    #[schema(minimum = -1, maximum = 1)]
    pub score: Option<f64>,
    /// In words.
    pub comment: Option<String>,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
}

/// What somebody said of a job's answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Feedback)]
pub struct FeedbackView {
    /// `fbk_…`.
    pub id: String,
    /// The job.
    pub job_id: String,
    /// From -1 (bad) to 1 (good).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What to find it by.
    pub labels: BTreeMap<String, String>,
    /// The key that it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it was said.
    pub created_at: String,
}

/// What was said of a job's answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FeedbackList {
    /// Oldest first; at most 100.
    pub items: Vec<FeedbackView>,
}

impl From<Feedback> for FeedbackView {
    fn from(said: Feedback) -> Self {
        Self {
            id: said.id,
            job_id: said.job_id,
            score: said.score,
            comment: said.comment,
            labels: said.labels,
            created_by: said.by,
            created_at: super::usage::time(said.at_ms),
        }
    }
}

/// Say how good a job's answer was
#[utoipa::path(post, path = "/v1/jobs/{id}/feedback", operation_id = "give_feedback", tag = "usage", security(("key" = ["run"])),
    params(("id" = String, Path, description = "the job")), request_body = FeedbackRequest,
    responses((status = 201, description = "it is kept", body = FeedbackView),
        (status = 409, description = "enough has been said of this job", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn give(
    State(app): State<App>,
    can: Can<Run>,
    Path(id): Path<String>,
    body: Body<FeedbackRequest>,
) -> Result<(StatusCode, Json<FeedbackView>), Problem> {
    let FeedbackRequest { score, comment, labels } = body.value;
    check(score, comment.as_deref(), &labels)?;
    let said = Feedback {
        id: new_id("fbk"),
        job_id: id.clone(),
        score,
        comment,
        labels,
        by: can.key_id.clone(),
        at_ms: app.now_ms(),
    };
    match app.store.put_feedback(&can.tenant, &said).await? {
        FeedbackPut::Kept => Ok((StatusCode::CREATED, Json(said.into()))),
        FeedbackPut::TooMany => {
            Err(Problem::new(Code::Conflict, format!("enough has been said of job `{id}`")))
        }
        FeedbackPut::NoJob => Err(Problem::not_found("job", &id)),
    }
}

/// List what was said of a job's answer
#[utoipa::path(get, path = "/v1/jobs/{id}/feedback", operation_id = "list_feedback", tag = "usage", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "what was said", body = FeedbackList)))]
async fn list(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<FeedbackList>, Problem> {
    let said = app.store.feedback(&can.tenant, &id).await?;
    if said.is_empty() && app.store.job(Some(&can.tenant), &id).await?.is_none() {
        return Err(Problem::not_found("job", &id));
    }
    Ok(Json(FeedbackList { items: said.into_iter().map(FeedbackView::from).collect() }))
}

fn check(
    score: Option<f64>,
    comment: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    let mut mistakes = Vec::new();
    if score.is_some_and(|score| !(-1.0..=1.0).contains(&score)) {
        mistakes.push(Mistake::at("/score", "`score` is between -1 and 1"));
    }
    if comment.is_some_and(|comment| comment.len() > COMMENT_BYTES) {
        mistakes.push(Mistake::at("/comment", format!("it has more than {COMMENT_BYTES} bytes")));
    }
    if score.is_none() && comment.is_none() && labels.is_empty() {
        mistakes.push(Mistake::at("", "it says nothing: give a `score`, a `comment` or `labels`"));
    }
    if labels.len() > LABELS.0 {
        mistakes.push(Mistake::at("/labels", format!("there are at most {} labels", LABELS.0)));
    }
    for (name, value) in labels.iter().take(LABELS.0) {
        if name.is_empty() || name.len() > LABELS.1 || value.len() > LABELS.1 {
            let message =
                format!("a label has a name, and at most {} bytes in each of name and value", LABELS.1);
            mistakes.push(Mistake::at(format!("/labels/{}", escape(name)), message));
        }
    }
    match mistakes.first() {
        None => Ok(()),
        Some(first) => Err(Problem::new(Code::Invalid, first.message.clone()).errors(mistakes)),
    }
}
