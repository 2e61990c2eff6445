//! Which key belongs to whom, and where none is needed.

use super::Caller;
use crate::access::Denied;
use crate::api::App;
use crate::api::problem::Problem;

/// Whoever shows this key; `None` if it is not known, has expired or was revoked.
pub async fn known(app: &App, key: &str) -> Result<Option<Caller>, Problem> {
    match app.access.by_key(key).await {
        Ok(identity) => Ok(Some(Caller::of(identity))),
        Err(Denied::Unknown | Denied::Expired) => Ok(None),
        Err(Denied::Store(error)) => Err(error.into()),
    }
}

/// Whether callers without a key are let in: only on this machine, while there is no key.
pub async fn is_open(app: &App) -> Result<bool, Problem> {
    Ok(!app.access.is_closed().await?)
}
