//! Keys: who may call, with which scopes, until when. A key is shown once, when it is made.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, Query};
use super::caller::{Admin, Caller, Can, DEFAULT_TENANT, Scope};
use super::problem::{Code, Problem};
use super::tenants::ceiling;
use super::{App, time};
use crate::access::{self, Key, ROOT};
use crate::job::new_id;
use crate::store::KeyRecord;

/// Keys on a page, if nothing is said.
const PAGE: u32 = 100;
/// Most keys on a page.
const PAGE_MAX: u32 = 1_000;
/// Longest name of a key, in bytes.
pub(crate) const NAME_BYTES: usize = 200;
/// Longest time that a rotated key stays good, in seconds: a week.
const GRACE_MAX_SECS: u32 = 7 * 24 * 3_600;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(show, revoke))
        .routes(routes!(rotate))
}

/// A key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyInfo {
    /// `key_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Until when it is good; for ever if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Since when it is not good any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub used_at: Option<String>,
    /// Tokens a day (UTC) of its jobs; what the configuration says if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Money a day (UTC) of its jobs; what the configuration says if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_day: Option<f64>,
}

/// A key that was just made, with the key itself: it cannot be shown again.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    /// What is kept of it.
    #[serde(flatten)]
    pub info: KeyInfo,
    /// The key: `anb_…`.
    pub key: String,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    /// Newest first.
    pub items: Vec<KeyInfo>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it is for: `ci`, `dashboard of the sales team`.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What it may do.
    #[schema(min_items = 1)]
    pub scopes: BTreeSet<Scope>,
    /// Until when it is good; for ever if it is left out.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Whose it is to be; the caller's if it is left out. Only admins of the tenant `default` name another.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,39}$")]
    pub tenant: Option<String>,
    /// Tokens that its jobs may read and write in a day (UTC); what the configuration says if it is left out.
    #[schema(minimum = 0)]
    pub tokens_per_day: Option<u64>,
    /// Money that its jobs may cost in a day (UTC); what the configuration says if it is left out.
    #[schema(minimum = 0)]
    pub cost_per_day: Option<f64>,
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How long the old key stays good beside the new one; not at all if it is left out.
    #[schema(minimum = 0, maximum = 604_800)]
    pub grace_secs: u32,
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Most items on it.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Of this tenant; the caller's if it is left out. Only admins of the tenant `default` name another.
    pub tenant: Option<String>,
}

impl From<KeyRecord> for KeyInfo {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id,
            tenant: key.tenant,
            name: key.name,
            scopes: key.scopes,
            created_at: time::rfc3339(key.created_ms),
            expires_at: key.expires_ms.map(time::rfc3339),
            revoked_at: key.revoked_ms.map(time::rfc3339),
            used_at: key.used_ms.map(time::rfc3339),
            tokens_per_day: key.ceiling.tokens,
            cost_per_day: key.ceiling.cost,
        }
    }
}

/// Whether the caller manages the installation.
pub(super) fn is_operator(caller: &Caller) -> bool {
    caller.tenant == DEFAULT_TENANT
}

/// Whose keys are meant: another tenant's only for those who manage the installation.
fn whose(caller: &Caller, asked: Option<String>) -> Result<String, Problem> {
    match asked {
        Some(tenant) if tenant != caller.tenant && !is_operator(caller) => {
            Err(Problem::not_found("tenant", &tenant))
        }
        Some(tenant) if !access::is_tenant_name(&tenant) => Err(no_tenant(&tenant)),
        Some(tenant) => Ok(tenant),
        None => Ok(caller.tenant.clone()),
    }
}

pub(super) fn no_tenant(name: &str) -> Problem {
    let message = format!("`{name}` is no name for a tenant");
    Problem::invalid("/tenant", message)
        .hint("a name has at most 40 small letters, digits, `_` and `-`, and begins with a letter or digit")
}

/// The tenant whose key can be seen by its id; all for those who manage the installation.
fn within(caller: &Caller) -> Option<&str> {
    (!is_operator(caller)).then_some(&*caller.tenant)
}

/// List keys
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys", params(KeyQuery), security(("key" = ["admin"])),
    responses((status = 200, description = "a page of keys", body = Keys),
        (status = 422, description = "there can be no such tenant", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    caller: Can<Admin>,
    Query(query): Query<KeyQuery>,
) -> Result<Json<Keys>, Problem> {
    let tenant = whose(&caller, query.tenant)?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut keys = app.store.keys(Some(&tenant), query.cursor.as_deref(), limit + 1).await?;
    let more = keys.len() > limit as usize;
    keys.truncate(limit as usize);
    let next_cursor = keys.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(Keys { items: keys.into_iter().map(KeyInfo::from).collect(), next_cursor }))
}

/// Make a key
///
/// The answer holds the key, this one time: only its hash is kept.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = KeyRequest, security(("key" = ["admin"])),
    responses((status = 201, description = "the key", body = NewKey)))]
async fn create(
    State(app): State<App>,
    caller: Can<Admin>,
    Body { value: wanted, .. }: Body<KeyRequest>,
) -> Result<Response, Problem> {
    let name = wanted.name.trim();
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(Problem::invalid("/name", format!("a name has 1 to {NAME_BYTES} bytes")));
    }
    if wanted.scopes.is_empty() {
        return Err(Problem::invalid("/scopes", "a key without scopes is good for nothing")
            .hint("there are `read`, `run`, `edit` and `admin`"));
    }
    let expires_ms = wanted.expires_at.as_deref().map(|text| time::parse("/expires_at", text)).transpose()?;
    let now = app.now_ms();
    if expires_ms.is_some_and(|expires| expires <= now) {
        return Err(Problem::invalid("/expires_at", "the key would have expired already"));
    }
    let key = Key::new().map_err(Problem::internal)?;
    let record = KeyRecord {
        id: new_id("key"),
        tenant: whose(&caller, wanted.tenant)?,
        name: name.to_owned(),
        hash: key.hash().as_str().to_owned(),
        scopes: wanted.scopes,
        created_ms: now,
        expires_ms,
        revoked_ms: None,
        used_ms: None,
        ceiling: ceiling(wanted.tokens_per_day, wanted.cost_per_day)?,
    };
    app.store.put_key(&record).await?;
    app.access.changed();
    Ok(made(record, &key))
}

/// Show a key
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys", operation_id = "show_key", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "`key_…`")),
    responses((status = 200, description = "what is kept of it", body = KeyInfo)))]
async fn show(
    State(app): State<App>,
    caller: Can<Admin>,
    Path(id): Path<String>,
) -> Result<Json<KeyInfo>, Problem> {
    let key = app.store.key(within(&caller), &id).await?;
    key.map(|key| Json(key.into())).ok_or_else(|| Problem::not_found("key", &id))
}

/// Revoke a key
///
/// It is good for nothing from now on; other processes notice within five seconds.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "`key_…`")),
    responses((status = 204, description = "it is revoked")))]
async fn revoke(
    State(app): State<App>,
    caller: Can<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if id == ROOT && is_operator(&caller) {
        return Err(Problem::new(Code::Conflict, "the root key stands in the configuration")
            .hint("take `server.root_key` out of it, and start the service again"));
    }
    if !app.store.revoke_key(within(&caller), &id).await? {
        return Err(Problem::not_found("key", &id));
    }
    app.access.changed();
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate a key
///
/// Makes a new key with the same name, scopes and end. The old one is good for as long as the grace lasts.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", tag = "keys", operation_id = "rotate_key", request_body = Rotation, security(("key" = ["admin"])),
    params(("id" = String, Path, description = "`key_…`")),
    responses((status = 201, description = "the new key", body = NewKey)))]
async fn rotate(
    State(app): State<App>,
    caller: Can<Admin>,
    Path(id): Path<String>,
    Body { value: rotation, .. }: Body<Rotation>,
) -> Result<Response, Problem> {
    if rotation.grace_secs > GRACE_MAX_SECS {
        return Err(Problem::invalid(
            "/grace_secs",
            format!("a grace lasts at most {GRACE_MAX_SECS} seconds"),
        ));
    }
    let old = app.store.key(within(&caller), &id).await?.filter(|key| key.revoked_ms.is_none());
    let old = old.ok_or_else(|| Problem::not_found("key", &id))?;
    let (key, now) = (Key::new().map_err(Problem::internal)?, app.now_ms());
    let record = KeyRecord {
        id: new_id("key"),
        hash: key.hash().as_str().to_owned(),
        created_ms: now,
        used_ms: None,
        ..old
    };
    let until_ms = now.saturating_add(i64::from(rotation.grace_secs) * 1_000);
    if !app.store.rotate_key(&id, until_ms, &record).await? {
        return Err(Problem::not_found("key", &id));
    }
    app.access.changed();
    Ok(made(record, &key))
}

/// The one answer that holds a key: nothing on the way may keep it.
fn made(record: KeyRecord, key: &Key) -> Response {
    let new = NewKey { info: record.into(), key: key.expose().to_owned() };
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, no_store, Json(new)).into_response()
}
