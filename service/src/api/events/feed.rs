//! Feeds one reader with what happens in a job, until its end, the reader's, or the process's.

use std::time::Duration;

use anabranch_engine::run::Notice;
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::names::Names;
use super::vocabulary::{Happening, JobEvent, TextView};
use super::{Heard, Watched};
use crate::api::App;
use crate::api::jobs::view::JobView;
use crate::job::Job;
use crate::runner::{Live, RunningText};
use crate::store::{Changes, StoreError};

/// Records that are read at once.
const AT_ONCE: usize = 256;
/// How often something is sent, so that nobody in between takes the connection for dead.
const PING: Duration = Duration::from_secs(15);
/// How long a reader may take nothing before it is given up.
const STUCK: Duration = Duration::from_mins(1);
/// How often the store is asked where a notification may be lost.
const POLL: Duration = Duration::from_secs(1);
/// How often it is asked while it is away.
const AWAY: Duration = Duration::from_millis(500);

/// Why there is nothing more to send.
enum Over {
    /// Everything was said.
    Done,
    /// The reader has gone away, or takes nothing.
    Gone,
}

struct Feed {
    app: App,
    watched: Watched,
    names: Names,
    to_reader: mpsc::Sender<Bytes>,
}

/// Tells a reader what happens; holds its place among the streams until it is done.
pub(super) async fn feed(
    app: App,
    watched: Watched,
    heard: Option<Heard>,
    to_reader: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
) {
    let mut feed = Feed { app, watched, names: Names::default(), to_reader };
    let over = feed.run(heard).await;
    if matches!(over, Over::Gone) && feed.watched.cancels && !feed.app.is_stopping() {
        let Watched { tenant, id, .. } = &feed.watched;
        if let Err(error) = feed.app.store.cancel(tenant, id, true).await {
            tracing::warn!(job = id, %error, "a job whose reader went away could not be cancelled");
        }
        feed.app.runner.look();
    }
    drop(permit);
}

impl Feed {
    async fn run(&mut self, heard: Option<Heard>) -> Over {
        let (mut live, mut texts) = match heard {
            Some((live, texts)) => (Some(live), texts),
            None => (None, Vec::new()),
        };
        // Whoever listens first and looks then misses nothing in between.
        let mut changes = self.app.store.follow(&self.watched.id);
        let mut is_first = true;
        let mut ping_at = Instant::now() + PING;
        loop {
            if live.is_none() {
                let heard = self.app.runner.watch_with_texts(&self.watched.id);
                live = heard.map(|(live, before)| {
                    texts = before;
                    live
                });
            }
            match self.catch_up(is_first, &mut texts).await {
                Ok(None) => is_first = false,
                Ok(Some(over)) => return over,
                // Nothing is lost: it goes on where it was once the store is there again.
                Err(error) => {
                    tracing::debug!(job = self.watched.id, %error, "a stream waits for the store");
                    match self.rest(&mut ping_at, Instant::now() + AWAY).await {
                        None => continue,
                        Some(over) => return over,
                    }
                }
            }
            if let Some(over) = self.until_news(&mut live, &mut changes, &mut ping_at).await {
                return over;
            }
        }
    }

    /// Tells what the journal has, and the end if it is there.
    async fn catch_up(
        &mut self,
        is_first: bool,
        texts: &mut Vec<RunningText>,
    ) -> Result<Option<Over>, StoreError> {
        // The job before its records: what it says of its end then holds for the records that are read after it.
        let Some(job) = self.app.store.job(Some(&self.watched.tenant), &self.watched.id).await? else {
            return Ok(Some(Over::Done));
        };
        if is_first {
            self.names = Names::of(&self.app, &job, self.watched.next).await?;
            if let Some(over) = self.snapshot(&job, std::mem::take(texts)).await {
                return Ok(Some(over));
            }
        }
        loop {
            let records = self.app.store.records(&self.watched.id, self.watched.next, AT_ONCE).await?;
            for (at_ms, record) in &records {
                // A node of a plan is known before its end is told; what the end sets off comes after it.
                let event = JobEvent::recorded(*at_ms, record, &self.names);
                self.names.hear(record);
                if let Some(over) = self.send(event).await {
                    return Ok(Some(over));
                }
                self.watched.next = record.seq.saturating_add(1);
            }
            if records.len() < AT_ONCE {
                break;
            }
        }
        if job.status.is_final() {
            let ended = JobEvent::ended(&self.app, job, self.watched.next);
            return Ok(Some(self.send(ended).await.unwrap_or(Over::Done)));
        }
        Ok(None)
    }

    async fn snapshot(&self, job: &Job, texts: Vec<RunningText>) -> Option<Over> {
        let job = Box::new(JobView::whole(&self.app, job.clone()));
        let texts = texts.into_iter().map(TextView::from).collect();
        self.send(JobEvent::live(Happening::Snapshot { job, texts })).await
    }

    /// Passes on what is only told live, until there is something to read from the journal.
    async fn until_news(
        &self,
        live: &mut Option<broadcast::Receiver<Live>>,
        changes: &mut Changes,
        ping_at: &mut Instant,
    ) -> Option<Over> {
        let poll_at = Instant::now() + POLL;
        loop {
            let is_here = live.is_some();
            tokio::select! {
                biased;
                () = self.to_reader.closed() => return Some(Over::Gone),
                () = self.app.stopping.cancelled() => return Some(self.interrupted().await),
                told = next(live) => match told {
                    Ok(Live::Notice(notice)) => {
                        if let Some(over) = self.pass_on(&notice).await {
                            return Some(over);
                        }
                    }
                    Ok(Live::Journaled(upto)) if upto < self.watched.next => {}
                    Ok(Live::Journaled(_) | Live::Came) => return None,
                    Ok(Live::Left) | Err(RecvError::Closed) => {
                        *live = None;
                        return None;
                    }
                    Err(RecvError::Lagged(missed)) => {
                        if let Some(over) = self.send(JobEvent::live(Happening::Lagged { missed })).await {
                            return Some(over);
                        }
                        return None;
                    }
                },
                () = changes.changed(), if !is_here => return None,
                () = sleep_until(poll_at) => return None,
                () = sleep_until(*ping_at) => {
                    if let Some(over) = self.ping(ping_at).await {
                        return Some(over);
                    }
                }
            }
        }
    }

    /// Waits until `until`, with pings, unless the reader or the process goes away.
    async fn rest(&self, ping_at: &mut Instant, until: Instant) -> Option<Over> {
        loop {
            tokio::select! {
                () = self.to_reader.closed() => return Some(Over::Gone),
                () = self.app.stopping.cancelled() => return Some(self.interrupted().await),
                () = sleep_until(until) => return None,
                () = sleep_until(*ping_at) => {
                    if let Some(over) = self.ping(ping_at).await {
                        return Some(over);
                    }
                }
            }
        }
    }

    async fn pass_on(&self, notice: &Notice) -> Option<Over> {
        match JobEvent::noticed(notice) {
            Some(event) => self.send(event).await,
            None => None,
        }
    }

    async fn ping(&self, ping_at: &mut Instant) -> Option<Over> {
        *ping_at = Instant::now() + PING;
        self.raw(Bytes::from_static(b": ping\n\n")).await
    }

    async fn interrupted(&self) -> Over {
        self.send(JobEvent::live(Happening::Interrupted {})).await.unwrap_or(Over::Done)
    }

    async fn send(&self, event: JobEvent) -> Option<Over> {
        self.raw(event.frame()).await
    }

    async fn raw(&self, frame: Bytes) -> Option<Over> {
        match timeout(STUCK, self.to_reader.send(frame)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) | Err(_) => Some(Over::Gone),
        }
    }
}

async fn next(live: &mut Option<broadcast::Receiver<Live>>) -> Result<Live, RecvError> {
    match live {
        Some(live) => live.recv().await,
        None => std::future::pending().await,
    }
}
