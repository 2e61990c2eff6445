//! Jobs on a store in memory or in a file: what they come to, wherever and however often their workers stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::event::Event;
use anabranch_engine::testing;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{Live, Options, Runner};
use crate::flows::{Flows, Given, Ready};
use crate::job::{Idempotency, Job, NewJob, Request, Status, Submitted, new_id};
use crate::store::{self, Answer, Answered, At, CancelAsked, Store};

mod spreads;
mod stops;

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store with runners on it.
struct World {
    store: Store,
    flows: Flows,
}

fn quick() -> Options {
    Options { slots: 8, lease: Duration::from_secs(2), spread: None, ..Options::default() }
}

impl World {
    async fn new() -> Self {
        Self::at(At::Memory).await
    }

    async fn at(at: At) -> Self {
        let options = store::Options::new(at);
        let store = Store::open(options, true).await.unwrap();
        let flows = Flows::new(store.clone(), Arc::new(testing::registry()), Arc::new(|| None));
        Self { store, flows }
    }

    async fn runner(&self, options: Options) -> Runner {
        let resources = Arc::new(testing::resources());
        let runner = Runner::start(self.store.clone(), self.flows.clone(), resources, options).await.unwrap();
        // From its first claim on it knows that nothing is queued, and begins what it is given at once.
        runner.settled().await;
        runner
    }

    async fn flow(&self, yaml: &str) -> Ready {
        let given = Given { flow: yaml.to_owned(), ..Given::default() };
        self.flows.sent_along("t", given).await.unwrap()
    }

    async fn job(&self, id: &str) -> Job {
        self.store.job(Some("t"), id).await.unwrap().unwrap()
    }

    /// The job once it is as `is_so` says.
    async fn job_when(&self, id: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        let begun = Instant::now();
        loop {
            let job = self.job(id).await;
            if is_so(&job) {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "the job is {job:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Names of the journaled events, with the scopes of attempts.
    async fn events(&self, id: &str) -> Vec<String> {
        let records = self.store.records(id, 0, 10_000).await.unwrap();
        let name = |event: &Event| match event {
            Event::AttemptEnded { scope, .. } => format!("ended {scope}"),
            other => serde_json::to_value(other).unwrap()["event"].as_str().unwrap().to_owned(),
        };
        records.iter().map(|(_, record)| name(&record.event)).collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handy in tests")]
fn job(flow: &Ready, inputs: Value) -> NewJob {
    let now = super::now_ms();
    NewJob {
        id: new_id("job"),
        tenant: "t".to_owned(),
        flow: flow.name.clone(),
        hash: flow.hash.clone(),
        request: Request { inputs: inputs.as_object().unwrap().clone(), cache: true, ..Request::default() },
        created_ms: now,
        run_at_ms: now,
        labels: BTreeMap::new(),
        ..NewJob::default()
    }
}

/// Work after work, each of `delay_ms`.
fn chain(delay_ms: u64) -> String {
    format!(
        "flow: chain\ninputs: {{ n: int }}\nnodes:\n  \
        a: {{ op: test.work, in: {{ a: inputs.n }}, with: {{ delay_ms: {delay_ms} }} }}\n  \
        b: {{ op: test.work, in: {{ a: a.value }}, with: {{ delay_ms: {delay_ms} }} }}\n  \
        c: {{ op: test.work, in: {{ a: b.value }}, with: {{ delay_ms: {delay_ms} }} }}\n\
        outputs: {{ value: c.value }}\n"
    )
}

const WAITS: &str = "flow: waits\ninputs: { n: int }\nnodes:\n  \
    a: { op: test.work, in: { a: inputs.n } }\n  \
    approve: { wait: { for: int, about: How many?, deadline: 1h }, in: { draft: a.value } }\n  \
    b: { op: test.work, in: { a: approve.value } }\n\
    outputs: { value: b.value, answered: approve.answered }\n";

#[tokio::test]
async fn a_submitted_job_begins_at_once_and_its_end_is_given_with_one_wait() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(0)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    let (submitted, done) = runner.submit_and_wait(new, &flow, PATIENCE).await.unwrap();
    assert_eq!(submitted, Submitted::New);
    let done = done.unwrap();
    assert_eq!(done.status, Status::Succeeded);
    assert_eq!(done.progress.nodes_ended, 3);
    let kept = world.job(&id).await;
    assert_eq!((kept.status, kept.outputs, kept.epoch), (done.status, done.outputs, 1));
    assert_eq!(world.events(&id).await, ["run_started", "ended a", "ended b", "ended c"]);
}

#[tokio::test]
async fn a_job_without_a_free_place_is_queued_and_claimed_later() {
    let world = World::new().await;
    let runner = world.runner(Options { slots: 1, ..quick() }).await;
    let flow = world.flow(&chain(20)).await;
    let jobs: Vec<NewJob> = (0..4).map(|n| job(&flow, json!({ "n": n }))).collect();
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    for job in jobs {
        assert_eq!(runner.submit(job, &flow).await.unwrap(), Submitted::New);
    }
    assert_eq!(runner.load().running, 1);
    for id in &ids {
        let done = runner.wait("t", id, PATIENCE).await.unwrap().unwrap();
        assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    }
}

#[tokio::test]
async fn a_request_that_was_made_before_begins_nothing() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(0)).await);
    let key = |hash: &str| {
        Some(Idempotency { endpoint: "POST /jobs".into(), key: "k".into(), body_hash: hash.into() })
    };
    let first = NewJob { idempotency: key("1"), ..job(&flow, json!({ "n": 1 })) };
    let id = first.id.clone();
    runner.submit_and_wait(first, &flow, PATIENCE).await.unwrap();
    let twin = NewJob { idempotency: key("1"), ..job(&flow, json!({ "n": 1 })) };
    let twin_id = twin.id.clone();
    let (submitted, done) = runner.submit_and_wait(twin, &flow, PATIENCE).await.unwrap();
    assert_eq!(submitted, Submitted::Before(id.clone()));
    assert_eq!(done.unwrap().id, id);
    assert_eq!(world.store.job(None, &twin_id).await.unwrap(), None);
    let other = NewJob { idempotency: key("2"), ..job(&flow, json!({ "n": 2 })) };
    assert_eq!(runner.submit(other, &flow).await.unwrap(), Submitted::OtherBody);
}

#[tokio::test]
async fn a_failed_node_fails_the_job_with_where_and_why() {
    let world = World::new().await;
    let runner = world.runner(quick()).await;
    let yaml = "flow: f\nnodes:\n  a: { op: test.work, with: { fail_times: 9, fail: rejected } }\noutputs: { v: a.value }\n";
    let flow = world.flow(yaml).await;
    let (_, done) = runner.submit_and_wait(job(&flow, json!({})), &flow, PATIENCE).await.unwrap();
    let done = done.unwrap();
    let error = done.error.unwrap();
    assert_eq!(done.status, Status::Failed);
    assert_eq!((error.kind.as_str(), error.code.as_str(), error.retryable), ("failed", "rejected", false));
    assert_eq!((error.scope.as_deref(), error.attempt), (Some("a"), Some(1)));
    assert_eq!(done.outputs.unwrap(), Map::new());
}

#[tokio::test]
async fn a_job_is_cancelled_at_once_and_nothing_starts_afterwards() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(60_000)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    runner.submit(new, &flow).await.unwrap();
    let asked = Instant::now();
    assert_eq!(world.store.cancel("t", &id, true).await.unwrap(), CancelAsked::Asked);
    let done = world.job_when(&id, |job| job.status.is_final()).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((done.status, done.error.unwrap().code.as_str()), (Status::Cancelled, "cancelled"));
    assert_eq!(world.events(&id).await, ["run_started", "cancel_requested"]);
}

#[tokio::test]
async fn a_graceful_cancel_lets_what_is_in_flight_end() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(300)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    runner.submit(new, &flow).await.unwrap();
    world.store.cancel("t", &id, false).await.unwrap();
    let done = world.job_when(&id, |job| job.status.is_final()).await;
    assert_eq!(done.status, Status::Cancelled);
    assert_eq!(world.events(&id).await, ["run_started", "ended a", "cancel_requested"]);
    assert_eq!(done.progress.nodes_ended, 1);
}

#[tokio::test]
async fn a_job_whose_deadline_passes_has_timed_out() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(60_000)).await);
    let late = NewJob { deadline_ms: Some(super::now_ms() + 100), ..job(&flow, json!({ "n": 1 })) };
    let (_, done) = runner.submit_and_wait(late, &flow, PATIENCE).await.unwrap();
    let done = done.unwrap();
    assert_eq!((done.status, done.error.unwrap().code.as_str()), (Status::TimedOut, "timed_out"));
}

#[tokio::test]
async fn a_job_that_finds_no_place_before_its_deadline_has_timed_out() {
    let world = World::new().await;
    let runner = world.runner(Options { slots: 1, ..quick() }).await;
    let flow = world.flow(&chain(60_000)).await;
    runner.submit(job(&flow, json!({ "n": 1 })), &flow).await.unwrap();
    let late = NewJob { deadline_ms: Some(super::now_ms() + 50), ..job(&flow, json!({ "n": 2 })) };
    let id = late.id.clone();
    let (_, done) = runner.submit_and_wait(late, &flow, PATIENCE).await.unwrap();
    let done = done.unwrap();
    assert_eq!((done.status, done.error.unwrap().code.as_str()), (Status::TimedOut, "timed_out"));
    assert_eq!(world.events(&id).await, [] as [String; 0]);
}

#[tokio::test]
async fn nothing_of_a_job_begins_after_its_deadline() {
    let world = World::new().await;
    let flow = world.flow(&chain(0)).await;
    let late = NewJob { deadline_ms: Some(super::now_ms() - 1), ..job(&flow, json!({ "n": 1 })) };
    let id = late.id.clone();
    let runner = world.runner(quick()).await;
    // Begun at once: nobody looks for its deadline but its own worker.
    let (_, done) = runner.submit_and_wait(late, &flow, PATIENCE).await.unwrap();
    let done = done.unwrap();
    assert_eq!((done.status, done.error.unwrap().code.as_str()), (Status::TimedOut, "timed_out"));
    assert!(!world.events(&id).await.iter().any(|event| event.starts_with("ended")));
}

#[tokio::test]
async fn a_job_that_waits_is_held_by_nobody_until_it_is_answered() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(WAITS).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    let (_, parked) = runner.submit_and_wait(new, &flow, PATIENCE).await.unwrap();
    let parked = parked.unwrap();
    assert_eq!(parked.status, Status::Waiting);
    assert_eq!((parked.waits[0].wait.as_str(), parked.waits[0].ty.as_str()), ("approve", "int"));
    // Free slots are held for a moment by whoever looks for jobs to claim.
    let is_free = async {
        while runner.load().running > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_free).await.unwrap();
    let answer = Answer { wait: "approve".into(), value: json!(7), by: Some("me".into()) };
    assert_eq!(world.store.answer("t", &id, &answer).await.unwrap(), Answered::Taken);
    assert_eq!(world.store.answer("t", &id, &answer).await.unwrap(), Answered::Before);
    let done = world.job_when(&id, |job| job.status.is_final()).await;
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    assert_eq!(done.outputs.unwrap()["answered"], json!(true));
    assert_eq!(
        world.events(&id).await,
        ["run_started", "ended a", "wait_opened", "taken_up", "wait_answered", "ended b"]
    );
}

#[tokio::test]
async fn a_wait_past_its_deadline_goes_on_with_its_default() {
    let world = World::new().await;
    let runner = world.runner(quick()).await;
    let flow = world.flow(&WAITS.replace("deadline: 1h", "deadline: 100ms, default: 3")).await;
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    runner.submit(new, &flow).await.unwrap();
    let done = world.job_when(&id, |job| job.status.is_final()).await;
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    assert_eq!(done.outputs.unwrap()["answered"], json!(false));
}

#[tokio::test]
async fn who_watches_a_job_hears_what_happens_until_it_has_left() {
    let world = World::new().await;
    let (runner, flow) = (world.runner(quick()).await, world.flow(&chain(100)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    runner.submit(new, &flow).await.unwrap();
    let mut live = runner.hear(&id).unwrap().live;
    let (mut n_notices, mut last) = (0, None);
    loop {
        match tokio::time::timeout(PATIENCE, live.recv()).await.unwrap().unwrap() {
            Live::Said(_) => n_notices += 1,
            Live::Journaled(seq) => last = last.max(Some(seq)),
            Live::Came | Live::Missed(_) => {}
            Live::Left => break,
        }
    }
    assert!(n_notices >= 4, "{n_notices}");
    assert!(last >= Some(1), "{last:?}");
    assert!(runner.hear(&id).is_none());
    assert!(world.job(&id).await.status.is_final());
}
