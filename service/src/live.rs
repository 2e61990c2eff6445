//! What is told live of a job, wherever it runs.
//!
//! ```text
//!  reader ◄── Ear ◄── the runner, if the job runs in this process
//!                ◄── HTTP ◄── `api/live.rs` of the process that has it (`workers.addr`)
//! ```
//! Only what is not journaled depends on it. Where the owner of a job cannot be reached, a reader has what the journal
//! has, which comes from the database by its numbers in any case; so nothing here is ever an error.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};

use crate::job::{Job, Status};
use crate::runner::{Heard, Live, Runner, RunningNode};
use crate::store::{Store, StoreError};

mod lines;
mod pass;

pub use pass::{PassError, Secret};

use lines::Lines;

/// Longest wait for a connection to the owner of a job.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest time until it has begun to tell.
const ASK: Duration = Duration::from_secs(2);
/// What a reader may be behind of what the owner tells before it misses something.
const BEHIND: usize = 256;
/// First and longest pause before an owner is asked again that could not be heard.
const DEAF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How often it is looked who has a job that nobody tells of, where a notification may be lost.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked while somebody does.
const LOOK_HEARING: Duration = Duration::from_secs(3);

/// The first line of an owner, before what happens.
#[derive(Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// The claim by which it has the job.
    pub epoch: i64,
    /// What runs already.
    pub running: Vec<RunningNode>,
}

/// How a process hears of jobs, its own and those of others. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Parts>);

struct Parts {
    store: Store,
    runner: Runner,
    /// How the others are asked; `None` where there are no others.
    others: Option<Others>,
}

struct Others {
    http: reqwest::Client,
    secret: Secret,
}

impl Relay {
    /// Of a process with this runner. With `secret`, it hears other processes on the same database, and they hear it.
    pub fn new(store: Store, runner: Runner, secret: Option<Secret>) -> Self {
        let others = secret.and_then(|secret| {
            let client = crate::tls::client_builder("http").no_proxy().connect_timeout(CONNECT);
            match client.redirect(reqwest::redirect::Policy::none()).build() {
                Ok(http) => Some(Others { http, secret }),
                Err(error) => {
                    tracing::warn!(%error, "no HTTP client: what other processes tell live is not heard");
                    None
                }
            }
        });
        Self(Arc::new(Parts { store, runner, others }))
    }

    /// Whether other processes may hear of jobs here.
    pub fn is_shared(&self) -> bool {
        self.0.others.is_some()
    }

    /// Whether `pass` lets its bearer hear of a job of this process.
    pub fn admits(&self, pass: &str, job: &str) -> bool {
        self.0.others.as_ref().is_some_and(|others| others.secret.admits(pass, &self.0.runner.worker(), job))
    }

    /// What happens in a job from now on, if another process has it and tells.
    pub async fn hear_elsewhere(&self, job: &Job) -> Option<Heard> {
        if job.status == Status::Running { self.ask(&job.id).await } else { None }
    }

    /// Asks the owner of a job to tell what happens in it.
    async fn ask(&self, job: &str) -> Option<Heard> {
        let others = self.0.others.as_ref()?;
        let owner = match self.0.store.owner(job).await {
            Ok(owner) => owner?,
            Err(error) => {
                tracing::debug!(job, %error, "the owner of a job cannot be looked up");
                return None;
            }
        };
        let address = owner.address?;
        if owner.worker == *self.0.runner.worker() {
            return None;
        }
        let asked = async {
            let url = format!("http://{address}{}", path(job));
            let pass = others.secret.pass(&owner.worker, job);
            let response = others.http.get(url).bearer_auth(pass).send().await?.error_for_status()?;
            let mut lines = Lines::new(response);
            let begins: Option<Beginning> = lines.next().await;
            Ok::<_, reqwest::Error>(begins.map(|begins| (begins, lines)))
        };
        let (Beginning { epoch, running }, lines) = match timeout(ASK, asked).await {
            Ok(Ok(Some(told))) => told,
            Ok(Ok(None)) | Err(_) => {
                tracing::debug!(job, address, "the owner of a job tells nothing");
                return None;
            }
            Ok(Err(error)) => {
                tracing::debug!(job, address, error = %error.without_url(), "the owner of a job cannot be heard");
                return None;
            }
        };
        let (to, live) = broadcast::channel(BEHIND);
        tokio::spawn(pass_on(lines, to));
        Some(Heard { live, running, epoch, is_whole: false })
    }

    /// An ear for a job, with what is heard of it already.
    pub fn ear(&self, job: &str, heard: Option<Heard>) -> Ear {
        Ear { relay: self.clone(), job: job.to_owned(), heard, asking: None, deaf: None }
    }
}

/// Where a process tells what happens in a job.
fn path(job: &str) -> String {
    crate::api::live::PATH.replace("{id}", job)
}

/// Passes on what an owner tells, until it stops or nobody listens.
async fn pass_on(mut lines: Lines, to: broadcast::Sender<Live>) {
    loop {
        tokio::select! {
            () = to.closed() => return,
            live = lines.next() => {
                let Some(live) = live else { return };
                // The last one may have stopped to listen.
                let _unheard = to.send(live);
            }
        }
    }
}

/// How one reader hears one job, whoever has it.
pub struct Ear {
    relay: Relay,
    job: String,
    heard: Option<Heard>,
    /// The owner is being asked.
    asking: Option<BoxFuture<'static, Option<Heard>>>,
    /// Somebody could not be heard.
    deaf: Option<Deaf>,
}

struct Deaf {
    epoch: i64,
    until: Instant,
    pause: Duration,
}

/// What an ear hears.
#[derive(Debug)]
pub enum Told {
    /// Somebody begins to tell; what runs already.
    Running(Vec<RunningNode>),
    /// Something happens.
    Live(Live),
    /// Nobody tells any more, for now.
    Lost,
}

impl Ear {
    /// Sees to it that it listens to whoever has the job, which is `status` in its claim `epoch`.
    pub fn look(&mut self, status: Status, epoch: i64) {
        if self.heard.as_ref().is_some_and(|heard| heard.epoch < epoch) {
            self.heard = None;
            self.asking = None;
        }
        if self.heard.is_some() || self.asking.is_some() {
            return;
        }
        let is_deaf = |deaf: &Deaf| deaf.epoch == epoch && Instant::now() < deaf.until;
        if status != Status::Running || self.deaf.as_ref().is_some_and(is_deaf) {
            return;
        }
        let before = self.deaf.take().filter(|deaf| deaf.epoch == epoch);
        let pause = before.map_or(DEAF.0, |deaf| (deaf.pause * 2).min(DEAF.1));
        self.deaf = Some(Deaf { epoch, until: Instant::now() + pause, pause });
        let (relay, job) = (self.relay.clone(), self.job.clone());
        let here = relay.0.runner.hear(&job).filter(|heard| heard.epoch >= epoch);
        self.asking = Some(match here {
            Some(heard) => std::future::ready(Some(heard)).boxed(),
            None => async move { relay.ask(&job).await }.boxed(),
        });
    }

    /// Whether somebody tells.
    pub fn hears(&self) -> bool {
        self.heard.is_some()
    }

    /// What is told next. Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> Told {
        if let Some(heard) = &mut self.heard {
            return match heard.live.recv().await {
                Ok(Live::Left) | Err(RecvError::Closed) => {
                    self.heard = None;
                    Told::Lost
                }
                Ok(live) => Told::Live(live),
                Err(RecvError::Lagged(missed)) => Told::Live(Live::Missed(missed)),
            };
        }
        if let Some(asking) = &mut self.asking {
            let heard = asking.await;
            self.asking = None;
            if let Some(mut heard) = heard {
                self.deaf = None;
                let running = std::mem::take(&mut heard.running);
                self.heard = Some(heard);
                return Told::Running(running);
            }
        }
        std::future::pending().await
    }

    /// As [`Ear::next`], for a reader that does not look at the job itself. `None` once nothing more happens to it by
    /// itself: it has ended, or waits for an answer.
    pub async fn follow(&mut self, tenant: &str) -> Result<Option<Told>, StoreError> {
        let store = self.relay.0.store.clone();
        loop {
            if self.hears() {
                tokio::select! {
                    told = self.next() => return Ok(Some(told)),
                    () = sleep(LOOK_HEARING) => {}
                }
            }
            // Whoever follows first and looks then misses nothing in between.
            let mut changes = store.follow(&self.job);
            match store.standing(tenant, &self.job).await? {
                Some((status, epoch)) if status < Status::Waiting => self.look(status, epoch),
                _ => return Ok(None),
            }
            if !self.hears() {
                tokio::select! {
                    told = self.next() => return Ok(Some(told)),
                    _news = timeout(LOOK, changes.changed()) => {}
                }
            }
        }
    }
}
