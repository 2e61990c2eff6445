//! Takes jobs from the queue while there are places for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use super::work::{self, Begun};
use super::{Inner, POLL, RETRY, jittered};
use crate::store::Wake;

/// Jobs taken at once: more would keep others from their share.
const AT_ONCE: usize = 32;

/// Claims jobs for as long as the process takes any.
pub(super) async fn claim(inner: Arc<Inner>) {
    let mut wakes = inner.store.wakes();
    let mut is_deaf = false;
    loop {
        let more = claim_some(&inner).await;
        if more {
            continue;
        }
        let woken = async {
            loop {
                match wakes.recv().await {
                    Ok(Wake::Work) | Err(RecvError::Lagged(_)) => return true,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        // A notification may be lost, so that nobody sleeps for long.
        let _elapsed = timeout(jittered(POLL), async {
            tokio::select! {
                () = inner.work.notified() => {}
                is_heard = woken, if !is_deaf => is_deaf = !is_heard,
            }
        })
        .await;
    }
}

/// Claims what there is room for; whether there may be more.
async fn claim_some(inner: &Arc<Inner>) -> bool {
    if inner.is_draining.load(Ordering::Relaxed) || !inner.lease.holds() {
        return false;
    }
    let mut permits = Vec::new();
    while permits.len() < AT_ONCE
        && let Ok(permit) = inner.slots.clone().try_acquire_owned()
    {
        permits.push(permit);
    }
    if permits.is_empty() {
        return false;
    }
    let worker = inner.lease.worker();
    let asked = permits.len();
    let claimed = match inner.store.claim(&worker, u32::try_from(asked).unwrap_or(u32::MAX)).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(%error, "jobs cannot be claimed");
            sleep(jittered(RETRY * 4)).await;
            return false;
        }
    };
    let is_full = claimed.len() == asked;
    // Until the queue was found empty, what is submitted here goes behind what waits there.
    inner.has_backlog.store(is_full, Ordering::Relaxed);
    for (claimed, permit) in claimed.into_iter().zip(permits) {
        // Nobody had it before, so nobody can have written meanwhile.
        let is_new = !claimed.is_begun && claimed.epoch == 1;
        let begun = Begun {
            claimed,
            worker: worker.clone(),
            plan: None,
            submission: None,
            is_new,
            told: None,
            live: None,
            permit,
        };
        tokio::spawn(work::work(inner.clone(), begun));
    }
    is_full
}
