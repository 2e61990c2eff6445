//! What tenants may have, and what is done by the clock, the same on every database.

use anabranch::job::{NewJob, Progress, Status, Usage};
use anabranch::store::{Store, Tenant, Unended};
use futures::future::join_all;

use super::jobs::{claimed, job, succeeded};

async fn bound(store: &Store, tenant: &str, max_running: u32) {
    let tenant = Tenant { max_running: Some(max_running), ..Tenant::named(tenant) };
    store.put_tenant(&tenant).await.unwrap();
}

async fn queue(store: &Store, tenant: &str, jobs: usize) {
    let submitted = (0..jobs)
        .map(|n| store.submit(NewJob { tenant: tenant.into(), ..job(&format!("job_{tenant}_{n:03}")) }));
    for receipt in submitted.collect::<Vec<_>>() {
        receipt.await.unwrap();
    }
}

pub(super) async fn a_tenant_runs_no_more_than_its_own_bound(store: Store) {
    // Three run already: its bound was set later.
    for id in ["job_1", "job_2", "job_3"] {
        store.submit(claimed(id)).await.unwrap();
    }
    bound(&store, "t", 2).await;
    queue(&store, "t", 5).await;
    let claim = async || store.claim("w2", 8).await.unwrap().len();
    assert_eq!(claim().await, 0, "one too many runs");
    store.end("job_1", 1, succeeded("x")).await.unwrap();
    assert_eq!(claim().await, 0, "as many as may run");
    store.end("job_2", 1, succeeded("x")).await.unwrap();
    assert_eq!(claim().await, 1, "there is room for one");
    bound(&store, "t", 0).await;
    store.end("job_3", 1, succeeded("x")).await.unwrap();
    assert_eq!(claim().await, 0);
    store.put_tenant(&Tenant::named("t")).await.unwrap();
    assert_eq!(claim().await, 4, "without a bound of its own, all");
}

pub(super) async fn workers_that_claim_at_once_keep_a_tenants_bound(store: Store) {
    bound(&store, "t", 3).await;
    queue(&store, "t", 40).await;
    let claims = (0..8).map(|worker| {
        let store = store.clone();
        tokio::spawn(async move { store.claim(&format!("w{worker}"), 5).await.unwrap().len() })
    });
    let taken: usize = join_all(claims).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(taken, 3);
    assert_eq!(store.unended("t").await.unwrap(), Unended { queued: 37, running: 3, waiting: 0 });
}

pub(super) async fn a_tenant_that_nothing_was_said_about_has_all_places(store: Store) {
    queue(&store, "t", 400).await;
    assert_eq!(store.claim("w", 390).await.unwrap().len(), 390);
}

pub(super) async fn tenants_without_room_take_no_place_from_others(store: Store) {
    for n in 0..20 {
        let tenant = format!("full{n:02}");
        bound(&store, &tenant, 0).await;
        queue(&store, &tenant, 1).await;
    }
    queue(&store, "z_free", 2).await;
    let taken = store.claim("w", 8).await.unwrap();
    assert_eq!(taken.iter().map(|job| job.tenant.as_str()).collect::<Vec<_>>(), ["z_free", "z_free"]);
}

pub(super) async fn everything_that_has_not_ended_is_counted(store: Store) {
    let later = store.now_ms().await.unwrap() + 3_600_000;
    store.submit(job("job_now")).await.unwrap();
    store.submit(NewJob { run_at_ms: later, ..job("job_later") }).await.unwrap();
    store.submit(claimed("job_runs")).await.unwrap();
    store.submit(claimed("job_waits")).await.unwrap();
    store.park("job_waits", 1, vec![], Usage::default(), Progress::default()).await.unwrap();
    store.submit(claimed("job_over")).await.unwrap();
    store.end("job_over", 1, succeeded("x")).await.unwrap();
    store.submit(NewJob { tenant: "other".into(), ..job("job_other") }).await.unwrap();
    assert_eq!(store.unended("t").await.unwrap(), Unended { queued: 2, running: 1, waiting: 1 });
    assert_eq!(store.unended("nobody").await.unwrap(), Unended::default());
}

pub(super) async fn what_nobody_works_on_times_out_with_its_deadline(store: Store) {
    let now = store.now_ms().await.unwrap();
    let due = |id: &str, at: i64| NewJob { deadline_ms: Some(at), ..job(id) };
    store.submit(due("job_late", now - 1)).await.unwrap();
    store.submit(due("job_soon", now + 3_600_000)).await.unwrap();
    store.submit(job("job_whenever")).await.unwrap();
    let runs = NewJob { claimed_by: Some("w1".into()), ..due("job_runs", now - 1) };
    store.submit(runs).await.unwrap();
    let waits = NewJob { claimed_by: Some("w1".into()), ..due("job_waits", now - 1) };
    store.submit(waits).await.unwrap();
    let usage = Usage { model_calls: 3, ..Usage::default() };
    store.park("job_waits", 1, vec![], usage, Progress::default()).await.unwrap();
    assert_eq!(store.expire().await.unwrap().len(), 2);
    assert_eq!(store.expire().await.unwrap(), []);
    let ended = async |id: &str| {
        let job = store.job(None, id).await.unwrap().unwrap();
        (job.status, job.error.map(|error| error.message), job.usage.model_calls)
    };
    let message = |text: &str| Some(text.to_owned());
    assert_eq!(
        ended("job_late").await,
        (Status::TimedOut, message("its deadline passed before it began"), 0)
    );
    assert_eq!(ended("job_waits").await, (Status::TimedOut, message("its deadline passed"), 3));
    assert_eq!(ended("job_runs").await.0, Status::Running, "its worker knows by itself");
    assert!(store.wanted("w1").await.unwrap().is_empty());
    for id in ["job_soon", "job_whenever"] {
        assert_eq!(ended(id).await.0, Status::Queued);
    }
}
