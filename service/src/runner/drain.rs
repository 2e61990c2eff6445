//! Leaves in good order: nothing new, what is in flight ends, the rest goes to others at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::Runner;
use crate::store::Gone;

/// How long the store has to take back what is handed over; after that the lease ends by itself.
const HAND_OVER: Duration = Duration::from_secs(5);

impl Runner {
    /// Takes no more work and lets running nodes end within `grace`; hands over what is not done by then.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.0;
        inner.is_draining.store(true, Ordering::Relaxed);
        for held in inner.desk.all() {
            held.pause.cancel();
        }
        if timeout(grace, inner.desk.emptied()).await.is_err() {
            for held in inner.desk.all() {
                held.is_handed_over.store(true, Ordering::Relaxed);
                held.left.cancel();
            }
            if timeout(HAND_OVER, inner.desk.emptied()).await.is_err() {
                tracing::warn!("jobs could not be handed over in time: others take them when the lease ends");
            }
        }
        // Whoever waits for what is executed here gets it back with the lease.
        inner.tasks.forget_all();
        inner.closed.cancel();
        if inner.options.slots > 0
            && let Err(error) = inner.store.deregister(&inner.lease.worker(), Gone::Left).await
        {
            tracing::warn!(%error, "this worker could not be taken off the list: its lease ends by itself");
        }
    }
}
