//! Tenants: what each of them may have. Admins of the tenant `default` manage all; other admins see their own.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{Body, Query};
use super::caller::{Admin, Can};
use super::keys::{is_operator, no_tenant};
use super::problem::{Code, Problem};
use crate::access;
use crate::store::{Ceiling, Tenant};

/// Tenants on a page, if nothing is said.
const PAGE: u32 = 100;
/// Most tenants on a page.
const PAGE_MAX: u32 = 1_000;
/// Largest weight of a tenant.
const WEIGHT_MAX: u32 = 1_000;
/// Most jobs, or requests, that a limit may allow.
const COUNT_MAX: u32 = 1_000_000_000;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(show, put))
}

/// What a tenant may have.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
    /// Its share of the workers beside the others.
    pub weight: u32,
    /// Jobs that run at once, over all processes; as many as there are places if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Jobs that wait in the queue, also for their time; what the configuration says if nothing else was set.
    pub max_queued: u32,
    /// Requests a minute, of all keys together; what the configuration says if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens a day (UTC), of all keys together; what the configuration says if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Money a day (UTC), of all keys together; what the configuration says if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_day: Option<f64>,
}

/// The limits of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Its share of the workers beside the others: with 2 it gets twice as much as with 1, while both have work.
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: u32,
    /// Jobs that run at once, over all processes; as many as there are places if it is left out.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub max_running: Option<u32>,
    /// Jobs that wait in the queue, also for their time; more are refused. What the configuration says if it is left out.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub max_queued: Option<u32>,
    /// Requests a minute, of all keys together; what the configuration says if it is left out.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub requests_per_minute: Option<u32>,
    /// Tokens that its jobs may read and write in a day (UTC); what the configuration says if it is left out.
    #[schema(minimum = 0)]
    pub tokens_per_day: Option<u64>,
    /// Money that its jobs may cost in a day (UTC); what the configuration says if it is left out.
    #[schema(minimum = 0)]
    pub cost_per_day: Option<f64>,
}

/// A page of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenants {
    /// By name.
    pub items: Vec<TenantInfo>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Most items on it.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

impl TenantInfo {
    fn of(app: &App, tenant: &Tenant) -> Self {
        Self {
            name: tenant.name.clone(),
            weight: tenant.weight,
            max_running: tenant.max_running,
            max_queued: app.access.max_queued(tenant),
            requests_per_minute: tenant.requests_per_minute.map(NonZeroU32::get),
            tokens_per_day: tenant.ceiling.tokens,
            cost_per_day: tenant.ceiling.cost,
        }
    }
}

/// List tenants
///
/// Those that limits were set for and those that have a key. Only for admins of the tenant `default`; others see their own.
#[utoipa::path(get, path = "/v1/tenants", tag = "keys", operation_id = "list_tenants", params(TenantQuery), security(("key" = ["admin"])),
    responses((status = 200, description = "a page of tenants", body = Tenants)))]
async fn list(
    State(app): State<App>,
    caller: Can<Admin>,
    Query(query): Query<TenantQuery>,
) -> Result<Json<Tenants>, Problem> {
    if !is_operator(&caller) {
        let own = app.access.tenant(&caller.tenant).await?;
        return Ok(Json(Tenants { items: vec![TenantInfo::of(&app, &own)], next_cursor: None }));
    }
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut names = app.store.tenants(query.cursor.as_deref().unwrap_or_default(), limit + 1).await?;
    let more = names.len() > limit as usize;
    names.truncate(limit as usize);
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        items.push(TenantInfo::of(&app, &*app.access.tenant(name).await?));
    }
    Ok(Json(Tenants { items, next_cursor: names.pop().filter(|_| more) }))
}

/// Show a tenant
#[utoipa::path(get, path = "/v1/tenants/{name}", tag = "keys", operation_id = "show_tenant", security(("key" = ["admin"])),
    params(("name" = String, Path, description = "Name of the tenant")),
    responses((status = 200, description = "what it may have", body = TenantInfo)))]
async fn show(
    State(app): State<App>,
    caller: Can<Admin>,
    Path(name): Path<String>,
) -> Result<Json<TenantInfo>, Problem> {
    if !access::is_tenant_name(&name) || (name != caller.tenant && !is_operator(&caller)) {
        return Err(Problem::not_found("tenant", &name));
    }
    Ok(Json(TenantInfo::of(&app, &*app.access.tenant(&name).await?)))
}

/// Say what a tenant may have
///
/// A tenant begins to be with its first key or with this. Only for admins of the tenant `default`. Other processes notice
/// within five seconds.
#[utoipa::path(put, path = "/v1/tenants/{name}", tag = "keys", operation_id = "put_tenant", request_body = TenantLimits, security(("key" = ["admin"])),
    params(("name" = String, Path, description = "Name of the tenant")),
    responses((status = 200, description = "what it may have", body = TenantInfo)))]
async fn put(
    State(app): State<App>,
    caller: Can<Admin>,
    Path(name): Path<String>,
    Body { value: limits, .. }: Body<TenantLimits>,
) -> Result<Json<TenantInfo>, Problem> {
    if !is_operator(&caller) {
        // Its own it may see; of another it does not even learn whether it is there.
        return Err(if name == caller.tenant {
            Problem::new(Code::NoScope, "the limits of a tenant are set by an admin of the tenant `default`")
        } else {
            Problem::not_found("tenant", &name)
        });
    }
    if !access::is_tenant_name(&name) {
        return Err(no_tenant(&name));
    }
    let rate = limits.requests_per_minute;
    let bounds = [
        ("/weight", limits.weight, 1, WEIGHT_MAX),
        ("/max_running", limits.max_running.unwrap_or(0), 0, COUNT_MAX),
        ("/max_queued", limits.max_queued.unwrap_or(0), 0, COUNT_MAX),
        ("/requests_per_minute", rate.unwrap_or(1), 1, COUNT_MAX),
    ];
    if let Some((at, _, least, most)) = bounds.iter().find(|(_, n, least, most)| n < least || n > most) {
        return Err(Problem::invalid(*at, format!("expected a whole number from {least} to {most}")));
    }
    let ceiling = ceiling(limits.tokens_per_day, limits.cost_per_day)?;
    let tenant = Tenant {
        name,
        weight: limits.weight,
        max_running: limits.max_running,
        max_queued: limits.max_queued,
        requests_per_minute: rate.and_then(NonZeroU32::new),
        ceiling,
    };
    app.store.put_tenant(&tenant).await?;
    app.access.changed();
    Ok(Json(TenantInfo::of(&app, &tenant)))
}

/// What may be spent in a day, as a request says it.
pub(super) fn ceiling(tokens: Option<u64>, cost: Option<f64>) -> Result<Ceiling, Problem> {
    if cost.is_some_and(|cost| !cost.is_finite() || cost < 0.0) {
        return Err(Problem::invalid("/cost_per_day", "expected a number, at least 0"));
    }
    Ok(Ceiling { tokens, cost })
}
