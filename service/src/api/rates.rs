//! How many requests a caller may make, told with every answer.

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::{Code, Problem};
use super::{App, Caller};
use crate::access::Counted;

/// What a minute allows, in the form of the IETF's draft: `"key";q=600;w=60`.
pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it: `"key";r=599;t=1`.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

tokio::task_local! {
    /// What came of counting the request that is being answered.
    static COUNTED: Arc<OnceLock<Counted>>;
}

/// Counts a request of a caller, or refuses it.
pub(super) async fn count(app: &App, caller: &Caller) -> Result<(), Problem> {
    let Some(key) = &caller.key_id else { return Ok(()) };
    let counted = app.access.count(&caller.tenant, key).await?;
    let refused = counted.refused;
    let of = counted.left.last().map_or("key", |left| left.of);
    // Outside a request nobody wants to be told.
    COUNTED.try_with(|slot| slot.set(counted)).ok();
    match refused {
        None => Ok(()),
        Some(wait) => {
            let detail = format!("the {of} has made as many requests as it may in a minute");
            Err(Problem::new(Code::TooMany, detail).retry_after(wait))
        }
    }
}

/// Tells with every answer how many requests are left.
pub(super) async fn tell(request: Request, next: Next) -> Response {
    let slot = Arc::new(OnceLock::new());
    let mut response = COUNTED.scope(slot.clone(), next.run(request)).await;
    if let Some(counted) = slot.get() {
        for (name, text) in [(POLICY, counted.policy()), (LIMIT, counted.limit())] {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}
