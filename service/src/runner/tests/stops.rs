//! Workers that stop: in good order, or without a word.

use super::*;

/// A runner whose process is gone, as far as anybody can see.
async fn kill(runner: Runner) {
    runner.abandon();
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_job_of_a_lost_worker_is_taken_up_where_it_was() {
    let world = World::new().await;
    let (lost, flow) = (world.runner(quick()).await, world.flow(&chain(200)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    lost.submit(new, &flow).await.unwrap();
    let begun = Instant::now();
    while world.events(&id).await.len() < 2 {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
    kill(lost).await;
    let next = world.runner(quick()).await;
    let done = next.wait("t", &id, PATIENCE).await.unwrap().unwrap();
    assert_eq!(done.status, Status::Succeeded);
    assert!(done.epoch > 1, "it has changed hands");
    let events = world.events(&id).await;
    assert_eq!(events, ["run_started", "ended a", "taken_up", "ended b", "ended c"]);
}

#[tokio::test]
async fn a_drain_lets_running_nodes_end_and_hands_over_the_rest() {
    let world = World::new().await;
    let (leaving, flow) = (world.runner(quick()).await, world.flow(&chain(300)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    leaving.submit(new, &flow).await.unwrap();
    let next = world.runner(quick()).await;
    leaving.drain(PATIENCE).await;
    let done = next.wait("t", &id, PATIENCE).await.unwrap().unwrap();
    assert_eq!(done.status, Status::Succeeded);
    let events = world.events(&id).await;
    assert_eq!(events, ["run_started", "ended a", "taken_up", "ended b", "ended c"]);
}

#[tokio::test]
async fn a_drain_does_not_wait_longer_than_it_is_given() {
    let world = World::new().await;
    let (leaving, flow) = (world.runner(quick()).await, world.flow(&chain(60_000)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    leaving.submit(new, &flow).await.unwrap();
    let begun = Instant::now();
    leaving.drain(Duration::from_millis(100)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(world.job(&id).await.status, Status::Queued);
    let queued = leaving.submit(job(&flow, json!({ "n": 2 })), &flow).await;
    assert_eq!(queued.unwrap(), Submitted::New, "it is taken in for the others");
}

#[tokio::test]
async fn a_long_job_outlives_any_number_of_drains() {
    let world = World::new().await;
    let flow = world.flow(&chain(60_000)).await;
    let mut first = Some(job(&flow, json!({ "n": 1 })));
    let id = first.as_ref().unwrap().id.clone();
    for _ in 0..7 {
        let leaving = world.runner(Options { claims_max: 3, ..quick() }).await;
        if let Some(new) = first.take() {
            leaving.submit(new, &flow).await.unwrap();
        }
        let owner = leaving.worker();
        world
            .job_when(&id, |job| job.status == Status::Running && job.owner.as_deref() == Some(&owner))
            .await;
        leaving.drain(Duration::from_millis(1)).await;
        assert_eq!(world.job(&id).await.status, Status::Queued);
    }
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_set_aside_and_the_others_live() {
    let world = World::new().await;
    let flow = world.flow(&chain(60_000)).await;
    let poison = job(&flow, json!({ "n": 1 }));
    let id = poison.id.clone();
    let options = Options { lease: Duration::from_millis(300), claims_max: 3, ..quick() };
    let mut first = Some(poison);
    for _ in 0..3 {
        let doomed = world.runner(options.clone()).await;
        if let Some(poison) = first.take() {
            doomed.submit(poison, &flow).await.unwrap();
        }
        world.job_when(&id, |job| job.status == Status::Running).await;
        let owner = doomed.worker();
        world.job_when(&id, |job| job.owner.as_deref() == Some(&owner)).await;
        kill(doomed).await;
    }
    let next = world.runner(options).await;
    let done = next.wait("t", &id, PATIENCE).await.unwrap().unwrap();
    assert_eq!((done.status, done.error.unwrap().code.as_str()), (Status::Failed, "set_aside"));
    let harmless = world.flow(&chain(0)).await;
    let (_, done) =
        next.submit_and_wait(job(&harmless, json!({ "n": 2 })), &harmless, PATIENCE).await.unwrap();
    assert_eq!(done.unwrap().status, Status::Succeeded);
}

#[tokio::test]
async fn a_cancelled_job_whose_worker_is_lost_ends_cancelled() {
    let world = World::new().await;
    let (lost, flow) = (world.runner(quick()).await, world.flow(&chain(60_000)).await);
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    lost.submit(new, &flow).await.unwrap();
    kill(lost).await;
    assert_eq!(world.store.cancel("t", &id, true).await.unwrap(), CancelAsked::Asked);
    let next = world.runner(quick()).await;
    let done = next.wait("t", &id, PATIENCE).await.unwrap().unwrap();
    assert_eq!(done.status, Status::Cancelled);
    assert!(!world.events(&id).await.iter().any(|event| event.starts_with("ended")));
}
