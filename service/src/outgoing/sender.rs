//! The task that sends deliveries: claims what is due, sends it, keeps what came of it.
//!
//! Any number of processes may do this at once. What one of them had in flight when it died is due again once its
//! claim has run out; a receiver may thus get a message twice, with the same `webhook-id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::egress::Guard;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::post::{Outcome, Post, TIMEOUT};
use super::{Clock, backoff, message, signature, system_clock};
use crate::metrics::Metrics;
use crate::store::{Due, Sent, Store, StoreError};

/// Attempts that are in flight at once.
const IN_FLIGHT_MAX: usize = 32;
/// Of these, to one webhook: a slow one does not hold up the others.
const IN_FLIGHT_OF_ONE: usize = 4;
/// Deliveries that are claimed at once: few, so that a webhook with a long backlog gets little more than its share.
const CLAIM_MAX: usize = 8;
/// How often one looks for what is due.
const POLL: Duration = Duration::from_secs(1);
/// How long a claim holds: an attempt with all that is written around it.
const LEASE: Duration = Duration::from_mins(1);
/// How long deliveries are kept after they were taken or given up.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// How often old deliveries are looked for, and how many are forgotten at once.
const PRUNE: (Duration, u32) = (Duration::from_mins(10), 1_000);

/// How deliveries are sent.
#[derive(Clone)]
pub struct Options {
    /// Who claims them: the worker's id.
    pub owner: String,
    /// Where they may go.
    pub guard: Guard,
    /// Where the API is found from outside, for links; may be empty.
    pub base: String,
    /// Tells the time.
    pub clock: Clock,
    /// Spreads what failed together, from `0.0` to `1.0`.
    pub chance: fn() -> f64,
    /// Where attempts are counted.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// As usual: by the clock of this machine.
    pub fn new(owner: impl Into<String>, guard: Guard, base: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            guard,
            base: base.into(),
            clock: system_clock(),
            chance: fastrand::f64,
            metrics: Arc::default(),
        }
    }
}

/// Sends deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Parts>);

struct Parts {
    store: Store,
    post: Post,
    options: Options,
}

impl Sender {
    /// A sender of what `store` holds.
    pub fn new(store: Store, options: Options) -> Self {
        let post = Post::new(options.guard.clone());
        Self(Arc::new(Parts { store, post, options }))
    }

    /// Sends what is due until `stop`; what is in flight then is left to its bound.
    pub async fn run(self, stop: CancellationToken) {
        // Tasks, which go on by themselves: an attempt that was handed the only connection while nobody polls it would
        // keep everybody from it, the look for more that is waited for here first of all.
        let mut flight = JoinSet::<String>::new();
        // How many attempts are in flight to each webhook.
        let mut busy: BTreeMap<String, usize> = BTreeMap::new();
        // Whether the last look found as much as it could take: then there is a next one as soon as there is a place.
        let mut has_more = false;
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut prune = tokio::time::interval(PRUNE.0);
        prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = flight.join_next(), if !flight.is_empty() => {
                    match ended {
                        Ok(hook) => release(&mut busy, &hook),
                        Err(error) => tracing::error!(%error, "an attempt at a webhook broke off"),
                    }
                    if !has_more {
                        continue;
                    }
                }
                _ = poll.tick() => {}
                _ = prune.tick() => {
                    self.prune().await;
                    continue;
                }
            }
            let room = IN_FLIGHT_MAX.saturating_sub(flight.len());
            if room == 0 {
                continue;
            }
            match self.claim(room, &busy).await {
                Ok(claimed) => {
                    has_more = claimed.len() >= room.min(CLAIM_MAX);
                    for due in claimed {
                        *busy.entry(due.delivery.webhook_id.clone()).or_default() += 1;
                        let sender = self.clone();
                        flight.spawn(async move {
                            let hook = due.delivery.webhook_id.clone();
                            sender.attempt(due).await;
                            hook
                        });
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot look for webhooks to send"),
            }
        }
        drop(tokio::time::timeout(TIMEOUT, async { while flight.join_next().await.is_some() {} }).await);
    }

    /// Sends all that is due now, and says how much that was.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let due = self.claim(IN_FLIGHT_MAX, &BTreeMap::new()).await?;
        let n = due.len();
        futures::future::join_all(due.into_iter().map(|due| self.attempt(due))).await;
        Ok(n)
    }

    async fn claim(&self, room: usize, busy: &BTreeMap<String, usize>) -> Result<Vec<Due>, StoreError> {
        let Parts { store, options, .. } = &*self.0;
        let full: Vec<String> =
            busy.iter().filter(|(_, n)| **n >= IN_FLIGHT_OF_ONE).map(|(hook, _)| hook.clone()).collect();
        let (now, lease) = ((options.clock)(), ms(LEASE));
        let limit = u32::try_from(room.min(CLAIM_MAX)).unwrap_or(1);
        store.claim_deliveries(&options.owner, now, lease, limit, &full).await
    }

    /// Makes one attempt and keeps what came of it.
    async fn attempt(&self, mut due: Due) {
        let Parts { store, options, .. } = &*self.0;
        let sent = self.send(&mut due).await;
        options.metrics.webhook(match &sent {
            Sent::Delivered(_) => "delivered",
            Sent::Failed { next_ms: Some(_), .. } => "failed",
            Sent::Failed { next_ms: None, .. } => "given_up",
        });
        let now = (options.clock)();
        if let Sent::Failed { why, next_ms: None, .. } = &sent {
            tracing::warn!(delivery = %due.delivery.id, webhook = %due.delivery.webhook_id, %why, "a webhook is given up");
        }
        // If this cannot be kept the claim runs out, and the message is sent once more.
        if let Err(error) = store.sent(&due, &options.owner, &sent, now).await {
            tracing::warn!(%error, delivery = %due.delivery.id, "cannot keep what came of a webhook");
        }
    }

    async fn send(&self, due: &mut Due) -> Sent {
        let Parts { store, post, options } = &*self.0;
        if !due.is_enabled {
            return Sent::Failed {
                status: None,
                why: "the webhook is switched off".to_owned(),
                next_ms: None,
            };
        }
        let attempt = usize::try_from(due.delivery.attempts).unwrap_or(usize::MAX);
        let again = |retry_after| {
            let wait = backoff::wait_after(attempt, (options.chance)(), retry_after)?;
            Some((options.clock)().saturating_add(ms(wait)))
        };
        match self.body(due).await {
            Ok(true) => {}
            Ok(false) => {
                let why = "the job was deleted before its event was sent".to_owned();
                return Sent::Failed { status: None, why, next_ms: None };
            }
            Err(error) => {
                return Sent::Failed { status: None, why: error.to_string(), next_ms: again(None) };
            }
        }
        let delivery = &due.delivery;
        let secrets: Vec<&str> = due.secrets.iter().map(String::as_str).collect();
        let sent_at = (options.clock)().div_euclid(1000);
        let headers = match signature::headers(&delivery.id, sent_at, &delivery.body, &secrets) {
            Ok(headers) => headers,
            Err(error) => return Sent::Failed { status: None, why: error.to_string(), next_ms: None },
        };
        match post.send(&delivery.url, &headers, delivery.body.clone()).await {
            Outcome::Taken(status) => Sent::Delivered(status),
            Outcome::Gone(status) => {
                let why = format!("status {status}: the receiver wants no more");
                if let Err(error) = store.disable_webhook(&delivery.webhook_id, &why).await {
                    tracing::warn!(%error, webhook = %delivery.webhook_id, "cannot switch a webhook off");
                }
                Sent::Failed { status: Some(status), why, next_ms: None }
            }
            Outcome::Failed { status, why, retry_after } => {
                Sent::Failed { status, why, next_ms: again(retry_after) }
            }
            // The address may be put right, or listed, while there are attempts left.
            Outcome::Refused(why) => Sent::Failed { status: None, why, next_ms: again(None) },
        }
    }

    /// Sees to it that the delivery has its body, which every attempt sends; `false` if there is nothing to make it of.
    async fn body(&self, due: &mut Due) -> Result<bool, StoreError> {
        let Parts { store, options, .. } = &*self.0;
        let delivery = &mut due.delivery;
        if !delivery.body.is_empty() {
            return Ok(true);
        }
        let Some(id) = &delivery.job_id else { return Ok(false) };
        let Some(mut job) = store.job(Some(&delivery.tenant), id).await? else { return Ok(false) };
        if let Some(waits) = &delivery.waits {
            job = message::as_it_waited(job, serde_json::from_str(waits)?);
        }
        let at_ms = job.finished_ms.unwrap_or(delivery.created_ms);
        delivery.body = message::of_job(&delivery.event, &job, at_ms, &options.base);
        store.write_delivery(&delivery.id, &delivery.body).await?;
        Ok(true)
    }

    async fn prune(&self) {
        let Parts { store, options, .. } = &*self.0;
        let before = (options.clock)().saturating_sub(ms(KEPT));
        let pruned = async {
            store.prune_deliveries(before, PRUNE.1).await?;
            store.prune_feedback(before, PRUNE.1).await
        };
        if let Err(error) = pruned.await {
            tracing::warn!(%error, "cannot forget old deliveries");
        }
    }
}

fn release(busy: &mut BTreeMap<String, usize>, hook: &str) {
    if let Some(n) = busy.get_mut(hook) {
        *n = n.saturating_sub(1);
        if *n == 0 {
            busy.remove(hook);
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
