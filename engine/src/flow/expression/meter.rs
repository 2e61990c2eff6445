//! Counts what an evaluation does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cel::ExecutionError;

use super::Stop;
use crate::limits;

/// Counts what an evaluation does, and stops it at its bounds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    steps: AtomicUsize,
    bytes: AtomicUsize,
    passed: AtomicUsize,
    over: Mutex<Option<String>>,
}

impl Meter {
    /// `bytes` are about to be looked through.
    pub(super) fn work(&self, bytes: usize) -> Result<(), ExecutionError> {
        let most = limits::EXPRESSION_WORK_BYTES;
        self.count(&self.bytes, bytes, most, || format!("goes through more than {most} bytes"))
    }

    /// `bytes` of a record go through the expression as they are.
    pub(super) fn pass(&self, bytes: usize) -> Result<(), ExecutionError> {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        self.work(bytes)
    }

    /// A comprehension is about to go over `items`.
    pub(super) fn steps(&self, items: usize) -> Result<(), ExecutionError> {
        let most = limits::EXPRESSION_STEPS;
        self.count(&self.steps, items, most, || format!("goes over more than {most} items"))
    }

    /// How many bytes of records went through as they are.
    pub(super) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    fn count(
        &self,
        counter: &AtomicUsize,
        more: usize,
        most: usize,
        message: impl FnOnce() -> String,
    ) -> Result<(), ExecutionError> {
        let before = counter.load(Ordering::Relaxed);
        counter.store(before.saturating_add(more), Ordering::Relaxed);
        if before.saturating_add(more) <= most {
            return Ok(());
        }
        let message = message();
        self.over.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| message.clone());
        Err(ExecutionError::function_error("", message))
    }

    /// The bound that was reached, if any was.
    pub(super) fn over(&self) -> Option<Stop> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).clone().map(Stop::Bound)
    }
}
