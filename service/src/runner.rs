//! Works on jobs: claims them, runs them, parks them, hands them over; keeps the lease and notices what others lost.

use std::sync::Arc;

use anabranch_engine::cx::Resources;
use anabranch_engine::run::Notice;

use crate::flows::{Flows, Ready};
use crate::job::{Job, NewJob, Submitted};
use crate::store::{Receipt, Store, StoreError};

/// The runner of a process. Cheap to clone.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

struct Inner {}

/// How many jobs, how long a lease.
#[derive(Debug, Clone)]
pub struct Options {
    /// Jobs that run at once; 0 for a process that only serves the API.
    pub slots: u32,
    /// How long a silent worker keeps its jobs.
    pub lease: std::time::Duration,
    /// Claims without progress after which a job is set aside.
    pub claims_max: u32,
    /// Items of an each at which they are spread over workers.
    pub spread: Option<usize>,
    /// Whether a node's successors wait for the disk.
    pub is_stepwise: bool,
}

/// Something that happens in a job of this process, for those who watch it live. What is journaled has its number.
#[derive(Debug, Clone)]
pub enum Live {
    /// Something that is not journaled: a node began, a piece of text.
    Notice(Notice),
    /// Records up to this position can be read from the store.
    Journaled(u64),
    /// The job has ended, parked or was handed over.
    Left,
}

impl Runner {
    /// Starts the runner's tasks.
    pub async fn start(
        store: Store,
        flows: Flows,
        resources: Arc<Resources>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let _ = (store, flows, resources, options);
        todo!()
    }

    /// Takes a job in. If there is a free slot it begins at once, before it is on disk.
    pub fn submit(&self, job: NewJob, flow: &Ready) -> Receipt<Submitted> {
        let _ = (job, flow);
        todo!()
    }

    /// Takes a job in and waits for its end, at most `wait`. For jobs that begin at once, one commit holds all of it.
    /// `None` if it has not ended by then (or parked: then the job as it is).
    pub async fn submit_and_wait(
        &self,
        job: NewJob,
        flow: &Ready,
        wait: std::time::Duration,
    ) -> Result<(Submitted, Option<Job>), StoreError> {
        let _ = (job, flow, wait);
        todo!()
    }

    /// Waits until a job has ended or parked, wherever it runs; `None` after `wait`.
    pub async fn wait(
        &self,
        tenant: &str,
        id: &str,
        wait: std::time::Duration,
    ) -> Result<Option<Job>, StoreError> {
        let _ = (tenant, id, wait);
        todo!()
    }

    /// What happens in a job, if it runs in this process.
    pub fn watch(&self, id: &str) -> Option<tokio::sync::broadcast::Receiver<Live>> {
        let _ = id;
        todo!()
    }

    /// Stops claiming, lets running nodes end within `grace`, hands over the rest.
    pub async fn drain(&self, grace: std::time::Duration) {
        let _ = grace;
        todo!()
    }
}
