//! A flow in a request: YAML as it is, or JSON with its parts.

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;

use crate::api::App;
use crate::api::body;
use crate::api::problem::{Code, Problem};
use crate::api::texts;
use crate::flows::Given;

/// A flow in a request.
#[derive(Debug, Clone)]
pub struct GivenFlow(pub Given);

impl FromRequest<App> for GivenFlow {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?").to_owned());
        let kind =
            kind.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim().to_lowercase());
        let is_json = match kind.as_deref() {
            Some("application/json") => true,
            Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "text/plain") => {
                false
            }
            other => {
                let given = other.unwrap_or("of no kind");
                return Err(Problem::new(Code::MediaType, format!("the body is {given}"))
                    .hint("send the flow as `application/yaml`, or with its parts as `application/json`"));
            }
        };
        let bytes = body::read(request, app, app.config.limits.body_bytes).await?;
        if is_json {
            return body::json(&bytes).map(Self);
        }
        let flow = String::from_utf8(bytes.into()).map_err(|error| {
            Problem::new(Code::BadJson, format!("the body is no UTF-8: {}", error.utf8_error()))
        })?;
        texts::in_text(&flow)?;
        Ok(Self(Given { flow, ..Given::default() }))
    }
}
