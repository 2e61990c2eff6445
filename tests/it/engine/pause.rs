//! A run that is asked to pause starts nothing more, lets end what is in flight, and goes on later.

use std::time::Duration;

use anabranch_engine::event::{Event, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::resume;
use tokio_util::sync::CancellationToken;

use super::*;

const CHAIN: &str = "flow: f\nnodes:\n  \
    a: { op: test.work, with: { delay_ms: 10 } }\n  \
    b: { op: test.work, in: { a: a.value }, with: { delay_ms: 100 } }\n  \
    c: { op: test.work, in: { a: b.value }, with: { delay_ms: 10 } }\n\
    outputs: { value: c.value }\n";

/// Runs `yaml` and asks it to pause after `after`.
async fn paused_after(yaml: &str, after: Duration, journal: &Arc<MemoryJournal>) -> (Arc<Plan>, Report) {
    let plan = testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let pause = CancellationToken::new();
    let asks = pause.clone();
    let options = Options { journal: Some(journal.clone()), pause, ..Options::default() };
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        asks.cancel();
    });
    let report = run(plan.clone(), Map::new(), Arc::new(testing::resources()), options).await.unwrap();
    (plan, report)
}

async fn ended(journal: &MemoryJournal) -> Vec<String> {
    let records = journal.read(&RunId("run".into())).await.unwrap();
    let ended = records.into_iter().filter_map(|record| match record.event {
        Event::AttemptEnded { scope, .. } => Some(scope.to_string()),
        _ => None,
    });
    ended.collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_ends_and_the_rest_waits_for_a_resume() {
    let whole = run_flow(CHAIN, []).await;
    let journal = Arc::new(MemoryJournal::default());
    let (plan, report) = paused_after(CHAIN, Duration::from_millis(50), &journal).await;
    assert_eq!(report.outcome, Outcome::Paused);
    assert_eq!(ended(&journal).await, ["a", "b"]);
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let resumed = resume(plan, Arc::new(testing::resources()), options).await.unwrap();
    assert_eq!(resumed.outputs, whole.outputs);
    assert_eq!(ended(&journal).await, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_is_cancelled_on_resuming_ends_without_starting_anything() {
    let journal = Arc::new(MemoryJournal::default());
    let (plan, _) = paused_after(CHAIN, Duration::from_millis(50), &journal).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let options = Options { journal: Some(journal.clone()), cancel, ..Options::default() };
    let report = resume(plan, Arc::new(testing::resources()), options).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Cancelled { .. }), "{:?}", report.outcome);
    assert_eq!(ended(&journal).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_before_it_could_pause_has_ended() {
    let journal = Arc::new(MemoryJournal::default());
    let (_, report) = paused_after(CHAIN, Duration::from_millis(115), &journal).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
}
