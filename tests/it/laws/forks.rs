//! Laws of runs that are started again, and of what is told of a run from its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_engine::budget::Budget;
use anabranch_engine::event::{Event, Failure, FailureKind, Record, RunId, Timing};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{
    Fork, ForkError, ForkFrom, NodeDiff, Options, Outcome, Report, Stub, diff, fork, replay, resume,
};
use anabranch_engine::testing;
use anabranch_engine::value::{Map, Value};
use serde_json::{Value as Json, json};

use super::{count_run, for_flows, has_race, journaled, run_with, seen, through_json};

/// What came of taking up `records`: the report, and the nodes that were executed for it.
async fn go_on(plan: &Arc<Plan>, records: &[Record]) -> (Report, Vec<Record>) {
    let journal = Arc::new(MemoryJournal::default());
    let id = RunId("again".into());
    journal.append(&id, through_json(records)).await.unwrap();
    count_run();
    let options = Options { id: id.clone(), journal: Some(journal.clone()), ..Options::default() };
    let report = resume(plan.clone(), Arc::new(testing::resources()), options).await.unwrap();
    (report, journal.read(&id).await.unwrap())
}

/// The nodes whose attempts ended in `records`.
fn executed(records: &[Record]) -> BTreeSet<String> {
    let ended = records.iter().filter_map(|record| match &record.event {
        Event::AttemptEnded { scope, .. } => Some(scope.to_string()),
        _ => None,
    });
    ended.collect()
}

/// The step of a generated flow that the node at `path` belongs to: 3 for `n3_list` and `n3[1]/one`.
fn step(path: &str) -> usize {
    let digits: String = path.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The steps that read what `steps` give, at whatever distance, by the text of the flow alone; and `steps` themselves.
fn downstream(yaml: &str, steps: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    let nodes = yaml.split_once("nodes:\n").unwrap().1.split_once("\noutputs:").unwrap().0;
    let mut reads: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut current = 0;
    for line in nodes.lines() {
        if line.starts_with("  n") {
            current = step(line.trim_start());
        }
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let numbered = words.filter(|word| {
            word.strip_prefix('n').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        reads.entry(current).or_default().extend(numbered.map(step).filter(|step| *step != current));
    }
    let mut found: BTreeSet<usize> = steps.into_iter().collect();
    for (step, read) in &reads {
        // Steps read earlier steps only.
        if read.iter().any(|read| found.contains(read)) {
            found.insert(*step);
        }
    }
    found
}

/// Steps with a node that failed and did not succeed later.
fn failed_steps(records: &[Record]) -> BTreeSet<usize> {
    let mut failed = BTreeSet::new();
    for record in records {
        if let Event::AttemptEnded { scope, result, .. } = &record.event {
            match result {
                Ok(_) => failed.remove(scope),
                Err(_) => failed.insert(scope.clone()),
            };
        }
    }
    failed.iter().map(|scope| step(&scope.to_string())).collect()
}

fn from(scope: &str) -> Fork {
    Fork { from: ForkFrom::Scope(scope.to_owned()), ..Fork::default() }
}

#[test]
fn started_again_where_it_failed_a_run_ends_as_one_that_never_failed() {
    for_flows(10, false, async |plan, yaml| {
        let (whole, records) = journaled(&plan, Options::default()).await;
        for (position, record) in records.iter().enumerate() {
            let Event::AttemptEnded { scope, attempt, result: Ok(_), usage, .. } = &record.event else {
                continue;
            };
            // The same run, but for this attempt, which fails for good.
            let failure = Failure {
                scope: scope.clone(),
                attempt: *attempt,
                kind: FailureKind::Internal,
                message: "as the law says".to_owned(),
                retry_after: None,
            };
            let event = Event::AttemptEnded {
                scope: scope.clone(),
                attempt: *attempt,
                result: Err(failure),
                usage: *usage,
                timing: Timing::default(),
            };
            let mut failing = records[..position].to_vec();
            failing.push(Record { event, ..record.clone() });
            let (_, failing) = go_on(&plan, &failing).await;
            let forked = fork(&plan, &through_json(&failing), &Fork::default())
                .unwrap_or_else(|error| panic!("{error}\n{scope}\n{yaml}"));
            let (report, again) = go_on(&plan, &forked).await;
            assert_eq!(seen(&report), seen(&whole), "{scope}\n{yaml}");
            let executed = executed(&again[forked.len()..]);
            let allowed = downstream(yaml, failed_steps(&failing));
            let ended: BTreeSet<String> = self::executed(&failing);
            for path in &executed {
                assert!(
                    allowed.contains(&step(path)) || !ended.contains(path),
                    "{path} was executed again after {scope} had failed\n{yaml}"
                );
            }
        }
    });
}

#[test]
fn started_again_anywhere_a_run_gives_the_same_and_executes_what_is_downstream_alone() {
    for_flows(10, true, async |plan, yaml| {
        let (whole, records) = journaled(&plan, Options::default()).await;
        for path in executed(&records) {
            let forked = fork(&plan, &through_json(&records), &from(&path))
                .unwrap_or_else(|error| panic!("{error}\n{path}\n{yaml}"));
            let (report, again) = go_on(&plan, &forked).await;
            // Who wins a race that is run again may change; what is not run again may not.
            let is_same = |report: &Report| {
                if has_race(yaml) { report.outcome == whole.outcome } else { seen(report) == seen(&whole) }
            };
            assert!(is_same(&report), "{path}\n{yaml}");
            let executed = executed(&again[forked.len()..]);
            // Those that run again may find that what they are for has been decided without them.
            let may_lose = yaml.contains("stop_when") || yaml.contains("cancel_losers: true");
            assert!(executed.contains(&path) || may_lose, "{path} did not run again\n{yaml}");
            let allowed = downstream(yaml, [step(&path)]);
            let item = path.split_once('[').map(|(node, _)| node).filter(|node| is_each(yaml, node));
            for other in &executed {
                // A quorum may begin items that it then does without.
                assert!(
                    allowed.contains(&step(other)) || yaml.contains("stop_when"),
                    "{other} for {path}\n{yaml}"
                );
                if item.is_some() && step(other) == step(&path) && !yaml.contains("stop_when") {
                    let same = path.split_once('/').unwrap().0 == other.split_once('/').unwrap().0;
                    assert!(same, "{other} was executed again for {path}\n{yaml}");
                }
            }
            // The new journal is one like any other: it can be read, and started again from.
            let told = replay(plan.clone(), &through_json(&again), Budget::default()).unwrap();
            assert_eq!(told.outcome.as_ref(), Some(&report.outcome), "{path}\n{yaml}");
            assert_eq!(told.outputs, report.outputs, "{path}\n{yaml}");
            let (once_more, _) = go_on(&plan, &fork(&plan, &again, &from(&path)).unwrap_or(again)).await;
            assert!(is_same(&once_more), "{path}\n{yaml}");
        }
    });
}

fn is_each(yaml: &str, node: &str) -> bool {
    yaml.split_once(&format!("\n  {node}:\n")).is_some_and(|(_, own)| own.starts_with("    each:"))
}

#[test]
fn an_edited_result_changes_what_depends_on_it_and_nothing_else() {
    for_flows(4, false, async |plan, yaml| {
        let (whole, records) = journaled(&plan, Options::default()).await;
        let always_failing = failed_steps(&records);
        for node in &whole.nodes {
            let path = node.scope.to_string();
            if path.contains(['/', '['])
                || !node.outputs.contains_key("value")
                || node.op != "test.work".into()
            {
                continue;
            }
            let edited: Map = [("value".into(), Value::Int(4321))].into_iter().collect();
            let patch = [(path.clone(), edited)].into();
            let forked = fork(&plan, &through_json(&records), &Fork { patch, ..Fork::default() })
                .unwrap_or_else(|error| panic!("{error}\n{path}\n{yaml}"));
            let (report, again) = go_on(&plan, &forked).await;
            // As if the node had given that from the beginning.
            let mut outputs = node.outputs.clone();
            outputs.insert("value".into(), Value::Int(4321));
            let stubs = [(path.clone(), Stub::Outputs(outputs))].into();
            let stubbed = run_with(&plan, Options { stubs, ..Options::default() }).await;
            assert_eq!(seen(&report), seen(&stubbed), "{path}\n{yaml}");
            let executed = executed(&again[forked.len()..]);
            assert!(!executed.contains(&path), "{path} ran\n{yaml}");
            let changed = downstream(yaml, [step(&path)]);
            let allowed = downstream(yaml, always_failing.iter().copied().chain([step(&path)]));
            for other in executed {
                assert!(allowed.contains(&step(&other)), "{other} for {path}\n{yaml}");
            }
            // A quorum may begin items that it then does without.
            if !yaml.contains("stop_when") {
                for found in diff(&whole.nodes, &report.nodes).iter().filter(|found| !same_result(found)) {
                    assert!(
                        changed.contains(&step(&found.scope.to_string())),
                        "{found:?} for {path}\n{yaml}"
                    );
                }
            }
        }
    });
}

/// Whether both runs came to the same there, in whatever number of attempts.
fn same_result(found: &NodeDiff) -> bool {
    use anabranch_engine::run::{Change, Found};
    found.found == Found::Both && found.changed.iter().all(|change| *change == Change::Attempts)
}

#[test]
fn a_journal_tells_of_its_run_what_the_run_told() {
    for_flows(6, false, async |plan, yaml| {
        let (whole, records) = journaled(&plan, Options::default()).await;
        let told = replay(plan.clone(), &through_json(&records), Budget::default()).unwrap();
        assert_eq!(told.outcome.as_ref(), Some(&whole.outcome), "{yaml}");
        assert_eq!((&told.outputs, &told.absent), (&whole.outputs, &whole.absent), "{yaml}");
        assert_eq!(told.usage, whole.usage, "{yaml}");
        assert_eq!(told.events, records.len() as u64);
        // An attempt that a quorum did without was begun, or only about to be.
        let by_scope = |report: &[anabranch_engine::run::NodeReport]| -> BTreeMap<String, Json> {
            let ran = report.iter().filter(|node| node.attempts > 0 || node.skipped.is_some());
            ran.map(|node| (node.scope.to_string(), serde_json::to_value(node).unwrap())).collect()
        };
        let (one, other) = (by_scope(&told.nodes), by_scope(&whole.nodes));
        assert!(yaml.contains("stop_when") || one == other, "{one:#?} {other:#?}\n{yaml}");
        let failures = told.tries.iter().filter(|told| told.failure.is_some()).count();
        let recorded = records
            .iter()
            .filter(|record| matches!(&record.event, Event::AttemptEnded { result: Err(_), .. }))
            .count();
        assert_eq!(failures, recorded, "{yaml}");
        for n_kept in 1..records.len() {
            let told = replay(plan.clone(), &records[..n_kept], Budget::default()).unwrap();
            assert_eq!(told.outcome, None, "after {n_kept}\n{yaml}");
            assert!(!told.in_flight.is_empty(), "after {n_kept}\n{yaml}");
        }
    });
}

// --- what is refused, and what generated flows do not have ------------------------------------------------------------

const FLOW: &str = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  \
    a: { op: test.work }\n  \
    fan:\n    each: inputs.xs\n    as: x\n    concurrency: 1\n    on_item_error: skip\n    min_success: SHARE\n    nodes:\n      \
    w: { op: test.work, in: { a: x, b: a.value }, with: { fail: rejected, fail_times: \"${ x == 1 ? 1 : 0 }\" } }\n    \
    outputs: { v: w.value }\n  \
    hop:\n    loop:\n      max_turns: 3\n      carry: { n: a.value }\n      nodes:\n        \
    t: { op: test.work, in: { a: carry.n } }\n      next: { n: t.value }\n  \
    off: { op: test.work, when: a.value < 0 }\n  \
    end: { op: test.work, in: { a: hop.n, b: \"size(fan.v)\" } }\noutputs: { end: end.value, v: fan.v }\n";

async fn ran(yaml: &str) -> (Arc<Plan>, Report, Vec<Record>) {
    let plan = testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let inputs = [("xs".into(), Value::list((0..6).map(Value::Int)))].into_iter().collect();
    let resources = Arc::new(testing::resources());
    let report = anabranch_engine::run::run(plan.clone(), inputs, resources, options.clone()).await.unwrap();
    (plan, report, journal.read(&options.id).await.unwrap())
}

fn again(forked: &[Record], records: &[Record]) -> Vec<String> {
    executed(&records[forked.len()..]).into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn items_behind_one_that_runs_again_are_not_executed_for_want_of_a_place() {
    // One item at a time: the items after the one that failed cannot open before it has ended.
    let (plan, report, records) = ran(&FLOW.replace("SHARE", "1")).await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{:?}", report.outcome);
    let forked = fork(&plan, &through_json(&records), &Fork::default()).unwrap();
    let (_, records) = go_on(&plan, &forked).await;
    assert_eq!(again(&forked, &records), ["fan[1]/w"]);
    let (plan, _, records) = ran(&FLOW.replace("SHARE", "0")).await;
    let forked = fork(&plan, &through_json(&records), &from("fan[3]")).unwrap();
    let (report, records) = go_on(&plan, &forked).await;
    assert_eq!(again(&forked, &records), ["end", "fan[3]/w"], "the caught failure of `fan[1]` stays");
    assert_eq!(report.nodes.iter().filter(|node| node.failure.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn from_a_turn_on_the_turns_before_it_stay() {
    let (plan, whole, records) = ran(&FLOW.replace("SHARE", "0")).await;
    for (scope, expected) in [
        ("hop[2]", &["end", "hop[2]/t", "hop[3]/t"][..]),
        ("hop[3]/t", &["end", "hop[3]/t"]),
        ("hop", &["end", "hop[1]/t", "hop[2]/t", "hop[3]/t"]),
        ("end", &["end"]),
    ] {
        let forked = fork(&plan, &through_json(&records), &from(scope)).unwrap();
        let (report, records) = go_on(&plan, &forked).await;
        assert_eq!(again(&forked, &records), expected, "from {scope}");
        assert_eq!(report.outputs, whole.outputs, "from {scope}");
        assert_eq!(report.usage, anabranch_engine::backend::Usage::default());
    }
    let start = Fork { from: ForkFrom::Start, ..Fork::default() };
    assert_eq!(fork(&plan, &records, &start).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_whole_each_or_loop_can_be_edited() {
    let (plan, _, records) = ran(&FLOW.replace("SHARE", "0")).await;
    let list = Value::list([7].map(Value::Int));
    let fan: Map = [("v".into(), list.clone()), ("errors".into(), Value::list([]))].into_iter().collect();
    for from in [ForkFrom::Scope("end".to_owned()), ForkFrom::Start] {
        let patch = [("fan".to_owned(), fan.clone())].into();
        let forked = fork(&plan, &through_json(&records), &Fork { from: from.clone(), patch }).unwrap();
        let (report, records) = go_on(&plan, &forked).await;
        assert_eq!(report.outputs["v"], list, "{from:?}");
        let expected: &[&str] = match from {
            ForkFrom::Start => &["a", "end", "hop[1]/t", "hop[2]/t", "hop[3]/t"],
            _ => &["end"],
        };
        assert_eq!(again(&forked, &records), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_again_is_refused_with_what_there_is() {
    let (plan, _, records) = ran(&FLOW.replace("SHARE", "0")).await;
    let refused = |fork: Fork| self::fork(&plan, &records, &fork).unwrap_err().to_string();
    let patched = |scope: &str, values: Json| {
        let Value::Map(values) = Value::from_json(values) else { panic!("a map") };
        Fork { patch: [(scope.to_owned(), (*values).clone())].into(), ..from("end") }
    };
    insta::assert_snapshot!(
        [
            refused(from("fam")),
            refused(from("hop[2]/u")),
            refused(from("hop/t")),
            refused(from("a/b")),
            refused(from("a[1]")),
            refused(from("hop[9]")),
            refused(from("off")),
            refused(patched("nothing", json!({}))),
            refused(patched("off", json!({ "value": 1, "text": "" }))),
            refused(patched("hop[1]", json!({ "n": 1 }))),
            refused(patched("a", json!({ "valu": 1, "text": 2 }))),
            refused(patched("fan", json!({ "v": [1] }))),
        ]
        .join("\n"),
        @r"
    the flow has no node `fam`; did you mean `fan`?
    `hop[2]` has no node `u`; there are: `t`
    `hop` has turns or items, and `hop/t` says none; write `hop[1]/t`
    `a` has no nodes in it
    `a` has neither turns nor items
    `hop[9]` did not run, so nothing can start again there
    `off` did not run, so nothing can start again there
    the flow has no node `nothing`; there are: `a`, `end`, `fan`, `hop`, `off`
    `off` did not run, so nothing can start again there
    patch: `hop[1]` is a turn or an item, which has no outputs; name a node in it
    patch: `a` has no output `valu`; did you mean `value`?
    patch: output `text` of `a`: expected `text`, found `int`
    patch: output `errors` of `fan` is missing: it takes `list<json>`
    "
    );
    assert_eq!(fork(&plan, &[], &Fork::default()), Err(ForkError::NotStarted));
    let (plan, _, records) = ran("flow: f\nnodes:\n  a: { op: test.work }\noutputs: { a: a.value }\n\
                                  inputs: { xs: list<int> }\n")
    .await;
    assert_eq!(fork(&plan, &records, &Fork::default()), Err(ForkError::NothingFailed));
    let (plan, _, records) = ran("flow: f\ninputs: { xs: list<int> }\nnodes:\n  a: { op: test.work }\n  \
                                  b: { op: test.work, in: { a: \"inputs.xs[a.value + 100]\" } }\noutputs: { a: b.value }\n").await;
    let error = fork(&plan, &records, &Fork::default()).unwrap_err();
    assert!(
        matches!(&error, ForkError::SameFailure(failure) if failure.kind == FailureKind::Expression),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cancelled_or_timed_out_goes_on_with_what_it_has() {
    let yaml = "flow: f\ninputs: { xs: list<int> }\nbudget: { wall: 1s }\nnodes:\n  a: { op: test.work }\n  \
                b: { op: test.work, in: { a: a.value }, with: { delay_ms: 700 } }\n  \
                c: { op: test.work, in: { a: b.value }, with: { delay_ms: 700 } }\noutputs: { c: c.value }\n";
    let (plan, report, mut records) = ran(yaml).await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{:?}", report.outcome);
    let forked = fork(&plan, &through_json(&records), &Fork::default()).unwrap();
    let (report, after) = go_on(&plan, &forked).await;
    assert_eq!((report.outcome, again(&forked, &after)), (Outcome::Succeeded, vec!["c".to_owned()]));
    let last = records.last_mut().unwrap();
    last.event = Event::CancelRequested { reason: "enough".into() };
    let forked = fork(&plan, &through_json(&records), &Fork::default()).unwrap();
    assert_eq!(go_on(&plan, &forked).await.0.outcome, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn what_a_deadline_or_a_budget_of_time_decided_stays_decided() {
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  \
                slow: { op: test.work, with: { delay_ms: 5000 } }\n  quick: { op: test.work, with: { delay_ms: 10 } }\n  \
                win: { op: test.work, in: { a: \"first(slow.value, quick.value)\" }, \
                join: { all: true, deadline: 1s, cancel_losers: true } }\n  \
                late: { op: test.work, with: { delay_ms: 9000 }, budget: { wall: 2s }, on_error: skip }\n  \
                end: { op: test.work, in: { a: win.value, b: \"first(late.value, 1)\" } }\noutputs: { end: end.value }\n";
    let (plan, whole, records) = ran(yaml).await;
    assert_eq!(whole.outcome, Outcome::Succeeded);
    for (scope, expected) in [
        ("end", &["end"][..]),
        ("win", &["end", "win"]),
        ("late", &["end"]),
        ("quick", &["end", "quick", "win"]),
    ] {
        let forked = fork(&plan, &through_json(&records), &from(scope)).unwrap();
        let (report, records) = go_on(&plan, &forked).await;
        assert_eq!(report.outputs, whole.outputs, "from {scope}");
        assert_eq!(again(&forked, &records), expected, "from {scope}");
    }
}

#[tokio::test(start_paused = true)]
async fn inside_scopes_in_scopes_only_what_depends_on_the_place_runs_again() {
    let part = "flow: part\ninputs: { n: int }\nnodes:\n  \
                fan:\n    each: \"[1, 2]\"\n    nodes:\n      \
                x: { op: test.work, in: { a: item, b: inputs.n } }\n      y: { op: test.work, in: { a: x.value } }\n    \
                outputs: { y: y.value }\n  beside: { op: test.work, in: { a: inputs.n } }\n\
                outputs: { n: \"size(fan.y) + beside.value\" }\n";
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  \
                hop:\n    loop:\n      max_turns: 3\n      carry: { n: \"0\" }\n      nodes:\n        \
                sub: { flow: part, in: { n: carry.n } }\n      next: { n: sub.n }\noutputs: { n: hop.n }\n";
    let library = testing::MapLibrary([("part".to_owned(), part.to_owned())].into());
    let plan = testing::plan(yaml, &library).unwrap_or_else(|problems| panic!("{problems}"));
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let inputs = [("xs".into(), Value::list([]))].into_iter().collect();
    let resources = Arc::new(testing::resources());
    let whole = anabranch_engine::run::run(plan.clone(), inputs, resources, options.clone()).await.unwrap();
    let records = journal.read(&options.id).await.unwrap();
    let forked = fork(&plan, &through_json(&records), &from("hop[2]/sub/fan[1]/x")).unwrap();
    let (report, records) = go_on(&plan, &forked).await;
    assert_eq!(report.outputs, whole.outputs);
    let third = ["beside", "fan[0]/x", "fan[0]/y", "fan[1]/x", "fan[1]/y"];
    let expected: Vec<String> = ["hop[2]/sub/fan[1]/x".to_owned(), "hop[2]/sub/fan[1]/y".to_owned()]
        .into_iter()
        .chain(third.map(|node| format!("hop[3]/sub/{node}")))
        .collect();
    assert_eq!(again(&forked, &records), expected);
}

#[tokio::test(start_paused = true)]
async fn the_largest_each_is_started_again_in_no_time() {
    let n_items = 10_000;
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  \
                fan:\n    each: inputs.xs\n    as: x\n    on_item_error: skip\n    min_success: 1\n    nodes:\n      \
                w: { op: test.work, in: { a: x }, with: { fail: rejected, fail_times: \"${ x % 100 == 7 ? 1 : 0 }\" } }\n    \
                outputs: { v: w.value }\noutputs: { v: fan.v }\n";
    let plan = testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let inputs = [("xs".into(), Value::list((0..n_items).map(Value::Int)))].into_iter().collect();
    let resources = Arc::new(testing::resources());
    let report = anabranch_engine::run::run(plan.clone(), inputs, resources, options.clone()).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{:?}", report.outcome);
    let records = through_json(&journal.read(&options.id).await.unwrap());
    let began = std::time::Instant::now();
    let forked = fork(&plan, &records, &Fork::default()).unwrap();
    println!("{} of {} records kept in {:?}", forked.len(), records.len(), began.elapsed());
    let began = std::time::Instant::now();
    let told = replay(plan.clone(), &forked, Budget::default()).unwrap();
    println!("{} nodes told in {:?}", told.nodes.len(), began.elapsed());
    let (_, again) = go_on(&plan, &forked).await;
    assert_eq!(executed(&again[forked.len()..]).len(), 100);
}
