//! Jobs that nobody works on when their deadline passes: they end then, whether or not there ever is a place for them.

use std::sync::Arc;

use tokio::time::sleep;

use super::{Inner, POLL, jittered};

/// Looks for such jobs, also in a process that runs none itself.
pub(super) async fn keep(inner: Arc<Inner>) {
    loop {
        match inner.store.expire().await {
            Ok(expired) if expired.is_empty() => sleep(jittered(POLL)).await,
            Ok(expired) => {
                for job in expired {
                    inner.options.metrics.expired(&job.tenant, &job.flow);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "jobs whose deadline has passed cannot be looked for");
                sleep(jittered(POLL)).await;
            }
        }
    }
}
