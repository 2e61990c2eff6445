//! Who may queue more: a full queue refuses new work instead of slowing what was accepted.
//!
//! The queue of a tenant is counted in the store, and what this process took in since is added. Before anybody is
//! refused it is counted again, unless nothing can have changed; places of this process that are free count as room,
//! since what is taken in there does not queue. Everything that has not ended is bounded: what queues, now or for its
//! time, and what waits for answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use super::problem::{Code, Problem};
use crate::spend::Reached;
use crate::store::Unended;

/// How long a count of a queue with room in it is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// How long a count of a full queue is believed while this process adds nothing to it.
const BELIEVED_FULL: Duration = Duration::from_millis(20);
/// How long a caller with a full queue is asked to wait.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Tenants whose queues are kept in mind; beyond it, all are counted anew.
const TENANTS_MAX: usize = 10_000;

/// How full the queues of tenants are, as far as this process knows.
#[derive(Debug, Default)]
pub struct Admission(Mutex<HashMap<String, Arc<Line>>>);

/// The queue of a tenant.
#[derive(Debug, Default)]
struct Line {
    seen: Mutex<Option<Seen>>,
    /// One counts for all who would like to know.
    counting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    jobs: Unended,
    /// When the counting began.
    at: Instant,
    /// Taken in by this process and not counted.
    since: u64,
}

/// What a tenant may have.
#[derive(Debug, Clone, Copy)]
struct Most {
    queued: u64,
    waiting: u64,
    running: Option<u64>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy)]
enum Full {
    /// It is not known well enough.
    Unknown,
    /// So many are queued.
    Queued(u64),
    /// So many wait for answers.
    Waiting(u64),
}

impl Admission {
    /// Lets `more` jobs of `tenant` in, or refuses them. Whoever is let in submits without waiting for anything else.
    pub async fn enter(&self, app: &App, who: (&str, Option<&str>), more: usize) -> Result<(), Problem> {
        self.admit(app, who, more, false).await
    }

    /// As [`Self::enter`], for one job that may begin at `run_at_ms`: one whose time has not come finds no free place.
    pub async fn enter_at(
        &self,
        app: &App,
        who: (&str, Option<&str>),
        run_at_ms: i64,
    ) -> Result<(), Problem> {
        self.admit(app, who, 1, run_at_ms > app.now_ms()).await
    }

    async fn admit(
        &self,
        app: &App,
        (tenant, key): (&str, Option<&str>),
        more: usize,
        is_later: bool,
    ) -> Result<(), Problem> {
        if app.is_stopping() {
            return Err(Problem::new(Code::Stopping, "the process is stopping and takes no new work"));
        }
        if let Some(reached) = app.spending.check(tenant, key).await? {
            return Err(spent(tenant, key, &reached));
        }
        let limits = app.access.tenant(tenant).await?;
        let most = Most {
            queued: u64::from(app.access.max_queued(&limits)),
            waiting: app.config.limits.waiting as u64,
            running: limits.max_running.map(u64::from),
        };
        let more = more as u64;
        if more > most.queued.saturating_add(app.runner.load().slots as u64) {
            return Err(full(format!("{more} jobs at once, and at most {} may be queued", most.queued))
                .hint("send fewer at once"));
        }
        let free = || if is_later { Free::default() } else { free(app) };
        let came = Instant::now();
        let line = self.line(tenant);
        if line.take(free(), most, more, |seen| seen.at.elapsed() < BELIEVED).is_ok() {
            return Ok(());
        }
        // A count that is about to be wrong by what was taken in since is not believed; neither is one from before.
        let is_fresh =
            |seen: &Seen| seen.at >= came || (seen.since == 0 && seen.at.elapsed() < BELIEVED_FULL);
        let entered = match line.take(free(), most, more, is_fresh) {
            Err(Full::Unknown) => {
                let _turn = line.counting.lock().await;
                // Whoever counted meanwhile, and began after this request came, counted for it, too.
                match line.take(free(), most, more, is_fresh) {
                    Err(Full::Unknown) => {
                        // What waits to be written may not be counted yet. It may belong to others, which is on the
                        // safe side.
                        let (at, since) = (Instant::now(), app.store.writing().submits);
                        let jobs = app.store.unended(tenant).await?;
                        line.set(Seen { jobs, at, since });
                        line.take(free(), most, more, |_| true)
                    }
                    known => known,
                }
            }
            known => known,
        };
        entered.map_err(|no_room| match no_room {
            Full::Waiting(n) => full(format!("{n} jobs wait for answers, and at most {} may", most.waiting))
                .hint("answer or cancel some: `GET /v1/jobs?status=waiting` lists them"),
            Full::Queued(n) => full(format!("{n} jobs are queued, and at most {} may be", most.queued)),
            Full::Unknown => full(format!("at most {} jobs may be queued", most.queued)),
        })
    }

    fn line(&self, tenant: &str) -> Arc<Line> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = tenants.get(tenant) {
            return line.clone();
        }
        if tenants.len() >= TENANTS_MAX {
            tenants.clear();
        }
        tenants.entry(tenant.to_owned()).or_default().clone()
    }
}

impl Line {
    /// Takes `more` places of the queue.
    fn take(
        &self,
        free: Free,
        most: Most,
        more: u64,
        is_believed: impl Fn(&Seen) -> bool,
    ) -> Result<(), Full> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_mut().filter(|seen| is_believed(seen)).ok_or(Full::Unknown)?;
        if seen.jobs.waiting >= most.waiting {
            return Err(Full::Waiting(seen.jobs.waiting));
        }
        // A tenant with a bound of its own has no more places than that leaves, and its jobs go through the queue.
        let places = match most.running {
            Some(running) => free.slots.min(running.saturating_sub(seen.jobs.running)),
            None => free.slots,
        };
        let queued = seen.jobs.queued.saturating_add(seen.since);
        if queued.saturating_add(more) > most.queued.saturating_add(places) {
            return Err(Full::Queued(queued));
        }
        let begins_at_once = free.begins_at_once && most.running.is_none();
        if !(begins_at_once && more == 1) {
            seen.since = seen.since.saturating_add(more);
        }
        Ok(())
    }

    fn set(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

/// What this process could begin now.
#[derive(Debug, Clone, Copy, Default)]
struct Free {
    slots: u64,
    /// Whether the next job does not queue.
    begins_at_once: bool,
}

fn free(app: &App) -> Free {
    let load = app.runner.load();
    let slots = if load.is_draining { 0 } else { load.slots.saturating_sub(load.running) as u64 };
    Free { slots, begins_at_once: slots > 0 && !load.has_backlog }
}

/// The problem of a ceiling that was reached, with what can be done about it.
fn spent(tenant: &str, key: Option<&str>, reached: &Reached) -> Problem {
    let Reached { of, what, limit, retry_after } = reached;
    let who = if *of == "key" { key.unwrap_or_default() } else { tenant };
    let hint = if *of == "key" {
        format!(
            "wait for the next day (UTC), take another key, or have an admin make one with a higher `{what}_per_day`"
        )
    } else {
        format!(
            "wait for the next day (UTC), or have an admin raise `{what}_per_day`: `PUT /v1/tenants/{tenant}`"
        )
    };
    Problem::new(
        Code::Ceiling,
        format!("the {of} `{who}` has spent what it may in a day: {what} up to {limit}"),
    )
    .retry_after(*retry_after)
    .hint(hint)
}

fn full(detail: String) -> Problem {
    Problem::new(Code::QueueFull, detail).retry_after(FULL_WAIT)
}
