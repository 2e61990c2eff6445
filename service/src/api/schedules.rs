//! Schedules: jobs that are submitted by the clock.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{Body, Query};
use super::caller::{Caller, Can, Edit, Read, Run};
use super::headers::idempotency_key;
use super::jobs::{JobRequest, JobView, prepare, submit::take_in};
use super::problem::{Code, Mistake, Problem};
use super::usage::time;
use crate::job::{Idempotency, new_id};
use crate::schedules::{Rule, RuleError};
use crate::store::{Schedule, ScheduleChange, SchedulePut};

mod fire;

pub use fire::Submitter;

/// Schedules of a page, unless the caller says otherwise.
const PAGE: u32 = 100;
/// Most schedules of a page.
const PAGE_MAX: u32 = 1_000;
/// Longest name.
const NAME_BYTES: usize = 200;
/// Firings that are shown ahead.
const UPCOMING: usize = 5;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(run))
}

/// A schedule to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// What people call it; no two of a tenant are called the same.
    pub name: String,
    /// When: minute, hour, day of month, month, day of week (`30 6 * * MON-FRI`), or `@hourly`, `@daily`, ….
    pub cron: String,
    /// The clock that counts: an IANA name (`Europe/Berlin`); `UTC` if unset.
    #[serde(default)]
    pub zone: Option<String>,
    /// What is submitted.
    pub job: JobRequest,
    /// Whether one firing is made up for when no process was there to see it; true if unset. Of many, one.
    #[serde(default)]
    pub catch_up: Option<bool>,
    /// Whether it begins paused.
    #[serde(default)]
    pub paused: bool,
}

/// What is to be different about a schedule; what is unset stays.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulePatch {
    /// What people call it.
    pub name: Option<String>,
    /// When.
    pub cron: Option<String>,
    /// The clock that counts.
    pub zone: Option<String>,
    /// What is submitted.
    pub job: Option<JobRequest>,
    /// Whether one firing that was missed is made up for.
    pub catch_up: Option<bool>,
}

/// A schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    /// `sch_…`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When.
    pub cron: String,
    /// The clock that counts.
    pub zone: String,
    /// What is submitted.
    #[schema(value_type = JobRequest)]
    pub job: serde_json::Value,
    /// Whether one firing that was missed is made up for.
    pub catch_up: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// When it fires next.
    pub next_at: Option<String>,
    /// When it fires from then on, a few times ahead.
    pub upcoming: Vec<String>,
    /// When it last fired.
    pub last_at: Option<String>,
    /// The last job that came of it.
    pub last_job: Option<String>,
    /// Why no job came of the last firing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// The key that it submits with: that of whoever made, changed or resumed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// A page of schedules.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SchedulePage {
    /// By name.
    pub items: Vec<ScheduleView>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ScheduleQuery {
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<String>,
    /// Schedules on a page: 100 if unset, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl From<Schedule> for ScheduleView {
    fn from(schedule: Schedule) -> Self {
        let upcoming = schedule.next_ms.and_then(|next| {
            let rule = Rule::parse(&schedule.cron, &schedule.zone).ok()?;
            Some(rule.upcoming(next, UPCOMING - 1).into_iter().map(time).collect())
        });
        Self {
            upcoming: upcoming.unwrap_or_default(),
            paused: schedule.next_ms.is_none(),
            next_at: schedule.next_ms.map(time),
            last_at: schedule.last_ms.map(time),
            id: schedule.id,
            name: schedule.name,
            cron: schedule.cron,
            zone: schedule.zone,
            job: schedule.request,
            catch_up: schedule.catch_up,
            last_job: schedule.last_job,
            last_error: schedule.last_error,
            created_at: time(schedule.created_ms),
            created_by: schedule.created_by,
        }
    }
}

/// Make a schedule
///
/// The job is checked now as it is at every firing, and submitted with the key that made the schedule: when that is
/// revoked or expires, no firing submits anything any more. A firing is submitted once, however many processes there
/// are; of firings that nobody was there to see, one is made up for unless `catch_up` is false.
#[utoipa::path(post, path = "/v1/schedules", operation_id = "create_schedule", tag = "schedules", security(("key" = ["edit", "run"])), request_body = ScheduleRequest,
    responses((status = 201, description = "the schedule", body = ScheduleView,
            headers(("Location" = String, description = "the schedule"))),
        (status = 409, description = "there is one of this name, or as many as there may be", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    can: Can<Edit>,
    _: Can<Run>,
    body: Body<ScheduleRequest>,
) -> Result<Response, Problem> {
    let ScheduleRequest { name, cron, zone, job, catch_up, paused } = body.value;
    let zone = zone.unwrap_or_else(|| "UTC".to_owned());
    must_be_name(&name)?;
    let rule = Rule::parse(&cron, &zone).map_err(|error| refused(&error))?;
    must_be_job(&app, &can, &job).await?;
    let now = app.now_ms();
    let schedule = Schedule {
        id: new_id("sch"),
        tenant: can.tenant.clone(),
        name,
        cron,
        zone,
        request: json!(job),
        catch_up: catch_up.unwrap_or(true),
        next_ms: if paused { None } else { rule.next_after(now) },
        last_ms: None,
        last_job: None,
        last_error: None,
        created_ms: now,
        created_by: can.key_id.clone(),
    };
    put(app.store.put_schedule(&schedule).await?, &schedule.id)?;
    let location = HeaderValue::from_str(&app.url(&format!("/v1/schedules/{}", schedule.id)));
    let mut response = (StatusCode::CREATED, Json(ScheduleView::from(schedule))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// List schedules
#[utoipa::path(get, path = "/v1/schedules", operation_id = "list_schedules", tag = "schedules", security(("key" = ["read"])), params(ScheduleQuery),
    responses((status = 200, description = "a page of schedules", body = SchedulePage)))]
async fn list(
    State(app): State<App>,
    can: Can<Read>,
    Query(query): Query<ScheduleQuery>,
) -> Result<Json<SchedulePage>, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::new(Code::BadParameter, format!("`limit` is a number from 1 to {PAGE_MAX}")));
    }
    let after = query.cursor.unwrap_or_default();
    let mut found = app.store.schedules(&can.tenant, &after, limit.saturating_add(1)).await?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(Json(SchedulePage { items: found.into_iter().map(ScheduleView::from).collect(), next_cursor }))
}

/// Show a schedule
#[utoipa::path(get, path = "/v1/schedules/{id}", operation_id = "show_schedule", tag = "schedules", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the schedule")),
    responses((status = 200, description = "the schedule", body = ScheduleView)))]
async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Change a schedule
///
/// From now on it submits with the key that changed it.
#[utoipa::path(patch, path = "/v1/schedules/{id}", operation_id = "change_schedule", tag = "schedules", security(("key" = ["edit", "run"])),
    params(("id" = String, Path, description = "the schedule")), request_body = SchedulePatch,
    responses((status = 200, description = "the schedule as it is now", body = ScheduleView),
        (status = 409, description = "there is another one of this name", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn change(
    State(app): State<App>,
    can: Can<Edit>,
    _: Can<Run>,
    Path(id): Path<String>,
    body: Body<SchedulePatch>,
) -> Result<Json<ScheduleView>, Problem> {
    let SchedulePatch { name, cron, zone, job, catch_up } = body.value;
    let known = find(&app, &can, &id).await?;
    if let Some(name) = &name {
        must_be_name(name)?;
    }
    let rule = Rule::parse(cron.as_deref().unwrap_or(&known.cron), zone.as_deref().unwrap_or(&known.zone))
        .map_err(|error| refused(&error))?;
    if let Some(job) = &job {
        must_be_job(&app, &can, job).await?;
    }
    let is_moved = (cron.is_some() || zone.is_some()) && known.next_ms.is_some();
    let change = ScheduleChange {
        name,
        cron,
        zone,
        request: job.map(|job| json!(job)),
        catch_up,
        next_ms: is_moved.then(|| rule.next_after(app.now_ms())),
        key: can.key_id.clone(),
    };
    put(app.store.change_schedule(&can.tenant, &id, &change).await?, &id)?;
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Delete a schedule
///
/// The jobs that came of it stay.
#[utoipa::path(delete, path = "/v1/schedules/{id}", operation_id = "delete_schedule", tag = "schedules", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the schedule")),
    responses((status = 204, description = "it is gone")))]
async fn delete(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if app.store.delete_schedule(&can.tenant, &id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("schedule", &id))
    }
}

/// Pause a schedule
#[utoipa::path(post, path = "/v1/schedules/{id}/pause", operation_id = "pause_schedule", tag = "schedules", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the schedule")),
    responses((status = 200, description = "it does not fire any more", body = ScheduleView)))]
async fn pause(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    let pause = ScheduleChange { next_ms: Some(None), ..ScheduleChange::default() };
    put(app.store.change_schedule(&can.tenant, &id, &pause).await?, &id)?;
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Let a schedule go on
///
/// From its next time on, and with the key that resumes it; what lies before is not made up for.
#[utoipa::path(post, path = "/v1/schedules/{id}/resume", operation_id = "resume_schedule", tag = "schedules", security(("key" = ["edit", "run"])),
    params(("id" = String, Path, description = "the schedule")),
    responses((status = 200, description = "it fires again", body = ScheduleView)))]
async fn resume(
    State(app): State<App>,
    can: Can<Edit>,
    _: Can<Run>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    let known = find(&app, &can, &id).await?;
    let next_ms = if known.next_ms.is_some() {
        None
    } else {
        let rule = Rule::parse(&known.cron, &known.zone).map_err(|error| refused(&error))?;
        Some(rule.next_after(app.now_ms()))
    };
    let go_on = ScheduleChange { next_ms, key: can.key_id.clone(), ..ScheduleChange::default() };
    put(app.store.change_schedule(&can.tenant, &id, &go_on).await?, &id)?;
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Submit the job of a schedule now
///
/// Besides its times, which stay as they are.
#[utoipa::path(post, path = "/v1/schedules/{id}/run", operation_id = "run_schedule", tag = "schedules", security(("key" = ["edit", "run"])),
    params(("id" = String, Path, description = "the schedule"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the request repeatable for 24 hours")),
    responses((status = 202, description = "the job", body = JobView)))]
async fn run(
    State(app): State<App>,
    can: Can<Edit>,
    _: Can<Run>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let key = idempotency_key(&headers)?;
    let schedule = find(&app, &can, &id).await?;
    let mut prepared = prepare(&app, &can, fire::request(&schedule)?).await?;
    prepared.job.idempotency = key.map(|key| Idempotency {
        endpoint: format!("POST /v1/schedules/{id}/run"),
        key,
        body_hash: id.clone(),
    });
    app.admission.enter(&app, (&can.tenant, can.key_id.as_deref()), 1).await?;
    let taken = take_in(&app, prepared, None).await?;
    let job = super::jobs::find(&app, &can, &taken.id).await?;
    Ok((StatusCode::ACCEPTED, Json(JobView::whole(&app, job))))
}

/// The schedule `id` of the caller's tenant.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Schedule, Problem> {
    let schedule = app.store.schedule(&caller.tenant, id).await?;
    schedule.ok_or_else(|| Problem::not_found("schedule", id))
}

/// Refuses a job that could not be submitted; its mistakes have their places in the schedule.
async fn must_be_job(app: &App, caller: &Caller, job: &JobRequest) -> Result<(), Problem> {
    prepare(app, caller, job.clone()).await.map(drop).map_err(|mut problem| {
        for error in &mut problem.errors {
            error.pointer = error.pointer.take().map(|pointer| format!("/job{pointer}"));
        }
        problem
    })
}

fn must_be_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.len() > NAME_BYTES {
        return Err(Problem::invalid("/name", format!("`name` has 1 to {NAME_BYTES} bytes")));
    }
    Ok(())
}

fn refused(error: &RuleError) -> Problem {
    let (pointer, hint) = (format!("/{}", error.field()), error.hint());
    let mistake = Mistake { hint: Some(hint.to_owned()), ..Mistake::at(pointer, error.to_string()) };
    Problem::new(Code::Invalid, mistake.message.clone()).hint(hint).errors(vec![mistake])
}

fn put(done: SchedulePut, id: &str) -> Result<(), Problem> {
    match done {
        SchedulePut::Done => Ok(()),
        SchedulePut::Nothing => Err(Problem::not_found("schedule", id)),
        SchedulePut::NameTaken => {
            Err(Problem::new(Code::Conflict, "there is another schedule of this name")
                .hint("take another name"))
        }
        SchedulePut::TooMany => {
            Err(Problem::new(Code::Conflict, "there are as many schedules as a tenant may have")
                .hint("delete one that is not needed any more"))
        }
    }
}
