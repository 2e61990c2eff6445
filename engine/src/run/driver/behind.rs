//! What the journal has taken and not yet made safe.

use std::collections::VecDeque;

use crate::journal::{Error, Receipt};
use crate::run::inbox::Reply;
use crate::scope::Scope;
use crate::state::Start;

/// What waits for records to be safe.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they come boxed and go on boxed")]
pub(super) struct Batch {
    /// Attempts that follow from them.
    pub(super) starts: Vec<Box<Start>>,
    /// Attempts with effects, of which they say that they begin.
    pub(super) effects: Vec<Box<Start>>,
    /// Who hears that an answer is safe.
    pub(super) replies: Vec<Reply>,
}

impl Batch {
    /// Forgets what would have run at `scope`.
    pub(super) fn drop_starts(&mut self, scope: &Scope) {
        self.starts.retain(|start| start.scope != *scope);
        self.effects.retain(|start| start.scope != *scope);
    }
}

/// Receipts that have not resolved, oldest first; they resolve in this order.
#[derive(Default)]
pub(super) struct Behind {
    queue: VecDeque<(Receipt, usize, Batch)>,
    n_records: usize,
}

impl Behind {
    pub(super) fn push(&mut self, receipt: Receipt, n_records: usize, batch: Batch) {
        self.queue.push_back((receipt, n_records, batch));
        self.n_records += n_records;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Records that are not safe.
    pub(super) fn n_records(&self) -> usize {
        self.n_records
    }

    /// Whether attempts wait for the journal.
    pub(super) fn holds_starts(&self) -> bool {
        self.queue.iter().any(|(_, _, batch)| !batch.starts.is_empty() || !batch.effects.is_empty())
    }

    /// Whether attempts with effects wait for the journal, which says that they begin.
    pub(super) fn holds_effects(&self) -> bool {
        self.queue.iter().any(|(_, _, batch)| !batch.effects.is_empty())
    }

    pub(super) fn drop_starts(&mut self, scope: &Scope) {
        for (_, _, batch) in &mut self.queue {
            batch.drop_starts(scope);
        }
    }

    /// Waits for the oldest receipt; gives what waited for it. Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Result<Batch, Error> {
        let Some((receipt, n_records, _)) = self.queue.front_mut() else { return Ok(Batch::default()) };
        receipt.await?;
        self.n_records -= *n_records;
        Ok(self.queue.pop_front().map(|(_, _, batch)| batch).unwrap_or_default())
    }

    /// Waits until everything is safe; who waits for an answer hears so.
    pub(super) async fn caught_up(&mut self) -> Result<(), Error> {
        while !self.is_empty() {
            for reply in self.next().await?.replies {
                // Whoever asked may have stopped to listen.
                let _unheard = reply.send(Ok(()));
            }
        }
        Ok(())
    }
}
