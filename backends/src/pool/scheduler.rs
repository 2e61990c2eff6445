//! The one lock around a pool's queue and servers: who is sent where, and permits that free themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anabranch_engine::backend::{ChatResponse, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::asked::Asked;
use super::settings::{PoolSettings, ReplicaSettings};

/// Orders calls and chooses their servers.
#[derive(Debug)]
pub(crate) struct Scheduler {
    model: String,
    replicas: Vec<Arc<Semaphore>>,
    next: AtomicUsize,
}

impl Scheduler {
    pub(crate) fn new(
        model: &str,
        _settings: PoolSettings,
        replicas: &[(String, ReplicaSettings)],
    ) -> Arc<Self> {
        let semaphore = |replica: &(String, ReplicaSettings)| {
            Arc::new(Semaphore::new(replica.1.max_in_flight.get() as usize))
        };
        Arc::new(Self {
            model: model.to_owned(),
            replicas: replicas.iter().map(semaphore).collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// Waits until the call may be sent; dropping the future leaves the queue.
    pub(crate) async fn admit(self: &Arc<Self>, _asked: &Asked, tried: Tried) -> Result<Permit, Error> {
        let n_replicas = self.replicas.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let replica = (0..n_replicas)
            .map(|step| first.wrapping_add(step) % n_replicas)
            .find(|replica| !tried.contains(*replica));
        let semaphore = replica.and_then(|replica| self.replicas.get(replica)).cloned();
        match (replica, semaphore) {
            (Some(replica), Some(semaphore)) => match semaphore.acquire_owned().await {
                Ok(held) => Ok(Permit { replica, _held: held }),
                Err(_closed) => Err(self.unavailable()),
            },
            _ => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Error {
        let message = "every server is down".to_owned();
        Error::Unavailable { backend: format!("model `{}`", self.model), message, retry_after: None }
    }
}

/// The replicas that a call has been sent to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried(u64);

impl Tried {
    pub(crate) fn add(&mut self, replica: usize) {
        self.0 |= 1 << (replica % u64::BITS as usize);
    }

    pub(crate) fn contains(self, replica: usize) -> bool {
        self.0 & (1 << (replica % u64::BITS as usize)) != 0
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// Leave to send one call to one server. Dropped unsettled, it counts as given up.
#[derive(Debug)]
pub(crate) struct Permit {
    replica: usize,
    _held: OwnedSemaphorePermit,
}

impl Permit {
    /// The server that the call goes to.
    pub(crate) fn replica(&self) -> usize {
        self.replica
    }

    /// Says what came of the call, and frees its place.
    pub(crate) fn settle(self, _result: &Result<ChatResponse, Error>) {}
}
