//! Feeds one reader with what happens in a job, until its end, the reader's, or the process's.

use std::collections::HashMap;
use std::time::Duration;

use anabranch_engine::event::Event;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::Watched;
use super::names::Names;
use super::vocabulary::{Happening, JobEvent, TextView};
use crate::api::App;
use crate::api::jobs::view::JobView;
use crate::job::Job;
use crate::live::{Ear, Told};
use crate::runner::{Heard, Live, RunningNode, Said};
use crate::store::{Changes, StoreError};

/// Records that are read at once.
const AT_ONCE: usize = 256;
/// How often something is sent, so that nobody in between takes the connection for dead.
const PING: Duration = Duration::from_secs(15);
/// How long a reader may take nothing before it is given up.
const STUCK: Duration = Duration::from_mins(1);
/// How often the store is asked where a notification may be lost.
const POLL: Duration = Duration::from_secs(1);
/// Nodes whose ends are remembered, so that none is told to begin after them.
const ENDS: usize = 4_096;
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
    /// The last attempts that the reader knows to have ended, by node.
    ends: HashMap<String, u32>,
    /// What runs as somebody begins to tell: told once the journal was read, so that it stands behind earlier attempts.
    running: Vec<RunningNode>,
}

/// Tells a reader what happens; holds its place among the streams until it is done.
pub(super) async fn feed(
    app: App,
    watched: Watched,
    heard: Option<Heard>,
    to_reader: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
) {
    let (names, ends) = (Names::default(), HashMap::new());
    let mut feed = Feed { app, watched, names, to_reader, ends, running: Vec::new() };
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
    async fn run(&mut self, mut heard: Option<Heard>) -> Over {
        self.running = heard.as_mut().map(|heard| std::mem::take(&mut heard.running)).unwrap_or_default();
        // Whoever hears all of it is told when there is something to read, and of each beginning before its end.
        let is_whole = heard.as_ref().is_some_and(|heard| heard.is_whole);
        let mut ear = self.app.relay.ear(&self.watched.id, heard);
        // Whoever listens first and looks then misses nothing in between.
        let mut changes = self.app.store.follow(&self.watched.id);
        let mut is_first = true;
        let mut ping_at = Instant::now() + PING;
        loop {
            match self.look(is_first, is_first && is_whole, &mut ear).await {
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
            if let Some(over) = self.until_news(&mut ear, &mut changes, &mut ping_at).await {
                return over;
            }
        }
    }

    /// Shows the job if it is the first look, and tells what the journal has, and the end if it is there.
    async fn look(
        &mut self,
        is_first: bool,
        shows_only: bool,
        ear: &mut Ear,
    ) -> Result<Option<Over>, StoreError> {
        // The job before its records: what it says of its end then holds for the records that are read after it.
        let Some(job) = self.app.store.job(Some(&self.watched.tenant), &self.watched.id).await? else {
            return Ok(Some(Over::Done));
        };
        if is_first {
            self.names = Names::of(&self.app, &job, self.watched.next).await?;
            let over = self.snapshot(&job).await;
            if over.is_some() || shows_only {
                return Ok(over);
            }
        }
        if let Some(over) = self.read(u64::MAX).await? {
            return Ok(Some(over));
        }
        if job.status.is_final() {
            let ended = JobEvent::ended(&self.app, job, self.watched.next);
            return Ok(Some(self.send(ended).await.unwrap_or(Over::Done)));
        }
        ear.look(job.status, job.epoch);
        Ok(self.begin().await)
    }

    /// Tells what the journal has up to a number.
    async fn read(&mut self, upto: u64) -> Result<Option<Over>, StoreError> {
        while self.watched.next <= upto {
            let left = upto.saturating_sub(self.watched.next).saturating_add(1);
            let at_once = usize::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE);
            let records = self.app.store.records(&self.watched.id, self.watched.next, at_once).await?;
            for (at_ms, record) in &records {
                // A node of a plan is known before its end is told; what the end sets off comes after it.
                let event = JobEvent::recorded(*at_ms, record, &self.names);
                self.names.hear(record);
                self.note_end(&record.event);
                if let Some(over) = self.send(event).await {
                    return Ok(Some(over));
                }
                self.watched.next = record.seq.saturating_add(1);
            }
            if records.len() < at_once {
                break;
            }
        }
        Ok(None)
    }

    fn note_end(&mut self, event: &Event) {
        if let Event::AttemptEnded { scope, attempt, .. } = event {
            if self.ends.len() >= ENDS {
                self.ends.clear();
            }
            self.ends.insert(scope.to_string(), *attempt);
        }
    }

    /// Whether the reader knows that this attempt has ended: what is told live may be behind what was read.
    fn has_ended(&self, node: &str, attempt: u32) -> bool {
        self.ends.get(node).is_some_and(|ended| *ended >= attempt)
    }

    /// The job as it is, with what its nodes have written; that others run is told behind what the journal has.
    async fn snapshot(&mut self, job: &Job) -> Option<Over> {
        let job = Box::new(JobView::whole(&self.app, job.clone()));
        let writes = |node: &mut RunningNode| !node.text.is_empty();
        let texts = self.running.extract_if(.., writes).map(TextView::from).collect();
        self.send(JobEvent::live(Happening::Snapshot { job, texts })).await
    }

    /// Tells what runs as somebody begins to tell.
    async fn begin(&mut self) -> Option<Over> {
        for node in std::mem::take(&mut self.running) {
            if self.has_ended(&node.node, node.attempt) {
                continue;
            }
            for event in JobEvent::running(node) {
                if let Some(over) = self.send(event).await {
                    return Some(over);
                }
            }
        }
        None
    }

    /// Passes on what is told, until the store has to be looked at.
    async fn until_news(
        &mut self,
        ear: &mut Ear,
        changes: &mut Changes,
        ping_at: &mut Instant,
    ) -> Option<Over> {
        let poll_at = Instant::now() + POLL;
        loop {
            let hears = ear.hears();
            tokio::select! {
                biased;
                () = self.to_reader.closed() => return Some(Over::Gone),
                () = self.app.stopping.cancelled() => return Some(self.interrupted().await),
                told = ear.next() => match self.pass_on(told).await {
                    Ok(true) => return None,
                    Ok(false) => {}
                    Err(over) => return Some(over),
                },
                () = changes.changed(), if !hears => return None,
                () = sleep_until(poll_at) => return None,
                () = sleep_until(*ping_at) => {
                    if let Some(over) = self.ping(ping_at).await {
                        return Some(over);
                    }
                }
            }
        }
    }

    /// Passes on what is told; whether the store has to be looked at.
    async fn pass_on(&mut self, told: Told) -> Result<bool, Over> {
        let event = match told {
            Told::Live(Live::Said(Said::Started { node, attempt, .. })) if self.has_ended(&node, attempt) => {
                None
            }
            Told::Live(Live::Said(said)) => JobEvent::said(said),
            // No further: the beginnings of what ended after it are still to be told.
            Told::Live(Live::Journaled(upto)) => match self.read(upto).await {
                Ok(None) => None,
                Ok(Some(over)) => return Err(over),
                Err(_) => return Ok(true),
            },
            Told::Live(Live::Missed(missed)) => {
                let over = self.send(JobEvent::live(Happening::Lagged { missed })).await;
                return over.map_or(Ok(true), Err);
            }
            Told::Running(running) => {
                self.running = running;
                return Ok(true);
            }
            Told::Live(Live::Came | Live::Left) | Told::Lost => return Ok(true),
        };
        match event {
            Some(event) => self.send(event).await.map_or(Ok(false), Err),
            None => Ok(false),
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
