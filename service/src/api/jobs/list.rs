//! Lists of jobs: filtered, newest first, a page at a time.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::JobView;
use crate::api::App;
use crate::api::caller::{Can, Read};
use crate::api::problem::{Code, Mistake, Problem};
use crate::job::Status;
use crate::store::Filter;

/// Items of a page, unless the caller says otherwise.
pub const PAGE: u32 = 50;
/// Most items of a page.
pub const PAGE_MAX: u32 = 200;
/// Longest text to search for.
const Q_BYTES: usize = 256;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageOf<T> {
    /// What is on it, newest first.
    pub items: Vec<T>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Which jobs. All conditions hold at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobFilter {
    /// Of this flow.
    pub flow: Option<String>,
    /// With one of these statuses.
    pub status: Vec<Status>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Of this conversation.
    pub session_id: Option<String>,
    /// Of this batch.
    pub batch_id: Option<String>,
    /// Submitted at or after this time (RFC 3339).
    pub created_after: Option<String>,
    /// Submitted before this time (RFC 3339).
    pub created_before: Option<String>,
    /// With this text in its id, flow, conversation or error.
    pub q: Option<String>,
}

/// What of which list.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(
    dead_code,
    reason = "says what the query can hold; labels have names of their own and are read by hand"
)]
pub struct ListQuery {
    /// Of this flow.
    flow: Option<String>,
    /// With this status; several are separated by commas.
    status: Option<String>,
    /// With this label: `label.NAME=VALUE`, as often as needed.
    #[param(rename = "label.NAME")]
    label: Option<String>,
    /// Submitted at or after this time (RFC 3339).
    created_after: Option<String>,
    /// Submitted before this time (RFC 3339).
    created_before: Option<String>,
    /// Of this conversation.
    session_id: Option<String>,
    /// Of this batch.
    batch_id: Option<String>,
    /// With this text in its id, flow, conversation or error. A page looks through 25,000 jobs: it can be short, and
    /// there are more as long as there is a `next_cursor`.
    q: Option<String>,
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<String>,
    /// Jobs on a page: 50 if unset, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List jobs
///
/// Newest first, without what can be large: inputs and outputs stand in each job.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", security(("key" = ["read"])), params(ListQuery),
    responses((status = 200, description = "a page of jobs", body = PageOf<JobView>)))]
pub async fn list(
    State(app): State<App>,
    can: Can<Read>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageOf<JobView>>, Problem> {
    let asked = Asked::read(query.as_deref().unwrap_or_default())?;
    let filter = asked.filter.read().map_err(|mistake| Problem::new(Code::BadParameter, mistake.message))?;
    let page = app.store.jobs(&can.tenant, &filter, asked.cursor.as_deref(), asked.limit).await?;
    let items = page.items.into_iter().map(|job| JobView::short(&app, job)).collect();
    Ok(Json(PageOf { items, next_cursor: page.next }))
}

#[derive(Debug)]
struct Asked {
    filter: JobFilter,
    cursor: Option<String>,
    limit: u32,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(Code::BadParameter, message);
        let uri: axum::http::Uri =
            format!("/?{query}").parse().map_err(|_| bad("the query cannot be read".to_owned()))?;
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(|rejection| bad(rejection.body_text()))?;
        let mut asked = Self { filter: JobFilter::default(), cursor: None, limit: PAGE };
        let filter = &mut asked.filter;
        for (name, value) in pairs.0 {
            match name.as_str() {
                "flow" => filter.flow = Some(value),
                "status" => {
                    for word in value.split(',').filter(|word| !word.is_empty()) {
                        filter.status.push(status(word).map_err(bad)?);
                    }
                }
                "session_id" => filter.session_id = Some(value),
                "batch_id" => filter.batch_id = Some(value),
                "created_after" => filter.created_after = Some(value),
                "created_before" => filter.created_before = Some(value),
                "q" => filter.q = Some(value),
                "cursor" => asked.cursor = Some(value).filter(|cursor| !cursor.is_empty()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    asked.limit =
                        limit.ok_or_else(|| bad(format!("`limit` is a number from 1 to {PAGE_MAX}")))?;
                }
                _ => match name.strip_prefix("label.") {
                    Some(label) if !label.is_empty() => {
                        filter.labels.insert(label.to_owned(), value);
                    }
                    _ => {
                        return Err(bad(format!("there is no parameter `{name}`")).hint(
                            "there are `flow`, `status`, `label.NAME`, `created_after`, `created_before`, `session_id`, \
                             `batch_id`, `q`, `cursor` and `limit`",
                        ));
                    }
                },
            }
        }
        Ok(asked)
    }
}

fn status(word: &str) -> Result<Status, String> {
    Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
        let known: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("there is no status `{word}`; there are `{}`", known.join("`, `"))
    })
}

impl JobFilter {
    /// Whether it names every job.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The filter as the store takes it.
    #[expect(clippy::result_large_err, reason = "made once a request")]
    pub fn read(self) -> Result<Filter, Mistake> {
        let at = |pointer: &str, text: Option<String>| {
            text.map(|text| {
                let time = text.parse::<jiff::Timestamp>();
                time.map(jiff::Timestamp::as_millisecond).map_err(|_| {
                    Mistake::at(pointer, format!("`{text}` is no time; write `2027-03-01T09:00:00Z`"))
                })
            })
            .transpose()
        };
        if self.q.as_ref().is_some_and(|q| q.len() > Q_BYTES) {
            return Err(Mistake::at("/q", format!("`q` has at most {Q_BYTES} bytes")));
        }
        Ok(Filter {
            created_after: at("/created_after", self.created_after)?,
            created_before: at("/created_before", self.created_before)?,
            flow: self.flow,
            statuses: self.status,
            labels: self.labels,
            session_id: self.session_id,
            batch_id: self.batch_id,
            q: self.q.filter(|q| !q.is_empty()),
            depth: None,
        })
    }
}
