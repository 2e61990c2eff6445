//! Whether this process is the only one at a file of jobs: then whatever else it says of workers is of the dead.
//!
//! A lease is how long others wait before they believe that a worker is gone. Processes that share a file also share
//! this machine, and its kernel knows at once: every worker keeps a shared lock on a file beside the database, and it
//! goes with the process, however that ends. Whoever gets that lock for itself alone is the only one, and takes over
//! what is there without waiting. Where files cannot be locked (some network file systems) the leases decide.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{At, Gone, Store, StoreError, Swept, limits};

/// Pause between two tries to get the shared lock.
const PAUSE: Duration = Duration::from_millis(10);

impl Store {
    /// Puts what a former process had back into the queue, if no other process works on this file. Done once a store;
    /// with a server or in memory there is nothing to do.
    pub(crate) async fn take_over(&self) -> Result<Swept, StoreError> {
        let At::Sqlite(path) = &self.0.options.at else { return Ok(Swept::default()) };
        if self.0.lock.get().is_some() {
            return Ok(Swept::default());
        }
        let path = lock_path(path);
        let file = match File::create(&path) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no lock beside the database: leases decide");
                return Ok(Swept::default());
            }
        };
        let swept = match file.try_lock() {
            Ok(()) => {
                let swept = self.put_back("$1 = ''", "", Gone::Lost).await?;
                if let Err(error) = file.unlock() {
                    tracing::debug!(%error, "the lock beside the database is not shared: leases decide");
                }
                swept
            }
            Err(TryLockError::WouldBlock) => Swept::default(),
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "files cannot be locked here: leases decide");
                return Ok(Swept::default());
            }
        };
        share(&file).await;
        // Two at once in one process: the first to come keeps it.
        drop(self.0.lock.set(file));
        Ok(swept)
    }
}

/// Takes the shared lock; another process has it for itself no longer than one statement takes.
async fn share(file: &File) {
    let until = Instant::now() + limits::ACQUIRE;
    while file.try_lock_shared().is_err() {
        if Instant::now() >= until {
            tracing::debug!("the lock beside the database is held by another process: leases decide");
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The file beside the database; nothing is ever written into it.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-workers");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Options;

    const LEASE: Duration = Duration::from_hours(1);

    async fn open(path: &Path) -> Store {
        Store::open(Options::new(At::Sqlite(path.to_owned())), true).await.unwrap()
    }

    #[tokio::test]
    async fn the_only_process_does_not_wait_for_the_lease_of_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let former = open(&path).await;
        former.take_over().await.unwrap();
        former.register("wkr_former", 4, LEASE).await.unwrap();
        // What is left of a process that was killed: its lease, and no lock.
        drop(former);
        let next = open(&path).await;
        assert_eq!(next.take_over().await.unwrap().workers, 1);
        assert_eq!(next.n_workers().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn nothing_is_taken_from_a_process_that_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let (one, other) = (open(&path).await, open(&path).await);
        one.take_over().await.unwrap();
        one.register("wkr_one", 4, LEASE).await.unwrap();
        assert_eq!(other.take_over().await.unwrap().workers, 0);
        assert_eq!(other.n_workers().await.unwrap(), 1);
        // And a third one sees that the second is there, too.
        other.register("wkr_other", 4, LEASE).await.unwrap();
        drop(one);
        let third = open(&path).await;
        assert_eq!(third.take_over().await.unwrap().workers, 0);
    }

    #[tokio::test]
    async fn a_store_takes_over_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("jobs.db")).await;
        store.take_over().await.unwrap();
        store.register("wkr_own", 4, LEASE).await.unwrap();
        assert_eq!(store.take_over().await.unwrap().workers, 0, "a second runner on the same store");
    }
}
