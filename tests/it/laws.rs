//! Laws of the engine over generated flows, in virtual time: what must hold whatever the flow, the order and the faults.
//!
//! `LAWS_CASES` sets how many flows are generated (default 640, which is over 10,000 runs in all); the seed of a failing case
//! is printed and kept by proptest.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_engine::budget::Budget;
use anabranch_engine::event::{Event, FailureKind, Record, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{Notice, Observer, Options, Outcome, Report, Stub, resume, run};
use anabranch_engine::testing::{self, MapLibrary};
use anabranch_engine::value::{Map, Value};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

mod answers;
mod forks;
mod generate;
mod offloads;
mod survival;

thread_local! {
    /// Runs made by the law of this thread, for its closing line.
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

fn count_run() {
    RUNS.with(|runs| runs.set(runs.get() + 1));
}

/// Checks `law` on so many generated flows; prints how many runs that took.
fn for_flows(share: u32, with_races: bool, law: impl AsyncFn(Arc<Plan>, &str)) {
    for_flows_of(&generate::steps(with_races), share, law);
}

/// Checks `law` on so many flows of these steps.
fn for_flows_of(
    steps: &impl Strategy<Value = Vec<generate::Step>>,
    share: u32,
    law: impl AsyncFn(Arc<Plan>, &str),
) {
    let cases = std::env::var("LAWS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(640) / share;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    // Paused: a delay of an hour passes in no time, and always in the same order.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let library = MapLibrary([("part".to_owned(), generate::PART.to_owned())].into());
    TestRunner::new(config)
        .run(steps, |steps| {
            let yaml = generate::yaml(&steps);
            let plan = testing::plan(&yaml, &library).unwrap_or_else(|problems| panic!("{problems}\n{yaml}"));
            runtime.block_on(law(plan, &yaml));
            assert_eq!(testing::n_live(), 0, "nothing is left running\n{yaml}");
            Ok(())
        })
        .unwrap();
    println!("{} runs of {cases} flows", RUNS.with(Cell::get));
}

fn inputs() -> Map {
    [("n".into(), Value::Int(3))].into_iter().collect()
}

async fn run_with(plan: &Arc<Plan>, options: Options) -> Report {
    count_run();
    run(plan.clone(), inputs(), Arc::new(testing::resources()), options).await.unwrap()
}

/// A run and its journal.
async fn journaled(plan: &Arc<Plan>, options: Options) -> (Report, Vec<Record>) {
    let journal = Arc::new(MemoryJournal::default());
    let id = options.id.clone();
    let report = run_with(plan, Options { journal: Some(journal.clone()), ..options }).await;
    (report, journal.read(&id).await.unwrap())
}

/// Outcome, outputs and what is absent: what a caller sees of a run.
fn seen(report: &Report) -> (Outcome, Map, BTreeSet<String>) {
    let absent = report.absent.keys().map(ToString::to_string).collect();
    (report.outcome.clone(), report.outputs.clone(), absent)
}

#[test]
fn one_at_a_time_and_many_at_once_give_the_same() {
    for_flows(1, false, async |plan, yaml| {
        let (one, one_journal) = journaled(&plan, Options { concurrency: 1, ..Options::default() }).await;
        let (many, many_journal) = journaled(&plan, Options { concurrency: 64, ..Options::default() }).await;
        assert_eq!(seen(&one), seen(&many), "{yaml}");
        // The same journal but for times, and for the order in which independent nodes ended. Only a quorum may have
        // begun items that it then did without.
        assert!(yaml.contains("stop_when") || facts(&one_journal) == facts(&many_journal), "{yaml}");
    });
}

/// The events of a journal without times, in an order that does not depend on who was faster.
fn facts(records: &[Record]) -> BTreeSet<String> {
    records
        .iter()
        .map(|record| match &record.event {
            Event::AttemptEnded { scope, attempt, result, usage, .. } => {
                format!("{scope} {attempt} {result:?} {usage:?}")
            }
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_run_cut_after_any_event_goes_on_to_the_same_end() {
    for_flows(2, true, async |plan, yaml| {
        let (whole, records) = journaled(&plan, Options::default()).await;
        for n_kept in 1..=records.len() {
            let journal = Arc::new(MemoryJournal::default());
            let id = RunId("run".into());
            journal.append(&id, through_json(&records[..n_kept])).await.unwrap();
            count_run();
            let options = Options { journal: Some(journal.clone()), ..Options::default() };
            let resumed = resume(plan.clone(), Arc::new(testing::resources()), options).await.unwrap();
            if has_race(yaml) {
                // Who wins may change; that there is an end may not.
                assert_eq!(resumed.outcome, whole.outcome, "cut after {n_kept}\n{yaml}");
            } else {
                assert_eq!(seen(&resumed), seen(&whole), "cut after {n_kept}\n{yaml}");
                assert_eq!(
                    facts(&journal.read(&id).await.unwrap()),
                    facts(&records),
                    "cut after {n_kept}\n{yaml}"
                );
            }
        }
    });
}

/// The records as a journal that keeps them as JSON gives them back.
fn through_json(records: &[Record]) -> Vec<Record> {
    let lines = records.iter().map(|record| serde_json::to_string(record).unwrap());
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn has_race(yaml: &str) -> bool {
    yaml.contains("join:")
}

#[test]
fn whichever_node_fails_the_run_names_it() {
    for_flows(2, false, async |plan, yaml| {
        let whole = run_with(&plan, Options::default()).await;
        let ran: BTreeSet<String> = whole
            .nodes
            .iter()
            .filter(|node| node.skipped.is_none() && node.op.contains('.'))
            .map(|node| without_indexes(&node.scope.to_string()))
            .collect();
        for path in ran {
            let stub = Stub::Fails(FailureKind::Rejected, "as the law says".to_owned());
            let stubs = [(path.clone(), stub)].into_iter().collect();
            let report = run_with(&plan, Options { stubs, ..Options::default() }).await;
            let caught = yaml
                .split_once(&format!("\n  {path}:"))
                .is_some_and(|(_, own)| own.split("\n  n").next().unwrap().contains("on_error"));
            match report.outcome {
                Outcome::Failed(failure) => {
                    assert!(!caught, "{path} has `on_error`\n{yaml}");
                    assert_eq!(without_indexes(&failure.scope.to_string()), path, "{yaml}");
                    assert!(failure.message.contains("as the law says"), "{}", failure.message);
                }
                other => assert!(caught, "{path} failed and the run ended with {other:?}\n{yaml}"),
            }
        }
    });
}

fn without_indexes(path: &str) -> String {
    path.split('/').map(|part| part.split('[').next().unwrap()).collect::<Vec<_>>().join("/")
}

/// Cancels a run after so many notices.
struct CancelAfter {
    left: Mutex<usize>,
    token: tokio_util::sync::CancellationToken,
}

impl Observer for CancelAfter {
    fn notice(&self, _: &Notice) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.token.cancel();
        }
    }
}

#[test]
fn a_run_cancelled_anywhere_ends_and_leaves_nothing_running() {
    for_flows(2, true, async |plan, yaml| {
        for n_notices in 1..12 {
            let options = Options::default();
            let watcher = CancelAfter { left: Mutex::new(n_notices), token: options.cancel.clone() };
            let (report, records) =
                journaled(&plan, Options { observer: Some(Arc::new(watcher)), ..options.clone() }).await;
            assert_eq!(testing::n_live(), 0, "{yaml}");
            if !options.cancel.is_cancelled() {
                break;
            }
            let ended_first = report.outcome == Outcome::Succeeded;
            let cancelled =
                records.iter().any(|record| matches!(record.event, Event::CancelRequested { .. }));
            assert!(ended_first != cancelled, "{:?}\n{yaml}", report.outcome);
        }
    });
}

#[test]
fn a_budget_of_calls_is_never_passed() {
    let most_calls = 3;
    for_flows(2, true, async |plan, yaml| {
        let parrot = Arc::new(testing::Parrot::default());
        let model = anabranch_engine::cx::Model::Chat(parrot.clone());
        let resources = anabranch_engine::cx::Resources {
            models: [("default".to_owned(), model)].into(),
            ..Default::default()
        };
        let budget = Budget { model_calls: Some(most_calls), ..Budget::default() };
        count_run();
        let options = Options { budget, ..Options::default() };
        let report = run(plan, inputs(), Arc::new(resources), options).await.unwrap();
        let n_calls = parrot.calls.load(Ordering::SeqCst) as u64;
        assert!(n_calls <= most_calls, "{n_calls} calls\n{yaml}");
        assert_eq!(report.usage.model_calls, n_calls, "{yaml}");
        if let Outcome::Failed(failure) = report.outcome {
            assert_eq!(failure.kind, FailureKind::OverBudget, "{yaml}");
        }
    });
}

/// Asks in an each, all at once: what tokens cost is only known afterwards.
#[tokio::test(start_paused = true)]
async fn a_budget_of_tokens_is_passed_by_no_more_than_what_was_in_flight() {
    let yaml = "flow: f\ninputs: { words: list<text> }\nbudget: { model_tokens: 200 }\nnodes:\n  \
                fan: { each: inputs.words, op: test.ask, in: { question: item }, concurrency: 4, on_item_error: skip }\n\
                outputs: { texts: fan.text }\n";
    let words = Value::list((0..40).map(|n| Value::text(format!("word {n}"))));
    let report = testing::run_flow(yaml, [("words", words)]).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
    // 20 tokens are reserved for each answer and about 6 for the question; 16 or so are used.
    assert!(report.usage.model_tokens() <= 200, "{:?}", report.usage);
    assert!(report.usage.model_calls >= 7, "{:?}", report.usage);
}

#[tokio::test(start_paused = true)]
async fn branches_do_not_wait_for_one_another() {
    let yaml = "flow: f\nnodes:\n  \
                a1: { op: test.work, with: { delay_ms: 50 } }\n  \
                a2: { op: test.work, in: { a: a1.value }, with: { delay_ms: 500 } }\n  \
                b1: { op: test.work, with: { delay_ms: 500 } }\n  \
                b2: { op: test.work, in: { a: b1.value }, with: { delay_ms: 50 } }\n\
                outputs: { a: a2.value, b: b2.value }\n";
    let report = testing::run_flow(yaml, []).await;
    assert_eq!(report.elapsed, Duration::from_millis(550));
}
