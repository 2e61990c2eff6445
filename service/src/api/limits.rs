//! Who may queue more: a full queue refuses new work instead of slowing what was accepted.
//!
//! The queue of a tenant is counted in the store, and what this process took in since is added. Before anybody is
//! refused it is counted again, unless nothing can have changed; places of this process that are free count as room,
//! since what is taken in there does not queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use super::problem::{Code, Problem};
use crate::spend::Reached;

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
    depth: u64,
    /// When the counting began.
    at: Instant,
    /// Taken in by this process and not counted.
    since: u64,
}

impl Admission {
    /// Lets `more` jobs of `tenant` in, or refuses them. Whoever is let in submits without waiting for anything else.
    pub async fn enter(
        &self,
        app: &App,
        (tenant, key): (&str, Option<&str>),
        more: usize,
    ) -> Result<(), Problem> {
        if app.is_stopping() {
            return Err(Problem::new(Code::Stopping, "the process is stopping and takes no new work"));
        }
        if let Some(reached) = app.spending.check(tenant, key).await? {
            return Err(spent(tenant, key, &reached));
        }
        let most = u64::from(app.access.tenant(tenant).await?.max_queued);
        let more = more as u64;
        if more > most.saturating_add(app.runner.load().slots as u64) {
            return Err(full(format!("{more} jobs at once, and at most {most} may be queued"))
                .hint("send fewer at once"));
        }
        let came = Instant::now();
        let line = self.line(tenant);
        if line.take(free(app), most, more, |seen| seen.at.elapsed() < BELIEVED).is_ok() {
            return Ok(());
        }
        // A count that is about to be wrong by what was taken in since is not believed; neither is one from before.
        let is_fresh =
            |seen: &Seen| seen.at >= came || (seen.since == 0 && seen.at.elapsed() < BELIEVED_FULL);
        let entered = match line.take(free(app), most, more, is_fresh) {
            Err(None) => {
                let _turn = line.counting.lock().await;
                // Whoever counted meanwhile, and began after this request came, counted for it, too.
                match line.take(free(app), most, more, is_fresh) {
                    Err(None) => {
                        // What waits to be written may not be counted yet. It may belong to others, which is on the
                        // safe side.
                        let (at, since) = (Instant::now(), app.store.writing().submits);
                        let depth = app.store.depth(tenant).await?;
                        line.set(Seen { depth, at, since });
                        line.take(free(app), most, more, |_| true)
                    }
                    known => known,
                }
            }
            known => known,
        };
        entered.map_err(|queued| {
            full(format!("{} jobs are queued, and at most {most} may be", queued.unwrap_or_default()))
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
    /// Takes `more` places of the queue; without room, how many are queued; `None` if that is not known well enough.
    fn take(
        &self,
        free: Free,
        most: u64,
        more: u64,
        is_believed: impl Fn(&Seen) -> bool,
    ) -> Result<(), Option<u64>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_mut().filter(|seen| is_believed(seen)).ok_or(None)?;
        let queued = seen.depth.saturating_add(seen.since);
        if queued.saturating_add(more) > most.saturating_add(free.slots) {
            return Err(Some(queued));
        }
        if !(free.begins_at_once && more == 1) {
            seen.since = seen.since.saturating_add(more);
        }
        Ok(())
    }

    fn set(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

/// What this process could begin now.
#[derive(Debug, Clone, Copy)]
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
