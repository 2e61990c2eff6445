//! Where the events of runs are kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::event::{Record, RunId};

/// Why the journal did not take or give events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another writer has already written at this position: this one has lost the run.
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

/// An append-only log a run. `append` returns when the records are as durable as the journal makes them.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Adds records; the first must be at the next free position.
    async fn append(&self, run: &RunId, records: Vec<Record>) -> Result<(), Error>;

    /// All records of a run, in order; empty for an unknown run.
    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error>;
}

/// Keeps events in memory: for tests, and for runs that need not survive the process.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<HashMap<RunId, Vec<Record>>>);

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, run: &RunId, records: Vec<Record>) -> Result<(), Error> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match runs.get_mut(run) {
            Some(log) => log,
            None => runs.entry(run.clone()).or_default(),
        };
        match records.first() {
            Some(first) if first.seq != log.len() as u64 => {
                Err(Error::Fenced { run: run.clone(), seq: first.seq })
            }
            _ => {
                log.extend(records);
                Ok(())
            }
        }
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, Error> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(runs.get(run).cloned().unwrap_or_default())
    }
}
