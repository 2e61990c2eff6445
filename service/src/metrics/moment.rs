//! What is looked up when metrics are asked for: how full things are at the moment.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::backend::IndexStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{counter, family, gauge};
use super::names::{self, Metric};
use super::sizes::Size;

/// How full things are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    /// The queue; `None` if the store did not answer.
    pub queue: Option<QueueNow>,
    /// Jobs that run in this process.
    pub active: usize,
    /// Jobs that it may run at once.
    pub slots: usize,
    /// Items of large eaches that it has executed.
    pub tasks: u64,
    /// Entries that wait for a commit.
    pub journal_waiting: u64,
    /// Bytes that wait for a commit.
    pub journal_waiting_bytes: u64,
    /// Requests being answered.
    pub requests: usize,
    /// Open streams.
    pub streams: usize,
    /// Spans that the collector has taken.
    pub spans_exported: u64,
    /// Spans that were lost.
    pub spans_lost: u64,
    /// The indexes of the configuration.
    pub indexes: Vec<Size>,
}

/// The queue of the store, over all tenants.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QueueNow {
    /// Jobs that could begin.
    pub depth: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that wait for answers.
    pub waiting: u64,
    /// Age of the oldest that could begin, in seconds.
    pub oldest_secs: f64,
}

/// A part of a size.
type Part = fn(&IndexStats) -> u64;

/// The latest look.
#[derive(Debug, Clone, Default)]
pub(super) struct Latest(Arc<Mutex<Moment>>);

impl Latest {
    pub(super) fn set(&self, moment: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl Collector for Latest {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gauge(&mut to, &names::STORE_UP, if now.queue.is_some() { 1.0 } else { 0.0 })?;
        if let Some(queue) = now.queue {
            gauge(&mut to, &names::QUEUE_DEPTH, queue.depth as f64)?;
            gauge(&mut to, &names::QUEUE_OLDEST, queue.oldest_secs)?;
            gauge(&mut to, &names::JOBS_RUNNING, queue.running as f64)?;
            gauge(&mut to, &names::JOBS_WAITING, queue.waiting as f64)?;
        }
        gauge(&mut to, &names::JOBS_ACTIVE, now.active as f64)?;
        gauge(&mut to, &names::JOB_SLOTS, now.slots as f64)?;
        counter(&mut to, &names::TASKS_EXECUTED, now.tasks as f64)?;
        gauge(&mut to, &names::JOURNAL_WAITING, now.journal_waiting as f64)?;
        gauge(&mut to, &names::JOURNAL_WAITING_BYTES, now.journal_waiting_bytes as f64)?;
        gauge(&mut to, &names::REQUESTS_IN_FLIGHT, now.requests as f64)?;
        gauge(&mut to, &names::STREAMS, now.streams as f64)?;
        let spans = [(["exported"], now.spans_exported as f64), (["lost"], now.spans_lost as f64)];
        family(&mut to, &names::SPANS, spans)?;
        if now.indexes.is_empty() {
            return Ok(());
        }
        let sizes: [(&Metric, Part); 3] = [
            (&names::INDEX_DOCUMENTS, |stats| stats.documents),
            (&names::INDEX_CHUNKS, |stats| stats.chunks),
            (&names::INDEX_VECTORS, |stats| stats.vectors),
        ];
        for (metric, size) in sizes {
            let series = now.indexes.iter().map(|(name, stats)| ([name.as_str()], size(stats) as f64));
            family(&mut to, metric, series)?;
        }
        Ok(())
    }
}
