//! The journal of a job that this process works on: the store's, with those told who watch.

use std::sync::Arc;

use anabranch_engine::event::{Record, RunId};
use anabranch_engine::journal::{Error, Journal, Receipt};
use async_trait::async_trait;

use super::Live;
use super::held::Held;

/// Passes everything on to the store's journal.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) held: Arc<Held>,
}

#[async_trait]
impl Journal for Watched {
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt {
        let seq = records.last().map(|record| record.seq);
        let receipt = self.inner.append(run, records);
        if !self.held.is_watched() {
            return receipt;
        }
        let held = self.held.clone();
        Receipt::awaiting(async move {
            receipt.await?;
            if let Some(seq) = seq {
                held.tell(|| Some(Live::Journaled(seq)));
            }
            Ok(())
        })
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error> {
        self.inner.read(run).await
    }
}
