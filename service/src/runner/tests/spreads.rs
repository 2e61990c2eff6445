//! Large eaches over several workers.

use super::*;

const ITEMS: u64 = 24;

fn spreading() -> Options {
    Options { spread: Some(8), lease: Duration::from_millis(900), ..quick() }
}

fn each(delay_ms: u64) -> String {
    format!(
        "flow: each\ninputs: {{ n: int }}\nnodes:\n  \
        numbers: {{ op: test.numbers, with: {{ n: {ITEMS} }} }}\n  \
        every: {{ each: numbers.numbers, op: test.work, in: {{ a: item }}, concurrency: 12, \
        with: {{ delay_ms: {delay_ms} }} }}\noutputs: {{ values: every.value }}\n"
    )
}

/// What the flow gives when one worker does all of it.
async fn alone(world: &World, flow: &Ready) -> Option<Map<String, Value>> {
    let runner = world.runner(quick()).await;
    let (_, done) = runner.submit_and_wait(job(flow, json!({ "n": 1 })), flow, PATIENCE).await.unwrap();
    let done = done.unwrap();
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    runner.drain(PATIENCE).await;
    done.outputs
}

/// Two workers that know of each other.
async fn two(world: &World) -> (Runner, Runner) {
    let (one, two) = (world.runner(spreading()).await, world.runner(spreading()).await);
    one.0.tasks.set_workers(2);
    two.0.tasks.set_workers(2);
    (one, two)
}

#[tokio::test]
async fn the_items_of_a_large_each_are_shared_and_journaled_by_the_owner() {
    let world = World::new().await;
    let flow = world.flow(&each(30)).await;
    let expected = alone(&world, &flow).await;
    let (owner, helper) = two(&world).await;
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    let (_, done) = owner.submit_and_wait(new, &flow, PATIENCE).await.unwrap();
    assert_eq!(done.unwrap().outputs, expected);
    let (here, there) = (owner.load().tasks, helper.load().tasks);
    assert_eq!(here + there, ITEMS);
    assert!(here > 0 && there > 0, "{here} here, {there} there");
    let events = world.events(&id).await;
    assert_eq!(events.iter().filter(|event| event.starts_with("ended every")).count() as u64, ITEMS);
    assert!(!events.contains(&"taken_up".to_owned()));
}

#[tokio::test]
async fn the_items_of_a_lost_helper_are_executed_by_others() {
    let world = World::new().await;
    let flow = world.flow(&each(200)).await;
    let expected = alone(&world, &flow).await;
    let (owner, helper) = two(&world).await;
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    owner.submit(new, &flow).await.unwrap();
    let begun = Instant::now();
    while world.store.held_tasks(&helper.worker()).await.unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(2)).await;
    }
    helper.abandon();
    let done = owner.wait("t", &id, PATIENCE).await.unwrap().unwrap();
    assert_eq!(done.outputs, expected);
}

#[tokio::test]
async fn a_cancel_takes_the_items_away_from_everybody() {
    let world = World::new().await;
    let flow = world.flow(&each(60_000)).await;
    let (owner, helper) = two(&world).await;
    let new = job(&flow, json!({ "n": 1 }));
    let id = new.id.clone();
    owner.submit(new, &flow).await.unwrap();
    let begun = Instant::now();
    while world.store.held_tasks(&helper.worker()).await.unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(2)).await;
    }
    world.store.cancel("t", &id, true).await.unwrap();
    let done = world.job_when(&id, |job| job.status.is_final()).await;
    assert_eq!(done.status, Status::Cancelled);
    let begun = Instant::now();
    while owner.0.tasks.n_at_work() + helper.0.tasks.n_at_work() > 0 {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
}
