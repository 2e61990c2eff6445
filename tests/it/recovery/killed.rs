//! The process is killed at a place, started again, and every job ends as if nothing had been.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::harness::{Kind, LOOK, PATIENCE, Server, Service, World};
use super::shapes::{Shape, all};

/// Places at which the process ends: before, after, and after with the answer lost on its way.
const POINTS: [&str; 10] = [
    "store::commit_before",
    "store::commit_after",
    "store::submit",
    "store::journal",
    "store::end",
    "store::park",
    "runner::claimed",
    "runner::before_end",
    "runner::before_park",
    "runner::closed",
];
/// How often a place is passed before the process ends there.
const TIMES: [usize; 3] = [0, 2, 5];

/// Waits for a job to end, answers what it asks, and starts the service again whenever it is gone.
async fn to_its_end(world: &World, service: &mut Service, shape: &Shape, question: &str, key: &str) -> Json {
    let begun = Instant::now();
    let mut id = None;
    loop {
        assert!(begun.elapsed() < PATIENCE, "{}: {question} has not ended", shape.name);
        if service.has_ended().is_some() {
            *service = world.start();
        }
        let Some(job) = &id else {
            // The caller never heard of it: asks again with the same key.
            id = service.submit(shape, question, key).await;
            continue;
        };
        let Some(found) = service.job(job).await else { continue };
        match (found["status"].as_str().unwrap(), shape.answer) {
            ("waiting", Some(answer)) => {
                // A refusal says that an earlier answer was kept, whose reply was lost.
                service.resume(job, "approve", answer(question)).await;
            }
            ("queued" | "running" | "waiting", _) => {}
            _ => return found,
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Kills the service at `point` while it works on a job of each shape; at how many of them that happened.
async fn kill_at(world: &World, shapes: &[Shape], point: &str) -> usize {
    let mut n_killed = 0;
    for (n, shape) in shapes.iter().enumerate() {
        for times in TIMES {
            let (n_starts, n_lost) = (world.n_starts(), world.n_lost_leases());
            let mut service = world.start_with(&format!("{point}={times}*off->return(exit)"));
            let question = format!("what is {} {times}", ["red", "green", "blue", "black", "white"][n % 5]);
            let before = world.model.asked();
            let key = format!("{point} {times} {n}");
            let job = to_its_end(world, &mut service, shape, &question, &key).await;
            let what = format!("{point} after {times}, {}: {job}", shape.name);
            assert_eq!(job["status"], "succeeded", "{what}");
            assert_eq!(job["outputs"], (shape.outputs)(&question), "{what}");
            let asked: BTreeMap<String, usize> =
                world.model.asked().into_iter().filter(|(key, _)| !before.contains_key(key)).collect();
            assert_eq!(asked.len(), shape.n_calls, "each call has one key: {what}");
            // What was in flight is repeated once for the kill, and once for a lease that a busy machine made it lose.
            let n_most = 2 + (world.n_lost_leases() - n_lost);
            assert!(asked.values().all(|n_asked| *n_asked <= n_most), "{what}: {asked:?}, at most {n_most}");
            recorded_once(&service, &job, &what).await;
            if world.n_starts() > n_starts + 1 {
                n_killed += 1;
            }
            service.kill();
        }
    }
    n_killed
}

/// Every attempt has one end in the journal.
pub(super) async fn recorded_once(service: &Service, job: &Json, what: &str) {
    let id = job["id"].as_str().unwrap();
    let Some(page) = service.get(&format!("/v1/jobs/{id}/events?limit=1000")).await else { panic!("{what}") };
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for event in page.body["events"].as_array().unwrap_or_else(|| panic!("{page:?}")) {
        if event["type"] == "node_ended" {
            *ends.entry(format!("{} {}", event["node"], event["attempt"])).or_default() += 1;
        }
    }
    assert!(ends.values().all(|n| *n == 1), "{what}: {ends:?}");
}

/// Kills at all places, each in a world of its own, side by side: on a server they mostly wait for a lease to end.
async fn kill_everywhere(kind: Kind) {
    let shapes = all();
    let server = Server::new(kind).await;
    // A file tells the next process at once that nobody else is there, however long the lease.
    let lease = match kind {
        Kind::Sqlite => "lease: 2m",
        Kind::Postgres => "lease: 2s",
    };
    let killed = POINTS.map(async |point| {
        let world = World::new(&server, &shapes, Duration::from_millis(4), lease).await;
        (point, kill_at(&world, &shapes, point).await)
    });
    let killed = futures::future::join_all(killed).await;
    let n_killed: usize = killed.iter().map(|(_, n)| n).sum();
    println!(
        "{kind:?}: killed {n_killed} times at {} places, {} flows: {killed:?}",
        POINTS.len(),
        shapes.len()
    );
    // Not every flow passes every place that often: a chain never parks.
    assert!(killed.iter().all(|(_, n)| *n > 0), "every place is reached: {killed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_on_a_file_every_job_ends_as_if_nothing_had_been() {
    kill_everywhere(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_on_a_server_every_job_ends_as_if_nothing_had_been() {
    kill_everywhere(Kind::Postgres).await;
}
