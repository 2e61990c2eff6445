//! The journal of a job that this process works on: the store's, with those told who watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch_engine::event::{Event, Record, RunId};
use anabranch_engine::journal::{Error, Journal, Receipt};
use async_trait::async_trait;

use super::Live;
use super::held::Held;
use crate::store::Store;

/// Passes everything on to the store's journal.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) held: Arc<Held>,
    pub(super) store: Store,
    /// Whether earlier claims of the job came to nothing, until this one has come to something.
    pub(super) is_suspect: AtomicBool,
}

#[async_trait]
impl Journal for Watched {
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt {
        // The first thing that is written after a replay ends it.
        self.held.is_replaying.store(false, Ordering::Relaxed);
        let seq = records.last().map(|record| record.seq);
        let is_progress = records.iter().any(|record| !matches!(record.event, Event::TakenUp { .. }));
        let clears = is_progress && self.is_suspect.swap(false, Ordering::Relaxed);
        let receipt = self.inner.append(run, records);
        if !clears && !self.held.is_watched() {
            return receipt;
        }
        let (held, store) = (self.held.clone(), self.store.clone());
        Receipt::awaiting(async move {
            receipt.await?;
            if clears && let Err(error) = store.progressed(&held.id, held.epoch).await {
                // The claims stay counted: the job is only set aside sooner.
                tracing::debug!(job = %held.id, %error, "progress was not noted");
            }
            if let Some(seq) = seq {
                held.tell(|| Live::Journaled(seq));
            }
            Ok(())
        })
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error> {
        self.inner.read(run).await
    }
}
