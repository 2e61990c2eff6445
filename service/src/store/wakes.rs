//! Telling this process and others that there is something to look at.
//!
//! Over `PostgreSQL` others are told by `NOTIFY`, never within a commit of the journal (it would hold up every other
//! commit), and at most once in [`limits::NOTIFY_PAUSE`]. A notification may be lost; everybody looks again each
//! [`limits::POLL`] anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;

use super::database::Database;
use super::{Wake, limits};

const CHANNEL: &str = "anabranch";

/// Who listens, and what others are still to be told.
pub(super) struct Wakes {
    listeners: broadcast::Sender<Wake>,
    /// Jobs that somebody follows: who follows one hears nothing of the many others.
    followed: Mutex<HashMap<String, watch::Sender<()>>>,
    process: String,
    unsaid: Mutex<Unsaid>,
    is_unsaid: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A notification.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Unsaid {
    #[serde(rename = "p", default)]
    process: String,
    #[serde(rename = "w", default)]
    work: bool,
    #[serde(rename = "a", default)]
    wanted: bool,
    /// `None`: no job. Empty: any job.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    changed: Option<BTreeSet<String>>,
}

impl Unsaid {
    fn is_empty(&self) -> bool {
        !self.work && !self.wanted && self.changed.is_none()
    }

    fn add(&mut self, wake: &Wake) {
        match wake {
            Wake::Work => self.work = true,
            Wake::Wanted => self.wanted = true,
            Wake::Changed(jobs) => match &mut self.changed {
                Some(changed) if changed.is_empty() => {}
                Some(_) if jobs.is_empty() => self.changed = Some(BTreeSet::new()),
                changed => {
                    let changed = changed.get_or_insert_default();
                    changed.extend(jobs.iter().cloned());
                    if changed.len() > limits::NOTIFY_IDS {
                        changed.clear();
                    }
                }
            },
        }
    }

    fn wakes(self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        wakes.extend(self.changed.map(|jobs| Wake::Changed(jobs.into_iter().collect())));
        wakes.extend(self.wanted.then_some(Wake::Wanted));
        wakes.extend(self.work.then_some(Wake::Work));
        wakes
    }
}

impl Wakes {
    pub(super) fn start(database: &Database, is_polled: bool) -> Arc<Self> {
        let this = Arc::new(Self {
            listeners: broadcast::Sender::new(limits::WAKES),
            followed: Mutex::default(),
            process: uuid::Uuid::now_v7().simple().to_string(),
            unsaid: Mutex::default(),
            is_unsaid: Notify::new(),
            tasks: Mutex::default(),
        });
        let mut tasks = vec![tokio::spawn(poll(Arc::downgrade(&this), is_polled))];
        if let (Database::Postgres { read, .. }, false) = (database, is_polled) {
            tasks.push(tokio::spawn(say(Arc::downgrade(&this), read.clone())));
            tasks.push(tokio::spawn(listen(Arc::downgrade(&this), read.clone())));
        }
        *this.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        this
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Wake> {
        self.listeners.subscribe()
    }

    pub(super) fn follow(self: &Arc<Self>, job: &str) -> Changes {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let news = match followed.get(job) {
            Some(sender) => sender.subscribe(),
            None => followed.entry(job.to_owned()).or_default().subscribe(),
        };
        Changes { wakes: self.clone(), job: job.to_owned(), news }
    }

    /// Tells everybody.
    pub(super) fn tell(&self, wake: Wake) {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner).add(&wake);
        self.is_unsaid.notify_one();
        self.tell_here(wake);
    }

    fn tell_here(&self, wake: Wake) {
        if let Wake::Changed(jobs) = &wake {
            let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            match jobs.as_slice() {
                [] => followed.values().for_each(|news| news.send_replace(())),
                jobs => {
                    jobs.iter().filter_map(|job| followed.get(job)).for_each(|news| news.send_replace(()));
                }
            }
            return;
        }
        // Nobody may be listening.
        drop(self.listeners.send(wake));
    }

    pub(super) fn stop(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// News of one job.
pub struct Changes {
    wakes: Arc<Wakes>,
    job: String,
    news: watch::Receiver<()>,
}

impl Changes {
    /// Resolves once the job may have new records or another status, if it has not since the last time or since it is
    /// followed. What other processes do may be missed: look again from time to time.
    pub async fn changed(&mut self) {
        // Whoever follows a job keeps the one who tells.
        let _told = self.news.changed().await;
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut followed = self.wakes.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.get(&self.job).is_some_and(|news| news.receiver_count() <= 1) {
            followed.remove(&self.job);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Has everybody look again and again, whatever they were told.
async fn poll(wakes: std::sync::Weak<Wakes>, is_polled: bool) {
    let mut ticks = tokio::time::interval(limits::POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(wakes) = wakes.upgrade() else { return };
        wakes.tell_here(Wake::Work);
        wakes.tell_here(Wake::Wanted);
        if is_polled {
            wakes.tell_here(Wake::Changed(Vec::new()));
        }
    }
}

/// Says to other processes what they have not been told yet.
async fn say(wakes: std::sync::Weak<Wakes>, pool: PgPool) {
    loop {
        tokio::time::sleep(limits::NOTIFY_PAUSE).await;
        let Some(wakes) = wakes.upgrade() else { return };
        let mut unsaid = std::mem::take(&mut *wakes.unsaid.lock().unwrap_or_else(PoisonError::into_inner));
        if unsaid.is_empty() {
            wakes.is_unsaid.notified().await;
            continue;
        }
        unsaid.process.clone_from(&wakes.process);
        let Ok(text) = serde_json::to_string(&unsaid) else { continue };
        if let Err(error) = notify(&pool, &text).await {
            tracing::debug!(%error, "other processes were not told; they look again by themselves");
        }
    }
}

async fn notify(pool: &PgPool, text: &str) -> Result<(), sqlx::Error> {
    let mut held = pool.begin().await?;
    // Nothing is lost with it, and waiting for the disk would hold up the commits of others.
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *held).await?;
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(text).execute(&mut *held).await?;
    held.commit().await
}

/// Hears what other processes say, with a connection of its own; connects again when it is lost.
async fn listen(wakes: std::sync::Weak<Wakes>, pool: PgPool) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            loop {
                let heard = listener.try_recv().await;
                let Some(wakes) = wakes.upgrade() else { return };
                match heard {
                    Ok(Some(heard)) => {
                        let Ok(said) = serde_json::from_str::<Unsaid>(heard.payload()) else { continue };
                        if said.process != wakes.process {
                            said.wakes().into_iter().for_each(|wake| wakes.tell_here(wake));
                        }
                    }
                    // The connection was lost for a while, and with it who knows what.
                    Ok(None) => {
                        for wake in [Wake::Changed(Vec::new()), Wake::Wanted, Wake::Work] {
                            wakes.tell_here(wake);
                        }
                    }
                    Err(_) => break,
                }
            }
        }
        if wakes.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(limits::POLL).await;
    }
}
