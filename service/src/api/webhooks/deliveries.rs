//! Deliveries of a webhook: what was sent, what came of it, and sending it again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::api::App;
use crate::api::body::Query;
use crate::api::caller::{Can, Edit, Read};
use crate::api::problem::{Code, Problem};
use crate::api::usage::time;
use crate::job::new_id;
use crate::outgoing::{TEST_EVENT, test as test_message};
use crate::store::{Delivery, DeliveryState};

/// Deliveries of a page, unless the caller says otherwise.
const PAGE: u32 = 50;
/// Most deliveries of a page.
const PAGE_MAX: u32 = 200;

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<String>,
    /// Deliveries on a page: 50 if unset, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// An event on its way to a webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    /// `dlv_…`: sent as `webhook-id`, the same at every attempt.
    pub id: String,
    /// The webhook.
    pub webhook_id: String,
    /// The job that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// What happened.
    pub event: String,
    /// Where it goes.
    pub url: String,
    /// `pending`, `delivered` or `given_up`.
    pub status: &'static str,
    /// Attempts made.
    pub attempts: i32,
    /// When it is attempted next; while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// Status of the receiver's last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<i32>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it happened.
    pub created_at: String,
    /// When it was taken or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<String>,
    /// What is sent. Left out of lists, and before the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<Value>,
}

/// A page of deliveries.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct DeliveryPage {
    /// Newest first.
    pub items: Vec<DeliveryView>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl DeliveryView {
    fn short(delivery: Delivery) -> Self {
        Self {
            status: delivery.state.as_str(),
            next_at: (delivery.state == DeliveryState::Pending).then(|| time(delivery.next_ms)),
            id: delivery.id,
            webhook_id: delivery.webhook_id,
            job_id: delivery.job_id,
            event: delivery.event,
            url: delivery.url,
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            created_at: time(delivery.created_ms),
            done_at: delivery.done_ms.map(time),
            body: None,
        }
    }

    fn whole(delivery: Delivery) -> Self {
        let body = serde_json::from_str(&delivery.body).ok();
        Self { body, ..Self::short(delivery) }
    }
}

/// Try a webhook out
///
/// Sends it the event `webhook.test`; the delivery says what comes of it.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", operation_id = "test_webhook", tag = "webhooks", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the webhook")),
    responses((status = 202, description = "the delivery", body = DeliveryView)))]
pub(super) async fn test(
    State(app): State<App>,
    can: Can<Edit>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let hook = find(&app, &can, &id).await?;
    let now = app.now_ms();
    let delivery = Delivery {
        id: new_id("dlv"),
        tenant: hook.tenant,
        webhook_id: hook.id,
        job_id: None,
        url: hook.url,
        event: TEST_EVENT.to_owned(),
        body: test_message(now),
        waits: None,
        state: DeliveryState::Pending,
        attempts: 0,
        next_ms: now,
        last_status: None,
        last_error: None,
        created_ms: now,
        done_ms: None,
    };
    app.store.put_delivery(&delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::whole(delivery))))
}

/// List deliveries of a webhook
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", operation_id = "list_deliveries", tag = "webhooks", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the webhook"), DeliveryQuery),
    responses((status = 200, description = "a page of deliveries", body = DeliveryPage)))]
pub(super) async fn list(
    State(app): State<App>,
    can: Can<Read>,
    Path(id): Path<String>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<DeliveryPage>, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::new(Code::BadParameter, format!("`limit` is a number from 1 to {PAGE_MAX}")));
    }
    find(&app, &can, &id).await?;
    let page = app.store.deliveries(&can.tenant, &id, query.cursor.as_deref(), limit).await?;
    let items = page.items.into_iter().map(DeliveryView::short).collect();
    Ok(Json(DeliveryPage { items, next_cursor: page.next }))
}

/// Show a delivery of a webhook
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries/{delivery}", operation_id = "show_delivery", tag = "webhooks", security(("key" = ["read"])),
    params(("id" = String, Path, description = "the webhook"), ("delivery" = String, Path, description = "the delivery")),
    responses((status = 200, description = "the delivery with what is sent", body = DeliveryView)))]
pub(super) async fn show(
    State(app): State<App>,
    can: Can<Read>,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<DeliveryView>, Problem> {
    let found = app.store.delivery(&can.tenant, &id, &delivery).await?;
    found
        .map(|found| Json(DeliveryView::whole(found)))
        .ok_or_else(|| Problem::not_found("delivery", &delivery))
}

/// Send a delivery again
///
/// With all its attempts, under the same `webhook-id`.
#[utoipa::path(post, path = "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", operation_id = "redeliver", tag = "webhooks", security(("key" = ["edit"])),
    params(("id" = String, Path, description = "the webhook"), ("delivery" = String, Path, description = "the delivery")),
    responses((status = 202, description = "the delivery", body = DeliveryView)))]
pub(super) async fn redeliver(
    State(app): State<App>,
    can: Can<Edit>,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let is_there = app.store.redeliver(&can.tenant, &id, &delivery, app.now_ms()).await?;
    let found = if is_there { app.store.delivery(&can.tenant, &id, &delivery).await? } else { None };
    let found = found.ok_or_else(|| Problem::not_found("delivery", &delivery))?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::whole(found))))
}
