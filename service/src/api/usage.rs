//! Usage: what jobs used, by flow, key or day.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::Query;
use super::caller::{Can, Read};
use super::problem::{Code, Problem};
use crate::job::Usage;
use crate::store::{By, Used};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Days that are summed up unless the caller says otherwise.
const DAYS: i64 = 30;
/// Most days that are summed up at once.
const DAYS_MAX: i64 = 100;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(usage)).merge(super::feedback::routes())
}

/// What is summed up how.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Jobs submitted at or after this time (RFC 3339); 30 days before `to` if unset.
    from: Option<String>,
    /// Jobs submitted before this time (RFC 3339); now if unset. At most 100 days after `from`.
    to: Option<String>,
    /// `flow`, `key` or `day` (UTC); all together if unset.
    group_by: Option<String>,
}

/// What the jobs of a time used. Jobs that were deleted, or are older than the store keeps them, are not in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageReport {
    /// Jobs submitted at or after this time.
    pub from: String,
    /// Jobs submitted before this time.
    pub to: String,
    /// Largest first, days in order; at most 1,000.
    pub items: Vec<UsageItem>,
}

/// What a group of jobs used.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageItem {
    /// The flow, the key (null for jobs without one) or the day; null for all together.
    pub group: Option<String>,
    /// Jobs submitted.
    pub jobs: u64,
    /// Of these, ended well.
    pub succeeded: u64,
    /// Of these, failed or timed out.
    pub failed: u64,
    /// What they used so far.
    pub usage: Usage,
}

/// Sum up what jobs used
#[utoipa::path(get, path = "/v1/usage", operation_id = "show_usage", tag = "usage", security(("key" = ["read"])), params(UsageQuery),
    responses((status = 200, description = "the sums", body = UsageReport)))]
async fn usage(
    State(app): State<App>,
    can: Can<Read>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<UsageReport>, Problem> {
    let by = match query.group_by.as_deref() {
        None | Some("") => By::All,
        Some("flow") => By::Flow,
        Some("key") => By::Key,
        Some("day") => By::Day,
        Some(other) => {
            let problem = Problem::new(Code::BadParameter, format!("usage cannot be grouped by `{other}`"));
            return Err(problem.hint("there are `flow`, `key` and `day`"));
        }
    };
    let to = moment("to", query.to.as_deref())?.unwrap_or_else(|| app.now_ms());
    let from = moment("from", query.from.as_deref())?.unwrap_or(to.saturating_sub(DAYS * DAY_MS));
    if from >= to {
        return Err(Problem::new(Code::BadParameter, "`from` does not lie before `to`"));
    }
    if to.saturating_sub(from) > DAYS_MAX * DAY_MS {
        let detail = format!("`from` and `to` lie more than {DAYS_MAX} days apart");
        return Err(Problem::new(Code::BadParameter, detail).hint("ask for less at once"));
    }
    let used = app.store.usage(&can.tenant, from, to, by).await?;
    let items = used.into_iter().map(|used| item(used, by)).collect();
    Ok(Json(UsageReport { from: time(from), to: time(to), items }))
}

fn item(used: Used, by: By) -> UsageItem {
    let group = match by {
        By::Day => used.group.and_then(|ms| ms.parse().ok()).map(day),
        _ => used.group,
    };
    UsageItem { group, jobs: used.jobs, succeeded: used.succeeded, failed: used.failed, usage: used.usage }
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = |text: &str| {
        text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| {
            Problem::new(Code::BadParameter, format!("`{name}`: `{text}` is no time"))
                .hint("write `2027-03-01T09:00:00Z`")
        })
    };
    text.map(read).transpose()
}

fn day(ms: i64) -> String {
    time(ms).split('T').next().unwrap_or_default().to_owned()
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}
