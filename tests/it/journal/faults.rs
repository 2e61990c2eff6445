//! The database goes away: nothing acknowledged is lost, new jobs are refused meanwhile, and it goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anabranch::store::{Store, StoreError};

use super::jobs::{claimed, ended, job, succeeded};
use crate::stores::postgres::Postgres;

/// Submits and journals until it is told to stop; the ids of jobs whose end was acknowledged.
async fn load(store: Store, name: usize, is_over: Arc<AtomicBool>, refused: Arc<AtomicUsize>) -> Vec<String> {
    let mut done = Vec::new();
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("job_{name}_{n}");
        n += 1;
        match store.submit(claimed(&id)).await {
            Ok(_) => {}
            Err(StoreError::Unavailable(_)) => {
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        let receipts = [0, 1, 2].map(|seq| store.append(&id, 1, &[ended(seq, &id)]));
        let end = store.end(&id, 1, succeeded(&id));
        for receipt in receipts {
            receipt.await.unwrap();
        }
        end.await.unwrap();
        done.push(id);
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_crashes_again_and_again_under_load() {
    let mut server = Postgres::start().await;
    let store = super::database(&server, "crashes").await;
    let (is_over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let loads: Vec<_> = (0..8)
        .map(|name| tokio::spawn(load(store.clone(), name, is_over.clone(), refused.clone())))
        .collect();
    for _ in 0..3 {
        let before = store.writing().entries;
        until("entries are committed", async || store.writing().entries > before + 200).await;
        server.stop();
        until("it is known to be away", async || store.writing().is_away).await;
        assert!(matches!(store.submit(job("job_refused")).await, Err(StoreError::Unavailable(_))));
        assert!(store.ready().await.is_err());
        server.begin_again().await;
        until("it is ready again", async || store.ready().await.is_ok()).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut n = 0;
    for load in loads {
        for id in load.await.unwrap() {
            n += 1;
            let found = store.job(None, &id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost"));
            assert_eq!(found.outputs.unwrap()["answer"], id.as_str());
            assert_eq!(store.records(&id, 0, 10).await.unwrap().len(), 3, "{id}");
        }
    }
    println!("{n} jobs, {} refused while it was away", refused.load(Ordering::Relaxed));
    assert!(n > 50, "{n}");
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn other_processes_are_told_what_happens() {
    let server = Postgres::start().await;
    let (one, other) = (super::database(&server, "wakes").await, super::open(&server, "wakes").await);
    // The one that listens may not listen yet; what is said before it does is not for it.
    for n in 0..300 {
        let id = format!("job_{n}");
        one.submit(job(&id)).await.unwrap();
        let mut changes = other.follow(&id);
        one.cancel("t", &id, true).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(100), changes.changed()).await.is_ok() {
            return;
        }
    }
    panic!("never told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_claim_at_once_never_get_the_same_job() {
    let server = Postgres::start().await;
    let store = super::database(&server, "claims").await;
    let other = super::open(&server, "claims").await;
    for n in 0..200 {
        let tenant = if n % 4 == 0 { "small" } else { "flood" };
        let new = anabranch::job::NewJob { tenant: tenant.into(), ..job(&format!("job_{n:03}")) };
        store.submit(new).await.unwrap();
    }
    let claims = (0..8).map(|worker| {
        let store = if worker % 2 == 0 { store.clone() } else { other.clone() };
        tokio::spawn(async move {
            let mut ids = Vec::new();
            loop {
                let claimed = store.claim(&format!("w{worker}"), 5).await.unwrap();
                if claimed.is_empty() && store.queue(None).await.unwrap().depth == 0 {
                    return ids;
                }
                ids.extend(claimed.into_iter().map(|job| job.id));
            }
        })
    });
    let mut ids = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        ids.extend(claim.await.unwrap());
    }
    ids.sort();
    assert_eq!(ids, (0..200).map(|n| format!("job_{n:03}")).collect::<Vec<_>>());
}
