//! The database goes away again and again while jobs come in: callers are told, nothing is lost, no process ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::{Kind, LOOK, PATIENCE, Server, Service, World};
use super::shapes::all;

/// Times that the database goes away.
const OUTAGES: usize = 4;
/// How long it stays away, and how long it is there between.
const AWAY: Duration = Duration::from_millis(1_500);
const BACK: Duration = Duration::from_millis(1_500);
/// Callers, each with one job at a time.
const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_again_and_again_loses_nothing() {
    let mut server = Server::new(Kind::Postgres).await;
    let shapes: Vec<_> = all().into_iter().filter(|shape| shape.answer.is_none()).collect();
    let world = World::new(&server, &shapes, Duration::from_millis(20), "lease: 3s").await;
    let mut services = [world.start(), world.start()];
    let is_over = AtomicBool::new(false);
    let (n_refused, n_taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = async |caller: usize| {
        let mut accepted = Vec::new();
        for n in 0_usize.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let (shape, service) = (&shapes[n % shapes.len()], &services[(n + caller) % 2]);
            let question = format!("what is {caller} {n}");
            let body = json!({ "flow": shape.name, "inputs": (shape.inputs)(&question) });
            let key = format!("{caller} {n}");
            // As a caller does it: the same request, until it is taken.
            loop {
                let answer = service.post("/v1/jobs", &body, Some(&key)).await.expect("no process ends");
                match answer.status {
                    200 | 202 => {
                        accepted.push((answer.body["id"].as_str().unwrap().to_owned(), shape, question));
                        n_taken.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    503 => {
                        assert!(answer.retry_after.is_some(), "{answer:?}");
                        n_refused.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => panic!("{answer:?}"),
                }
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        accepted
    };
    let outages = async {
        let Server::Postgres(postgres) = &mut server else { unreachable!() };
        for _ in 0..OUTAGES {
            tokio::time::sleep(BACK).await;
            postgres.stop();
            tokio::time::sleep(AWAY).await;
            let ready = services[0].get("/readyz").await.expect("no process ends");
            assert_eq!(ready.status, 503, "{ready:?}");
            postgres.begin_again().await;
        }
        tokio::time::sleep(BACK).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (accepted, ()) = tokio::join!(futures::future::join_all((0..CALLERS).map(call)), outages);
    let mut ids = std::collections::BTreeSet::new();
    for (id, shape, question) in accepted.iter().flatten() {
        let job = ended(&services[0], id).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        assert_eq!(job["outputs"], (shape.outputs)(question), "{job}");
        assert!(ids.insert(id.clone()), "two requests got one job: {id}");
    }
    for service in &mut services {
        assert_eq!(service.has_ended(), None);
    }
    println!(
        "{OUTAGES} outages: {} jobs taken and ended, {} requests told to come back",
        n_taken.load(Ordering::Relaxed),
        n_refused.load(Ordering::Relaxed)
    );
    assert!(n_refused.load(Ordering::Relaxed) > 0);
}

async fn ended(service: &Service, id: &str) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        if let Some(job) = service.job(id).await
            && !matches!(job["status"].as_str(), Some("queued" | "running" | "waiting"))
        {
            return job;
        }
        assert!(begun.elapsed() < PATIENCE, "{id} does not end");
        tokio::time::sleep(LOOK).await;
    }
}
