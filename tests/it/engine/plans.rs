//! Plans that are made while the flow runs: what runs of them, what stands in, and that nobody plans twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::event::{Event, FailureKind, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::run::{Fork, ForkFrom, Options, Outcome, Report, fork, inspect, resume, run};
use anabranch_engine::testing::{self, MapLibrary, take_ran};
use anabranch_engine::value::{Map, Value};
use serde_json::{Value as Json, json};

use super::{failure, outputs};

const PART: &str = "flow: part\ninputs: { n: int }\nnodes:\n  w: { op: test.work, in: { a: inputs.n } }\n\
    outputs: { value: w.value }\n";

/// A flow that runs the plan that it is given; `more` are keys of the node.
fn given(more: &str) -> String {
    format!(
        "flow: f\ninputs: {{ n: int, plan: plan }}\nnodes:\n  run:\n    plan: inputs.plan\n    \
         in: {{ n: inputs.n }}\n    allow: [test.work, test.ask, part]\n    outputs: {{ value: int, text: \"text?\" }}\n{more}\
         outputs: {{ value: run.value, text: run.text, fell_back: run.fell_back, problems: run.problems }}\n"
    )
}

/// A flow with a planner.
const PLANNED: &str = "flow: f\ninputs: { n: int }\nnodes:\n  \
    planner: { op: test.planner, in: { n: inputs.n }, with: { steps: 4, step_ms: 5, delay_ms: 5 } }\n  \
    run: { plan: planner.plan, in: { n: inputs.n }, allow: [test.work], outputs: { value: int } }\n  \
    after: { op: test.work, in: { a: run.value }, with: { delay_ms: 5 } }\n\
    outputs: { value: after.value }\n";

async fn run_plan(yaml: &str, plan: Json) -> Report {
    let library = MapLibrary([("part".to_owned(), PART.to_owned())].into());
    let compiled = testing::plan(yaml, &library).unwrap_or_else(|problems| panic!("{problems}"));
    let inputs: Map =
        [("n".into(), Value::Int(3)), ("plan".into(), Value::from_json(plan))].into_iter().collect();
    run(compiled, inputs, Arc::new(testing::resources()), Options::default()).await.unwrap()
}

fn ran(report: &Report) -> BTreeSet<String> {
    let ran = report.nodes.iter().filter(|node| node.skipped.is_none());
    ran.map(|node| node.scope.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn steps_that_do_not_read_one_another_run_side_by_side() {
    let slow = |salt: i64| json!({ "op": "test.work", "in": { "a": "inputs.n" }, "with": { "delay_ms": 500, "salt": salt } });
    let plan = json!({
        "nodes": {
            "a": slow(1),
            "b": slow(2),
            "both": { "op": "test.work", "in": { "a": "a.value", "b": "b.value" }, "with": { "delay_ms": 50 } },
            "part": { "flow": "part", "in": { "n": "both.value" } },
        },
        "outputs": { "value": "part.value" },
    });
    let report = run_plan(&given(""), plan).await;
    assert_eq!(report.elapsed, Duration::from_millis(550));
    assert_eq!(
        ran(&report),
        ["run", "run/a", "run/b", "run/both", "run/part", "run/part/w"].map(str::to_owned).into()
    );
    let found = outputs(&report);
    assert_eq!((&found["fell_back"], &found["problems"]), (&json!(false), &json!([])));
    assert!(found["value"].is_number() && found.get("text").is_none(), "{found}");
}

#[tokio::test(start_paused = true)]
async fn the_plan_that_ran_is_shown_with_its_node() {
    let plan = json!({ "nodes": { "a": { "op": "test.work" } }, "outputs": { "value": "a.value" } });
    let report = run_plan(&given(""), plan.clone()).await;
    let node = report.nodes.iter().find(|node| node.scope.to_string() == "run").unwrap();
    assert_eq!((&*node.op, node.attempts, node.inputs["plan"].to_json()), ("plan", 1, plan));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_is_replaced_by_the_fallback_which_says_why() {
    let fallback = "    fallback:\n      nodes: { w: { op: test.ask, in: { question: \"'x'\" } } }\n      \
                    outputs: { value: size(w.text), text: w.text }\n";
    let plan = json!({ "nodes": { "a": { "op": "test.numbers" } }, "outputs": { "value": "a.numbers" } });
    let report = run_plan(&given(fallback), plan.clone()).await;
    let found = outputs(&report);
    assert_eq!(
        (&found["value"], &found["text"], &found["fell_back"]),
        (&json!(1), &json!("x"), &json!(true))
    );
    let problems = found["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem.as_str().unwrap().contains("is not allowed")), "{found}");
    let (scope, kind, message) = failure(run_plan(&given(""), plan).await);
    assert_eq!((scope.as_str(), kind), ("run", FailureKind::InvalidInput));
    assert!(message.starts_with("the plan cannot be used: FLOW0058: "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_is_named_and_the_node_decides() {
    let plan = json!({
        "nodes": { "a": { "op": "test.work", "with": { "fail_times": 9, "fail": "rejected" } } },
        "outputs": { "value": "a.value" },
    });
    let (scope, kind, _) = failure(run_plan(&given(""), plan.clone()).await);
    assert_eq!((scope.as_str(), kind), ("run/a", FailureKind::Rejected));
    let report = run_plan(&given("    on_error: skip\n"), plan).await;
    assert!(report.absent["value"].why.contains("it failed (rejected)"), "{:?}", report.absent);
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_for_all_steps() {
    let ask = json!({ "op": "test.ask", "in": { "question": "'x'" } });
    let plan =
        json!({ "nodes": { "a": ask, "b": ask }, "outputs": { "value": "size(a.text) + size(b.text)" } });
    let (_, kind, _) = failure(run_plan(&given("    budget: { model_calls: 1 }\n"), plan.clone()).await);
    assert_eq!(kind, FailureKind::OverBudget);
    assert_eq!(outputs(&run_plan(&given("    budget: { model_calls: 2 }\n"), plan).await)["value"], json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_condition_of_a_step_takes_what_needs_it_along() {
    let plan = json!({
        "nodes": {
            "a": { "op": "test.work", "when": "inputs.n > 5" },
            "b": { "op": "test.work", "in": { "a": "first(a.value, 0)" } },
        },
        "outputs": { "value": "b.value", "text": "a.text" },
    });
    let report = run_plan(&given(""), plan).await;
    assert!(report.absent["text"].why.contains("its `when` is false"), "{:?}", report.absent);
    assert!(outputs(&report)["value"].is_number());
}

/// Everything that has run since the last call, without attempts.
fn taken() -> BTreeSet<String> {
    take_ran().into_iter().map(|(scope, _)| scope).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_up_uses_the_recorded_plan_and_plans_no_more() {
    let plan = testing::plan(PLANNED, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let inputs: Map = [("n".into(), Value::Int(7))].into_iter().collect();
    let resources = || Arc::new(testing::resources());
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let whole = run(plan.clone(), inputs, resources(), options).await.unwrap();
    let id = RunId("run".into());
    let records = journal.read(&id).await.unwrap();
    let planned = records.iter().position(
        |record| matches!(&record.event, Event::AttemptEnded { scope, .. } if scope.to_string() == "planner"),
    );
    let planned = planned.unwrap();
    for n_kept in 1..=records.len() {
        let journal = Arc::new(MemoryJournal::default());
        journal.append(&id, records[..n_kept].to_vec()).await.unwrap();
        taken();
        let options = Options { journal: Some(journal), ..Options::default() };
        let resumed = resume(plan.clone(), resources(), options).await.unwrap();
        assert_eq!((&resumed.outcome, &resumed.outputs), (&Outcome::Succeeded, &whole.outputs));
        assert_eq!(taken().contains("planner"), n_kept <= planned, "cut after {n_kept}");
    }
    // The steps are those of the recorded plan, whoever looks at the journal.
    let seen = inspect(&plan, &records).unwrap();
    let steps = seen.nodes.iter().filter(|node| node.scope.to_string().starts_with("run/")).count();
    assert_eq!(steps, 4);
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_started_again_at_a_step_of_its_plan() {
    let plan = testing::plan(PLANNED, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let inputs: Map = [("n".into(), Value::Int(7))].into_iter().collect();
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let whole = run(plan.clone(), inputs, Arc::new(testing::resources()), options).await.unwrap();
    let records = journal.read(&RunId("run".into())).await.unwrap();
    let again = async |from: &str| {
        let from = ForkFrom::Scope(from.to_owned());
        let kept = fork(&plan, &records, &Fork { from, ..Fork::default() }).unwrap();
        let journal = Arc::new(MemoryJournal::default());
        journal.append(&RunId("run".into()), kept).await.unwrap();
        taken();
        let options = Options { journal: Some(journal), ..Options::default() };
        let report = resume(plan.clone(), Arc::new(testing::resources()), options).await.unwrap();
        assert_eq!(report.outputs, whole.outputs);
        taken()
    };
    assert_eq!(again("run/s3").await, ["run/s3", "after"].map(str::to_owned).into());
    assert_eq!(again("planner").await.len(), 6);
    let unknown =
        fork(&plan, &records, &Fork { from: ForkFrom::Scope("run/s9".to_owned()), ..Fork::default() });
    assert_eq!(unknown.unwrap_err().to_string(), "`run` has no node `s9`; did you mean `s0`?");
}
