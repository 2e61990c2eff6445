//! The task that submits the jobs of schedules when their time has come.
//!
//! Any number of processes may do this at once. A firing is submitted with a key of its own (the schedule and the time
//! that it was due), so however many see it, and however often, it is one job; then the schedule moves on from exactly
//! that time. A process that dies between the two leaves a schedule that is still due, and the next one finds the job.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Rule;
use crate::outgoing::Clock;
use crate::store::{Fired, Schedule, Store, StoreError};

/// How often one looks for what is due.
const POLL: Duration = Duration::from_secs(1);
/// Firings that are looked at in one go.
const DUE_MAX: u32 = 100;
/// How late a firing may be and still count as in time: longer, and nobody was there to see it.
const LATE: Duration = Duration::from_mins(1);
/// How long a firing that cannot be submitted for now is tried again.
const PATIENCE: Duration = Duration::from_hours(1);

/// Why a firing submitted no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub why: String,
    /// Whether the same may go well a little later.
    pub is_passing: bool,
}

/// Submits jobs on behalf of schedules.
#[async_trait]
pub trait Submit: Send + Sync {
    /// Submits the job of `schedule`, once for each `key`; its id.
    async fn submit(&self, schedule: &Schedule, key: &str) -> Result<String, Refused>;
}

/// Fires schedules. Cheap to clone.
#[derive(Clone)]
pub struct Firing {
    store: Store,
    submit: Arc<dyn Submit>,
    clock: Clock,
}

/// The `Idempotency-Key` of the firing of a schedule that was due at `ms`.
pub fn key(schedule: &str, ms: i64) -> String {
    format!("{schedule}:{ms}")
}

impl Firing {
    /// Fires what `store` holds, by `clock`.
    pub fn new(store: Store, submit: Arc<dyn Submit>, clock: Clock) -> Self {
        Self { store, submit, clock }
    }

    /// Fires what is due until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = poll.tick() => {}
            }
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "cannot look for schedules that are due");
            }
        }
    }

    /// Fires all that is due now; how many jobs were submitted.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut n_jobs = 0;
        for schedule in self.store.due_schedules((self.clock)(), DUE_MAX).await? {
            n_jobs += usize::from(self.fire(&schedule).await?);
        }
        Ok(n_jobs)
    }

    /// Fires a schedule that is due; `false` if no job came of it, or another process was first.
    async fn fire(&self, schedule: &Schedule) -> Result<bool, StoreError> {
        let Some(due_ms) = schedule.next_ms else { return Ok(false) };
        let now = (self.clock)();
        let late = Duration::from_millis(now.saturating_sub(due_ms).max(0).unsigned_abs());
        let fired = if late > LATE && !schedule.catch_up {
            Fired::Nothing("nobody was there when it was due, and it is not to be made up for".to_owned())
        } else {
            match self.submit.submit(schedule, &key(&schedule.id, due_ms)).await {
                Ok(job) => Fired::Job(job),
                Err(refused) if refused.is_passing && late < PATIENCE => {
                    tracing::warn!(schedule = %schedule.id, why = %refused.why, "a schedule is fired again soon");
                    return Ok(false);
                }
                Err(refused) => {
                    tracing::warn!(schedule = %schedule.id, why = %refused.why, "a schedule submitted no job");
                    Fired::Nothing(refused.why)
                }
            }
        };
        // From now on, not from when it was due: of many that were missed, one is made up for.
        let next_ms = match Rule::parse(&schedule.cron, &schedule.zone) {
            Ok(rule) => rule.next_after(now.max(due_ms)),
            Err(error) => {
                tracing::error!(schedule = %schedule.id, %error, "a schedule is paused");
                None
            }
        };
        let is_first = self.store.schedule_fired(&schedule.id, due_ms, next_ms, &fired).await?;
        Ok(is_first && matches!(fired, Fired::Job(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crate::outgoing::Clock;
    use crate::store::{At, Options, ScheduleChange, SchedulePut};

    /// Takes jobs by their key, or refuses.
    #[derive(Default)]
    struct Jobs {
        keys: Mutex<Vec<String>>,
        refuse: Mutex<Option<Refused>>,
    }

    #[async_trait]
    impl Submit for Jobs {
        async fn submit(&self, _: &Schedule, key: &str) -> Result<String, Refused> {
            if let Some(refused) = self.refuse.lock().unwrap().clone() {
                return Err(refused);
            }
            self.keys.lock().unwrap().push(key.to_owned());
            Ok(format!("job of {key}"))
        }
    }

    struct World {
        store: Store,
        jobs: Arc<Jobs>,
        now: Arc<AtomicI64>,
    }

    impl World {
        async fn new(cron: &str, catch_up: bool) -> Self {
            let store = Store::open(Options::new(At::Memory), true).await.unwrap();
            let schedule = Schedule {
                id: "sch_1".into(),
                tenant: "t".into(),
                name: "nightly".into(),
                cron: cron.into(),
                zone: "UTC".into(),
                request: serde_json::json!({ "flow": "qa" }),
                catch_up,
                next_ms: Rule::parse(cron, "UTC").unwrap().next_after(0),
                last_ms: None,
                last_job: None,
                last_error: None,
                created_ms: 0,
                created_by: None,
            };
            assert_eq!(store.put_schedule(&schedule).await.unwrap(), SchedulePut::Done);
            assert_eq!(store.put_schedule(&schedule).await.unwrap(), SchedulePut::NameTaken);
            Self { store, jobs: Arc::default(), now: Arc::default() }
        }

        fn process(&self) -> Firing {
            let now = self.now.clone();
            let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
            Firing::new(self.store.clone(), self.jobs.clone(), clock)
        }

        fn at(&self, minutes: i64) {
            self.now.store(minutes * 60_000, Ordering::Relaxed);
        }

        async fn schedule(&self) -> Schedule {
            self.store.schedule("t", "sch_1").await.unwrap().unwrap()
        }

        fn keys(&self) -> Vec<String> {
            self.jobs.keys.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn a_schedule_fires_at_its_time_and_once_however_many_processes_see_it() {
        let world = World::new("*/10 * * * *", true).await;
        let (one, two) = (world.process(), world.process());
        world.at(9);
        assert_eq!(one.round().await.unwrap(), 0);
        world.at(10);
        let (a, b) = tokio::join!(one.round(), two.round());
        assert_eq!(a.unwrap() + b.unwrap(), 1);
        let keys: BTreeSet<String> = world.keys().into_iter().collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["sch_1:600000"]);
        let schedule = world.schedule().await;
        assert_eq!((schedule.next_ms, schedule.last_ms), (Some(20 * 60_000), Some(10 * 60_000)));
        assert_eq!(schedule.last_job.as_deref(), Some("job of sch_1:600000"));
    }

    #[tokio::test]
    async fn of_many_firings_that_were_missed_one_is_made_up_for() {
        let world = World::new("*/10 * * * *", true).await;
        world.at(95);
        assert_eq!(world.process().round().await.unwrap(), 1);
        assert_eq!(world.process().round().await.unwrap(), 0);
        assert_eq!(world.schedule().await.next_ms, Some(100 * 60_000));
    }

    #[tokio::test]
    async fn none_is_made_up_for_where_that_is_not_wanted() {
        let world = World::new("*/10 * * * *", false).await;
        world.at(95);
        assert_eq!(world.process().round().await.unwrap(), 0);
        let schedule = world.schedule().await;
        assert!(schedule.last_error.unwrap().contains("nobody was there"));
        world.at(100);
        assert_eq!(world.process().round().await.unwrap(), 1, "in time again");
        assert_eq!(world.schedule().await.last_error, None);
    }

    #[tokio::test]
    async fn a_firing_that_is_refused_for_now_is_tried_again_and_one_that_is_wrong_is_told() {
        let world = World::new("*/10 * * * *", true).await;
        let refuse = |is_passing| {
            let refused = Refused { why: "there is no flow `qa`".into(), is_passing };
            *world.jobs.refuse.lock().unwrap() = Some(refused);
        };
        world.at(10);
        refuse(true);
        assert_eq!(world.process().round().await.unwrap(), 0);
        assert_eq!(world.schedule().await.next_ms, Some(10 * 60_000), "still due");
        refuse(false);
        assert_eq!(world.process().round().await.unwrap(), 0);
        let schedule = world.schedule().await;
        assert_eq!(schedule.last_error.as_deref(), Some("there is no flow `qa`"));
        assert_eq!(schedule.next_ms, Some(20 * 60_000));
    }

    #[tokio::test]
    async fn a_schedule_that_is_paused_does_not_fire() {
        let world = World::new("*/10 * * * *", true).await;
        let pause = ScheduleChange { next_ms: Some(None), ..ScheduleChange::default() };
        assert_eq!(world.store.change_schedule("t", "sch_1", &pause).await.unwrap(), SchedulePut::Done);
        assert_eq!(world.store.change_schedule("u", "sch_1", &pause).await.unwrap(), SchedulePut::Nothing);
        world.at(95);
        assert_eq!(world.process().round().await.unwrap(), 0);
        assert!(world.keys().is_empty());
    }
}
