//! Where the events of runs are kept.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::event::{Record, RunId};

/// Why the journal did not take or give events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another owner has already written at this position: this one has lost the run.
    #[error("position {seq} of run `{}` is already written", run.0)]
    Fenced {
        /// The run.
        run: RunId,
        /// The position.
        seq: u64,
    },
    /// The store failed.
    #[error("the journal cannot be reached: {0}")]
    Unavailable(String),
}

/// What a journal gives for records that it has taken: resolves once they are as durable as the journal makes them.
///
/// Receipts of one run resolve in the order in which the records were given.
#[must_use = "records are only safe once their receipt has resolved"]
pub struct Receipt(State);

enum State {
    // Not boxed: a journal in memory answers at once, for every event of a run.
    Known(Option<Result<(), Error>>),
    Awaited(BoxFuture<'static, Result<(), Error>>),
}

impl Receipt {
    /// A receipt that is known already.
    pub fn of(result: Result<(), Error>) -> Self {
        Self(State::Known(Some(result)))
    }

    /// A receipt that `awaited` brings.
    pub fn awaiting(awaited: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self(State::Awaited(Box::pin(awaited)))
    }

    /// The result, if it is known without waiting; otherwise the receipt again.
    pub fn known(self) -> Result<Result<(), Error>, Self> {
        match self.0 {
            State::Known(Some(result)) => Ok(result),
            other => Err(Self(other)),
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self.0, State::Known(_)) { "Receipt(known)" } else { "Receipt(awaited)" })
    }
}

impl Future for Receipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            State::Awaited(awaited) => awaited.as_mut().poll(cx),
        }
    }
}

/// An append-only log a run.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Takes records, the first of them for the next free position; what is taken first is written first.
    ///
    /// Does not block: the receipt tells when the records are durable, or that they never will be.
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt;

    /// All records of a run, in order; empty for an unknown run.
    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error>;
}

/// Keeps events in memory: for tests, and for runs that need not survive the process.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<HashMap<RunId, Vec<Record>>>);

#[async_trait]
impl Journal for MemoryJournal {
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match runs.get_mut(run) {
            Some(log) => log,
            None => runs.entry(run.clone()).or_default(),
        };
        Receipt::of(match records.first() {
            Some(first) if first.seq != log.len() as u64 => {
                Err(Error::Fenced { run: run.clone(), seq: first.seq })
            }
            _ => {
                log.extend(records);
                Ok(())
            }
        })
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(runs.get(run).cloned().unwrap_or_default())
    }
}
