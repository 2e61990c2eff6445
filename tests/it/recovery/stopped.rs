//! A process that is stopped for longer than its lease, and one that is killed by a job again and again.

use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::{Kind, LOOK, PATIENCE, Server, Service, World};
use super::shapes::{Shape, all};

/// Waits until the job is as `is_so` says, as `service` sees it.
async fn job_when(service: &Service, id: &str, status: &str) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        if let Some(job) = service.job(id).await {
            if job["status"] == status {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "not {status}: {job}");
        }
        assert!(begun.elapsed() < PATIENCE, "not {status}, and nobody answers");
        tokio::time::sleep(LOOK).await;
    }
}

fn chain() -> Vec<Shape> {
    all().into_iter().filter(|shape| shape.name == "chain").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes() {
    let (server, shapes) = (Server::new(Kind::Postgres).await, chain());
    let chain = &shapes[0];
    let world = World::new(&server, &shapes, Duration::from_millis(300), "lease: 2s").await;
    let stopped = world.start();
    let id = stopped.submit(chain, "what is red", "k").await.unwrap();
    let begun = Instant::now();
    while world.model.n_asked() < 2 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(LOOK).await;
    }
    stopped.signal("-STOP");
    let other = world.start();
    // The first owner wakes while the second works, and again when all is done.
    let begun = Instant::now();
    while other.job(&id).await.is_none_or(|job| job["status"] != "running" || world.model.n_asked() < 3) {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(LOOK).await;
    }
    stopped.signal("-CONT");
    let done = job_when(&other, &id, "succeeded").await;
    assert_eq!(done["outputs"], (chain.outputs)("what is red"));
    super::killed::recorded_once(&other, &done, "stopped past its lease").await;
    let asked = world.model.asked();
    assert_eq!(asked.len(), chain.n_calls);
    assert!(asked.values().all(|n| *n <= 2), "{asked:?}");
    // It is a worker again, under another name.
    other.kill();
    let id = stopped.submit(chain, "what is blue", "l").await.unwrap();
    let done = job_when(&stopped, &id, "succeeded").await;
    assert_eq!(done["outputs"], (chain.outputs)("what is blue"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_every_process_is_set_aside_and_the_others_end() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let server = Server::new(kind).await;
        let mut shapes = chain();
        let poison = Shape {
            name: "poison",
            yaml: shapes[0].yaml.replace("flow: chain", "flow: poison"),
            ..chain().remove(0)
        };
        shapes.push(poison);
        let world = World::new(&server, &shapes, Duration::from_millis(20), "lease: 1s").await;
        let deadly = "runner::begun::poison=return(exit)";
        let mut service = world.start_with(deadly);
        let harmless = service.submit(&shapes[0], "what is red", "harmless").await.unwrap();
        let begun = Instant::now();
        let mut id = None;
        let error = loop {
            assert!(begun.elapsed() < PATIENCE, "{kind:?}: the job goes on and on");
            // It may die before it says where it listens: at a file, it goes on with the job as it starts.
            if service.has_ended().is_some()
                && let Ok(next) = world.try_start(deadly)
            {
                service = next;
            }
            match &id {
                None => id = service.submit(&shapes[1], "what is white", "poison").await,
                Some(id) => {
                    if let Some(job) = service.job(id).await
                        && job["status"] == "failed"
                    {
                        break job["error"].clone();
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        };
        assert_eq!(error["type"], json!("set_aside"), "{kind:?}: {error}");
        let done = job_when(&service, &harmless, "succeeded").await;
        assert_eq!(done["outputs"], (shapes[0].outputs)("what is red"));
        println!("{kind:?}: set aside after {} processes", world.n_starts() - 1);
    }
}
