//! Spans on their way to the collector: pushed without waiting, sent in batches by a task of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const EVERY: Duration = Duration::from_secs(1);
/// How often the log tells that spans are lost.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The queue in front of an exporter.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Vec<SpanData>>,
    most: usize,
    /// There is a batch.
    full: Notify,
    /// Everything is to leave, and then nothing more comes.
    closing: Notify,
    closed: Notify,
    lost: AtomicU64,
    exported: AtomicU64,
}

impl Queue {
    /// A queue of at most `most` spans in front of `exporter`, which has `within` for each batch.
    pub(super) fn start(exporter: SpanExporter, most: usize, within: Duration) -> Arc<Self> {
        let queue = Arc::new(Self {
            waiting: Mutex::default(),
            most,
            full: Notify::new(),
            closing: Notify::new(),
            closed: Notify::new(),
            lost: AtomicU64::new(0),
            exported: AtomicU64::new(0),
        });
        tokio::spawn(work(queue.clone(), exporter, within));
        queue
    }

    /// Takes a span, or loses it.
    pub(super) fn push(&self, span: SpanData) {
        let n = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= self.most {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            waiting.push(span);
            waiting.len()
        };
        if n == BATCH.min(self.most) {
            self.full.notify_one();
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Has everything leave that waits, within `within`.
    pub(super) async fn close(&self, within: Duration) {
        let closed = self.closed.notified();
        self.closing.notify_one();
        if timeout(within, closed).await.is_err() {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }

    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn work(queue: Arc<Queue>, exporter: SpanExporter, within: Duration) {
    let mut told = Told::default();
    let mut is_closing = false;
    while !is_closing {
        tokio::select! {
            () = queue.full.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
            () = queue.closing.notified() => is_closing = true,
        }
        let mut spans = queue.take();
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(BATCH));
            let batch = std::mem::replace(&mut spans, rest);
            let n = batch.len() as u64;
            match timeout(within, exporter.export(batch)).await {
                Ok(Ok(())) => {
                    queue.exported.fetch_add(n, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    queue.lost.fetch_add(n, Ordering::Relaxed);
                    told.tell(&queue, Some(&error.to_string()));
                }
                Err(_late) => {
                    queue.lost.fetch_add(n, Ordering::Relaxed);
                    told.tell(&queue, Some("the collector did not answer in time"));
                }
            }
        }
        told.tell(&queue, None);
    }
    told.last(&queue);
    queue.closed.notify_one();
}

/// What the log has been told.
#[derive(Default)]
struct Told {
    lost: u64,
    at: Option<Instant>,
}

impl Told {
    /// Tells that spans were lost since the last time, if that is long enough ago.
    fn tell(&mut self, queue: &Queue, why: Option<&str>) {
        let is_time = self.at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_time && queue.lost() > self.lost {
            self.now(queue, why);
        }
    }

    fn last(&mut self, queue: &Queue) {
        if queue.lost() > self.lost {
            self.now(queue, None);
        }
    }

    fn now(&mut self, queue: &Queue, why: Option<&str>) {
        let (total, before) = (queue.lost(), self.lost);
        (self.lost, self.at) = (total, Some(Instant::now()));
        let why = why.unwrap_or("they came faster than the collector takes them");
        tracing::warn!(
            lost = total - before,
            lost_in_all = total,
            why,
            "spans are lost; runs are not affected"
        );
    }
}
