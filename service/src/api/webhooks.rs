//! Webhooks: who is told of the ends of jobs, with signatures that receivers can check.

use anabranch_backends::egress::Guard;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{Body, json};
use super::caller::{Caller, Can, Edit, Read};
use super::problem::{Code, Mistake, Problem};
use super::usage::time;
use crate::job::new_id;
use crate::outgoing::{EVENTS, OLD_SECRET, OLD_SECRET_MAX, signature};
use crate::store::{Webhook, WebhookChange, WebhookPut};

mod deliveries;

/// The endpoints.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate))
        .routes(routes!(deliveries::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::redeliver))
}

/// Longest description of a webhook.
const ABOUT_BYTES: usize = 1_024;

/// A webhook to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where it goes: https, and a public address unless the configuration lists it.
    pub url: String,
    /// What it is told of; all ends of jobs if unset. With none, it is told of the jobs that name it alone.
    #[serde(default)]
    pub events: Option<Vec<String>>,
    /// What it is for.
    #[serde(default)]
    pub about: Option<String>,
}

/// What is to be different about a webhook; what is unset stays.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookPatch {
    /// Where it goes.
    pub url: Option<String>,
    /// What it is told of.
    pub events: Option<Vec<String>>,
    /// What it is for.
    pub about: Option<String>,
    /// Whether it is on. A receiver that answers 410 switches it off.
    pub enabled: Option<bool>,
}

/// A webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// `whk_…`.
    pub id: String,
    /// Where it goes.
    pub url: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What it is told of.
    pub events: Vec<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// Why it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_why: Option<String>,
    /// Since when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
    /// Until when the secret before the current one signs, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<String>,
    /// When it was made.
    pub created_at: String,
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What it signs with (Standard Webhooks): keep it at the receiver.
    pub secret: String,
}

/// The webhooks of a tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebhookList {
    /// Oldest first; at most 100.
    pub items: Vec<WebhookView>,
}

/// How a secret is replaced.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateRequest {
    /// How long the old secret signs, too: `24h` if unset, at most 7 days (`168h`), `0s` for not at all.
    pub keep_old: Option<String>,
}

impl From<Webhook> for WebhookView {
    fn from(hook: Webhook) -> Self {
        Self {
            id: hook.id,
            url: hook.url,
            about: hook.about,
            events: hook.events,
            enabled: hook.disabled_ms.is_none(),
            disabled_why: hook.disabled_why,
            disabled_at: hook.disabled_ms.map(time),
            old_secret_until: hook.old_until_ms.map(time),
            created_at: time(hook.created_ms),
        }
    }
}

/// Make a webhook
///
/// The answer holds the secret that it signs with; it is not shown again.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "webhooks", security(("key" = ["edit"])), request_body = WebhookRequest,
    responses((status = 201, description = "the webhook with its secret", body = WebhookWithSecret,
            headers(("Location" = String, description = "the webhook"))),
        (status = 409, description = "there are as many webhooks as there may be", body = super::problem::ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    can: Can<Edit>,
    body: Body<WebhookRequest>,
) -> Result<Response, Problem> {
    let WebhookRequest { url, events, about } = body.value;
    let events = events.unwrap_or_else(|| EVENTS.iter().take(4).map(|event| (*event).to_owned()).collect());
    check(&app, Some(&url), Some(&events), about.as_deref())?;
    let hook = Webhook {
        id: new_id("whk"),
        tenant: can.tenant.clone(),
        url,
        about,
        events: sorted(events),
        disabled_ms: None,
        disabled_why: None,
        old_until_ms: None,
        created_ms: app.now_ms(),
    };
    let secret = signature::new_secret().map_err(Problem::internal)?;
    if app.store.put_webhook(&hook, &secret).await? == WebhookPut::TooMany {
        return Err(Problem::new(Code::Conflict, "there are as many webhooks as a tenant may have")
            .hint("delete one that is not needed any more"));
    }
    let location = HeaderValue::from_str(&app.url(&format!("/v1/webhooks/{}", hook.id)));
    let mut response =
        (StatusCode::CREATED, Json(WebhookWithSecret { webhook: hook.into(), secret })).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// List webhooks
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks", security(("key" = ["read"])),
    responses((status = 200, description = "the webhooks", body = WebhookList)))]
async fn list(State(app): State<App>, can: Can<Read>) -> Result<Json<WebhookList>, Problem> {
    let hooks = app.store.webhooks(&can.tenant).await?;
    Ok(Json(WebhookList { items: hooks.into_iter().map(WebhookView::from).collect() }))
}

/// Show a webhook
#[utoipa::path(get, path = "/v1/webhooks/{id}", operation_id = "show_webhook", tag = "webhooks", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the webhook")),
    responses((status = 200, description = "the webhook", body = WebhookView)))]
async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
) -> Result<Json<WebhookView>, Problem> {
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Change a webhook
#[utoipa::path(patch, path = "/v1/webhooks/{id}", operation_id = "change_webhook", tag = "webhooks", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the webhook")), request_body = WebhookPatch,
    responses((status = 200, description = "the webhook as it is now", body = WebhookView)))]
async fn change(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
    body: Body<WebhookPatch>,
) -> Result<Json<WebhookView>, Problem> {
    let WebhookPatch { url, events, about, enabled } = body.value;
    find(&app, &can, &id).await?;
    check(&app, url.as_deref(), events.as_deref(), about.as_deref())?;
    let change = WebhookChange { url, about, events: events.map(sorted), is_enabled: enabled };
    app.store.change_webhook(&can.tenant, &id, &change).await?;
    Ok(Json(find(&app, &can, &id).await?.into()))
}

/// Delete a webhook
///
/// With its deliveries; what is on its way is not sent any more.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the webhook")),
    responses((status = 204, description = "it is gone")))]
async fn delete(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if app.store.delete_webhook(&can.tenant, &id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("webhook", &id))
    }
}

/// Replace the secret of a webhook
///
/// Both secrets sign for a while, so that receivers can change theirs without losing a message. The new one is shown
/// this once.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", operation_id = "rotate_webhook", tag = "webhooks", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the webhook")),
    request_body(content = Option<RotateRequest>, description = "how; the old one signs for a day without a body"),
    responses((status = 200, description = "the webhook with its new secret", body = WebhookWithSecret)))]
async fn rotate(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<WebhookWithSecret>, Problem> {
    let request: RotateRequest = if body.is_empty() { RotateRequest::default() } else { json(&body)? };
    let keep = match request.keep_old.as_deref().map(anabranch_engine::flow::parse::duration) {
        None => OLD_SECRET,
        Some(Ok(keep)) if keep <= OLD_SECRET_MAX => keep,
        Some(Ok(_)) => return Err(Problem::invalid("/keep_old", "an old secret signs for 7 days at most")),
        Some(Err(why)) => return Err(Problem::invalid("/keep_old", why)),
    };
    find(&app, &can, &id).await?;
    let secret = signature::new_secret().map_err(Problem::internal)?;
    let until = app.now_ms().saturating_add(i64::try_from(keep.as_millis()).unwrap_or_default());
    app.store.rotate_webhook(&can.tenant, &id, &secret, until).await?;
    Ok(Json(WebhookWithSecret { webhook: find(&app, &can, &id).await?.into(), secret }))
}

/// The webhook `id` of the caller's tenant.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Webhook, Problem> {
    let hook = app.store.webhook(&caller.tenant, id).await?;
    hook.ok_or_else(|| Problem::not_found("webhook", id))
}

/// All that is wrong with what was given.
fn check(
    app: &App,
    url: Option<&str>,
    events: Option<&[String]>,
    about: Option<&str>,
) -> Result<(), Problem> {
    let mut mistakes = Vec::new();
    let guard = Guard::new(app.config.server.webhook_allow.iter().cloned());
    if let Some(Err(refused)) = url.map(|url| guard.url(url)) {
        let hint = Some(refused.hint("server.webhook_allow"));
        mistakes.push(Mistake { hint, ..Mistake::at("/url", refused.to_string()) });
    }
    for (n, event) in events.unwrap_or_default().iter().enumerate() {
        if !EVENTS.contains(&event.as_str()) {
            let hint = anabranch_engine::diagnostic::suggest(event, EVENTS, "there are");
            let message = format!("there is no event `{event}`");
            mistakes.push(Mistake { hint, ..Mistake::at(format!("/events/{n}"), message) });
        }
    }
    if about.is_some_and(|about| about.len() > ABOUT_BYTES) {
        mistakes.push(Mistake::at("/about", format!("it has more than {ABOUT_BYTES} bytes")));
    }
    match mistakes.as_slice() {
        [] => Ok(()),
        [one] => Err(Problem::new(Code::Invalid, one.message.clone())
            .maybe_hint(one.hint.clone())
            .errors(mistakes)),
        many => {
            let detail = format!("{} things are wrong; `errors` lists them", many.len());
            Err(Problem::new(Code::Invalid, detail).errors(mistakes))
        }
    }
}

fn sorted(mut events: Vec<String>) -> Vec<String> {
    events.sort();
    events.dedup();
    events
}
