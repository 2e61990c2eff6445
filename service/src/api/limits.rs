//! Who may queue more: a full queue refuses new work instead of slowing what was accepted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::problem::{Code, Problem};
use super::{App, Counts};

/// How long a count of the queue is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// How long a caller with a full queue is asked to wait.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Tenants whose queues are kept in mind; beyond it, all are counted anew.
const TENANTS_MAX: usize = 10_000;

/// How full the queues of tenants are, as far as this process knows.
#[derive(Debug, Default)]
pub struct Admission(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    depth: u64,
    at: Instant,
    /// Taken in by this process since.
    since: u64,
}

impl Admission {
    /// Lets `more` jobs of `tenant` in, or refuses them.
    pub async fn enter(&self, app: &App, tenant: &str, more: usize) -> Result<(), Problem> {
        if app.is_stopping() {
            return Err(Problem::new(Code::Stopping, "the process is stopping and takes no new work"));
        }
        let seen = match self.believed(tenant) {
            Some(seen) => seen,
            None => {
                let depth = app.store.queue(Some(tenant)).await?.depth;
                let seen = Seen { depth, at: Instant::now(), since: 0 };
                self.remember(tenant, seen);
                seen
            }
        };
        let most = u64::from(app.access.tenant(tenant).await?.max_queued);
        let more = more as u64;
        if seen.depth.saturating_add(seen.since).saturating_add(more) > most {
            Counts::more(&app.counts.refused);
            let detail = format!("{} jobs are queued, and at most {most} may be", seen.depth + seen.since);
            return Err(Problem::new(Code::QueueFull, detail).retry_after(FULL_WAIT));
        }
        self.add(tenant, more);
        Ok(())
    }

    fn believed(&self, tenant: &str) -> Option<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied();
        seen.filter(|seen| seen.at.elapsed() < BELIEVED)
    }

    fn remember(&self, tenant: &str, seen: Seen) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS_MAX {
            tenants.clear();
        }
        tenants.insert(tenant.to_owned(), seen);
    }

    fn add(&self, tenant: &str, more: u64) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = tenants.get_mut(tenant) {
            seen.since = seen.since.saturating_add(more);
        }
    }
}
