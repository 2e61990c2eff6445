//! Waits of runs that are started again: what somebody has answered stays answered, unless what was asked about changed.

use std::sync::Arc;

use anabranch_engine::budget::Budget;
use anabranch_engine::event::{Event, Record, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{
    Fork, ForkFrom, Notice, Observer, Options, Outcome, Report, fork, replay, resume, run,
};
use anabranch_engine::testing;
use anabranch_engine::value::{Map, Value};
use serde_json::json;

use super::through_json;

/// Two items, each asking somebody, one at a time; work before and after.
const FLOW: &str = "flow: f\nnodes:\n  \
    draft: { op: test.work }\n  other: { op: test.work, with: { salt: 9 } }\n  \
    fan:\n    each: \"[1, 2, 3]\"\n    concurrency: 1\n    nodes:\n      \
    w: { op: test.work, in: { a: item } }\n      \
    ask: { wait: { for: int DEFAULT }, in: { seen: w.value, draft: draft.text } }\n    \
    outputs: { value: ask.value }\n  \
    end: { op: test.work, in: { a: \"size(fan.value)\", b: other.value } }\n\
    outputs: { values: fan.value, end: end.value }\n";

fn plan(default: &str) -> Arc<Plan> {
    testing::plan(&FLOW.replace("DEFAULT", default), &()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Answers every wait of a run, or none.
struct Somebody(Options, Option<i64>);

impl Observer for Somebody {
    fn notice(&self, notice: &Notice) {
        if let (Notice::Waiting(wait), Some(answer)) = (notice, self.1) {
            drop(self.0.inbox.answer(wait.scope.clone(), Value::Int(answer), None));
        }
    }
}

/// Options of a run whose waits are answered with `answer`, and its journal.
fn options(answer: Option<i64>) -> (Options, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    let clock = testing::clock(1_000_000);
    let options = Options { journal: Some(journal.clone()), clock, ..Options::default() };
    let observer = Arc::new(Somebody(options.clone(), answer));
    (Options { observer: Some(observer), ..options }, journal)
}

async fn ran(plan: &Arc<Plan>, answer: Option<i64>) -> (Report, Vec<Record>) {
    let (options, journal) = options(answer);
    let report = run(plan.clone(), Map::new(), Arc::new(testing::resources()), options).await.unwrap();
    (report, journal.read(&RunId("run".into())).await.unwrap())
}

/// What came of the forked run, if it is asked anew by somebody with another answer; and what it did for that.
async fn forked(plan: &Arc<Plan>, records: &[Record], from: ForkFrom) -> (Report, Vec<String>) {
    let records = fork(plan, &through_json(records), &Fork { from, ..Fork::default() }).unwrap();
    let (options, journal) = options(Some(70));
    journal.append(&RunId("run".into()), through_json(&records)).await.unwrap();
    let report = resume(plan.clone(), Arc::new(testing::resources()), options).await.unwrap();
    let all = journal.read(&RunId("run".into())).await.unwrap();
    let did = all[records.len()..].iter().filter_map(|record| match &record.event {
        Event::AttemptEnded { scope, .. } | Event::WaitAnswered { scope, .. } => Some(scope.to_string()),
        _ => None,
    });
    (report, did.collect())
}

fn values(report: &Report) -> serde_json::Value {
    assert_eq!(report.outcome, Outcome::Succeeded);
    serde_json::to_value(&report.outputs["values"]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_stays_answered_unless_it_depends_on_what_runs_again() {
    let plan = plan("");
    let (_, records) = ran(&plan, Some(7)).await;
    for (from, expected, did) in [
        ("other", json!([7, 7, 7]), &["other", "end"][..]),
        ("end", json!([7, 7, 7]), &["end"]),
        ("fan[1]", json!([7, 70, 7]), &["fan[1]/w", "fan[1]/ask", "end"]),
        ("fan[1]/ask", json!([7, 70, 7]), &["fan[1]/ask", "end"]),
        (
            "draft",
            json!([70, 70, 70]),
            &["draft", "fan[0]/w", "fan[0]/ask", "fan[1]/w", "fan[1]/ask", "fan[2]/w", "fan[2]/ask", "end"],
        ),
    ] {
        let (report, done) = forked(&plan, &records, ForkFrom::Scope(from.to_owned())).await;
        assert_eq!(values(&report), expected, "from {from}");
        assert_eq!(done, did, "from {from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_that_was_taken_stays_and_a_wait_that_failed_is_asked_again() {
    let with_default = plan(", default: 5");
    let (report, records) = ran(&with_default, None).await;
    assert_eq!(values(&report), json!([5, 5, 5]));
    let (report, done) = forked(&with_default, &records, ForkFrom::Scope("fan[1]".to_owned())).await;
    assert_eq!((values(&report), done.len()), (json!([5, 70, 5]), 3));

    let without = plan("");
    let (report, records) = ran(&without, None).await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{:?}", report.outcome);
    let (report, done) = forked(&without, &records, ForkFrom::Failed).await;
    assert_eq!(values(&report), json!([70, 70, 70]));
    assert_eq!(
        done,
        ["fan[0]/ask", "fan[1]/w", "fan[1]/ask", "fan[2]/w", "fan[2]/ask", "end"],
        "`fan[0]/w` is not executed again"
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_wait_is_told_of_and_asked_again_with_its_time_from_now() {
    let plan = plan("");
    let (options, journal) = options(None);
    let options = Options { park: true, ..options };
    run(plan.clone(), Map::new(), Arc::new(testing::resources()), options).await.unwrap();
    let records = journal.read(&RunId("run".into())).await.unwrap();
    let told = replay(plan.clone(), &through_json(&records), Budget::default()).unwrap();
    assert_eq!(told.outcome, None);
    assert_eq!(told.waits.iter().map(|wait| wait.scope.to_string()).collect::<Vec<_>>(), ["fan[0]/ask"]);
    let asked = told.nodes.iter().find(|node| node.scope == told.waits[0].scope).unwrap();
    assert_eq!((&*asked.op, asked.inputs.len()), ("wait", 2));
    let again = fork(&plan, &records, &Fork::default()).unwrap();
    assert!(!again.iter().any(|record| matches!(record.event, Event::WaitOpened { .. })));
    let (report, _) = forked(&plan, &records, ForkFrom::Failed).await;
    assert_eq!(values(&report), json!([70, 70, 70]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_edited() {
    let plan = plan("");
    let (_, records) = ran(&plan, Some(7)).await;
    let edited: Map = [("value".into(), Value::Int(8))].into_iter().collect();
    let patch = [("fan[2]/ask".to_owned(), edited)].into();
    let again = fork(&plan, &through_json(&records), &Fork { patch, ..Fork::default() }).unwrap();
    let told = replay(plan.clone(), &again, Budget::default()).unwrap();
    assert_eq!(told.in_flight, ["end".into()]);
    let asked = told.nodes.iter().find(|node| node.scope == "fan[2]/ask".into()).unwrap();
    assert_eq!(serde_json::to_value(&asked.outputs).unwrap(), json!({ "value": 8, "answered": true }));
}
