//! What a run does, construct by construct, in virtual time: the flow, its inputs, what came out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::event::FailureKind;
use anabranch_engine::run::{Options, Outcome, Report, run};
use anabranch_engine::testing::{self, MapLibrary, Parrot, run_flow};
use anabranch_engine::value::{Map, Value};
use serde_json::{Value as Json, json};

mod bounds;
mod edges;
mod journal;
mod pause;
mod plans;
mod waits;

fn outputs(report: &Report) -> Json {
    assert_eq!(report.outcome, Outcome::Succeeded);
    serde_json::to_value(&report.outputs).unwrap()
}

fn failure(report: Report) -> (String, FailureKind, String) {
    match report.outcome {
        Outcome::Failed(failure) => (failure.scope.to_string(), failure.kind, failure.message),
        other => panic!("the run ended with {other:?}"),
    }
}

fn absent(report: &Report) -> BTreeMap<String, String> {
    report.absent.iter().map(|(name, why)| (name.to_string(), why.why.to_string())).collect()
}

fn numbers(n: i64) -> Value {
    Value::list((0..n).map(Value::Int))
}

// --- absence -------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_skipped_node_takes_what_needs_it_along_and_says_why() {
    let report = run_flow(
        "flow: f\ninputs: { n: int }\nnodes:\n  \
         a: { op: test.work, when: inputs.n > 5, in: { a: inputs.n } }\n  \
         b: { op: test.numbers, in: { x: a.value }, with: { n: 1 } }\n  \
         c: { op: test.ask, in: { question: a.text } }\n\
         outputs: { c: c.text, either: \"first(c.text, 'nothing')\", has: present(a.text), all: \"all_present([c.text, 'x'])\" }\n",
        [("n", Value::Int(3))],
    )
    .await;
    assert_eq!(outputs(&report), json!({ "either": "nothing", "has": false, "all": ["x"] }));
    let why = &absent(&report)["c"];
    assert!(why.contains("its `when` is false: inputs.n > 5"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn after_orders_without_data_and_does_not_pass_absence_on() {
    let report = run_flow(
        "flow: f\nnodes:\n  a: { op: test.work, when: \"1 > 2\" }\n  b: { op: test.work, after: a, with: { salt: 1 } }\n\
         outputs: { b: b.text }\n",
        [],
    )
    .await;
    assert!(outputs(&report)["b"].is_string());
}

// --- joins ---------------------------------------------------------------------------------------------------------

const RACE: &str = "flow: f\nnodes:\n  \
    slow: { op: test.work, with: { delay_ms: 5000, salt: 1 } }\n  \
    quick: { op: test.work, with: { delay_ms: 10, salt: 2 } }\n  \
    win: { op: test.work, in: { a: \"first(slow.value, quick.value)\" }, join: JOIN }\n\
    outputs: { win: win.value }\n";

#[tokio::test(start_paused = true)]
async fn a_join_of_any_goes_on_with_the_first_and_stops_the_others_if_told() {
    let report = run_flow(&RACE.replace("JOIN", "{ any: true, cancel_losers: true }"), []).await;
    assert_eq!(report.elapsed, Duration::from_millis(10));
    let slow = report.nodes.iter().find(|node| &*node.scope.node == "slow").unwrap();
    assert_eq!(slow.skipped.as_deref(), Some("`win` went on without it"));
    let report = run_flow(&RACE.replace("JOIN", "any"), []).await;
    assert_eq!(report.elapsed, Duration::from_secs(5), "the loser runs on if nobody stops it");
}

#[tokio::test(start_paused = true)]
async fn a_join_that_its_inputs_do_not_meet_skips_the_node() {
    let yaml = "flow: f\nnodes:\n  a: { op: test.work }\n  b: { op: test.work, when: a.value < 0 }\n  \
                both: { op: test.work, in: { a: \"first(a.value, b.value)\" }, join: { at_least: 2 } }\n\
                outputs: { both: both.value }\n";
    let report = run_flow(yaml, []).await;
    assert_eq!(absent(&report)["both"], "its join needs 2 of its inputs, and 1 is there");
}

#[tokio::test(start_paused = true)]
async fn a_join_with_a_deadline_goes_on_with_what_there_is() {
    let report =
        run_flow(&RACE.replace("JOIN", "{ all: true, deadline: 1s, cancel_losers: true }"), []).await;
    assert_eq!(report.elapsed, Duration::from_secs(1));
    assert!(outputs(&report)["win"].is_number());
}

// --- loops ---------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_loop_stops_for_the_first_reason_that_holds() {
    let yaml = "flow: f\ninputs: { most: int }\nnodes:\n  count:\n    loop:\n      max_turns: ${ inputs.most }\n      \
                carry: { seen: \"[]\", n: \"0\" }\n      nodes:\n        \
                step: { op: test.work, in: { a: carry.n } }\n      \
                next: { seen: \"carry.seen + [carry.n]\", n: carry.n + 1 }\n      \
                until: { long: size(carry.seen) >= 3, never: step.value < 0 }\n\
                outputs: { seen: count.seen, n: count.n, turns: count.turns, why: count.stopped_because }\n";
    let report = run_flow(yaml, [("most", Value::Int(10))]).await;
    assert_eq!(outputs(&report), json!({ "seen": [0, 1, 2, 3], "n": 4, "turns": 4, "why": "long" }));
    let report = run_flow(yaml, [("most", Value::Int(2))]).await;
    assert_eq!(outputs(&report), json!({ "seen": [0, 1], "n": 2, "turns": 2, "why": "max_turns" }));
    let (scope, kind, message) = failure(run_flow(yaml, [("most", Value::Int(0))]).await);
    assert_eq!((scope.as_str(), kind), ("count", FailureKind::InvalidSetting));
    assert!(message.contains("gave 0, not a whole number from 1 to 1000"), "{message}");
}

// --- each ----------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_each_gives_its_outputs_in_the_order_of_the_input() {
    let report = run_flow(
        "flow: f\ninputs: { xs: list<int> }\nnodes:\n  fan:\n    each: inputs.xs\n    as: x\n    concurrency: 3\n    \
         nodes:\n      w: { op: test.work, in: { a: x }, with: { delay_ms: \"${ 100 - x }\" } }\n    \
         outputs: { x: x, at: index }\noutputs: { xs: fan.x, at: fan.at, errors: fan.errors }\n",
        [("xs", Value::list([30, 10, 20].map(Value::Int)))],
    )
    .await;
    assert_eq!(outputs(&report), json!({ "xs": [30, 10, 20], "at": [0, 1, 2], "errors": [] }));
}

#[tokio::test(start_paused = true)]
async fn a_failed_item_fails_is_left_out_or_stands_as_a_record() {
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  fan:\n    each: inputs.xs\n    as: x\n    \
                on_item_error: KIND\n    min_success: SHARE\n    nodes:\n      \
                w: { op: test.work, in: { a: x }, with: { fail: rejected, fail_times: \"${ x == 1 ? 9 : 0 }\" } }\n    \
                outputs: { x: \"x + 0 * w.value\" }\noutputs: { xs: fan.x }\n";
    let flow = |kind: &str, share: &str| yaml.replace("KIND", kind).replace("SHARE", share);
    let (scope, kind, message) = failure(run_flow(&flow("fail", "0"), [("xs", numbers(3))]).await);
    assert_eq!((scope.as_str(), kind), ("fan[1]/w", FailureKind::Rejected));
    assert!(message.starts_with("item 1 (input "), "{message}");
    assert_eq!(outputs(&run_flow(&flow("skip", "0.5"), [("xs", numbers(3))]).await), json!({ "xs": [0, 2] }));
    let kept = outputs(&run_flow(&flow("keep", "0"), [("xs", numbers(3))]).await);
    assert_eq!(kept["xs"][1]["index"], 1);
    assert_eq!(kept["xs"][1]["kind"], "rejected");
    assert_eq!(kept["xs"][2], 2);
    let (_, kind, message) = failure(run_flow(&flow("skip", "0.9"), [("xs", numbers(3))]).await);
    assert_eq!(kind, FailureKind::TooFewItems);
    assert!(message.contains("2 of 3 items succeeded"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_quorum_stops_at_the_same_item_whoever_is_faster() {
    for concurrency in [1, 2, 7] {
        let report = run_flow(
            &format!(
                "flow: f\ninputs: {{ xs: list<int> }}\nnodes:\n  fan:\n    each: inputs.xs\n    as: x\n    \
                 concurrency: {concurrency}\n    stop_when: {{ quorum: {{ of: vote, agree: 2 }} }}\n    nodes:\n      \
                 w: {{ op: test.work, in: {{ a: x }}, with: {{ delay_ms: \"${{ 100 - 10 * x }}\" }} }}\n    \
                 outputs: {{ vote: \"w.value > -1 ? x % 3 : 0\" }}\noutputs: {{ votes: fan.vote }}\n"
            ),
            [("xs", numbers(8))],
        )
        .await;
        assert_eq!(outputs(&report), json!({ "votes": [0, 1, 2, 0] }), "concurrency {concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_each_over_nothing_gives_empty_lists_and_over_too_much_is_refused() {
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  \
                fan: { each: inputs.xs, op: test.work, in: { a: item }, max_items: 5 }\noutputs: { v: fan.value }\n";
    assert_eq!(outputs(&run_flow(yaml, [("xs", numbers(0))]).await), json!({ "v": [] }));
    let (scope, kind, message) = failure(run_flow(yaml, [("xs", numbers(6))]).await);
    assert_eq!((scope.as_str(), kind), ("fan", FailureKind::OverLimit));
    assert_eq!(message, "`each` has 6 items, `max_items` is 5");
}

// --- sub-flows -----------------------------------------------------------------------------------------------------

async fn run_with_library(yaml: &str, library: &[(&str, &str)], inputs: Map) -> Report {
    let flows = library.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let plan = testing::plan(yaml, &MapLibrary(flows)).unwrap_or_else(|problems| panic!("{problems}"));
    run(plan, inputs, Arc::new(testing::resources()), Options::default()).await.unwrap()
}

const DOUBLE: &str = "flow: double\ninputs: { n: { type: int, default: 4, max: 9 } }\nnodes:\n  \
    w: { op: test.work, in: { a: inputs.n } }\noutputs: { twice: \"w.value * 0 + inputs.n * 2\" }\n";

#[tokio::test(start_paused = true)]
async fn a_flow_runs_as_a_node_of_another() {
    let yaml = "flow: f\ninputs: { n: int }\nnodes:\n  d: { flow: double, in: { n: inputs.n } }\n  \
                e: { flow: double }\n  all: { each: \"[1, 2]\", flow: double, in: { n: item } }\n\
                outputs: { d: d.twice, e: e.twice, all: all.twice }\n";
    let n = |n: i64| [("n".into(), Value::Int(n))].into_iter().collect::<Map>();
    let report = run_with_library(yaml, &[("double", DOUBLE)], n(5)).await;
    assert_eq!(outputs(&report), json!({ "d": 10, "e": 8, "all": [2, 4] }));
    assert!(report.nodes.iter().any(|node| node.scope.to_string() == "d/w"));
    let (scope, kind, message) = failure(run_with_library(yaml, &[("double", DOUBLE)], n(10)).await);
    assert_eq!((scope.as_str(), kind), ("d", FailureKind::InvalidInput));
    assert_eq!(message, "input `n` is 10, more than its most, 9");
}

// --- failure -------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_retry_honours_retry_after_and_counts_its_attempts() {
    let report = run_flow(
        "flow: f\nnodes:\n  w: { op: test.work, with: { fail: overloaded, fail_times: 2 }, \
         retry: { attempts: 3, backoff: 1ms, max_backoff: 1ms } }\noutputs: { v: w.text }\n",
        [],
    )
    .await;
    assert_eq!(report.nodes[0].attempts, 3);
    // The operator asks for 7 ms twice; backoff alone would be 1 to 2 ms.
    assert!(report.elapsed >= Duration::from_millis(14), "{:?}", report.elapsed);
    let (scope, kind, _) = failure(
        run_flow(
            "flow: f\nnodes:\n  w: { op: test.work, with: { fail_times: 1 } }\noutputs: { v: w.text }\n",
            [],
        )
        .await,
    );
    assert_eq!(
        (scope.as_str(), kind),
        ("w", FailureKind::Unavailable),
        "without `retry` there is one attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_bounds_an_attempt() {
    let report = run_flow(
        "flow: f\nnodes:\n  w: { op: test.work, with: { delay_ms: 60000 }, timeout: 2s }\noutputs: { v: w.text }\n",
        [],
    )
    .await;
    assert_eq!(report.elapsed, Duration::from_secs(2));
    let (_, kind, message) = failure(report);
    assert_eq!(kind, FailureKind::TimedOut);
    assert!(message.contains("no result within 2s"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn silence_longer_than_idle_timeout_ends_an_attempt() {
    let report = run_flow(
        "flow: f\nnodes:\n  w: { op: test.work, with: { delay_ms: 60000 }, idle_timeout: 3s }\noutputs: { v: w.text }\n",
        [],
    )
    .await;
    let elapsed = report.elapsed;
    assert_eq!(failure(report).1, FailureKind::TimedOut);
    assert_eq!(elapsed, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_flow_can_stand_in_for_a_failed_node() {
    let yaml = "flow: f\ninputs: { n: int }\nnodes:\n  \
                w: { op: test.work, in: { n: inputs.n }, with: { fail: rejected, fail_times: 9 }, on_error: { flow: spare } }\n\
                outputs: { v: w.value }\n";
    let spare = "flow: spare\ninputs: { n: int }\nnodes:\n  w: { op: test.work, in: { a: inputs.n } }\n\
                 outputs: { value: \"w.value * 0 + inputs.n\", text: w.text }\n";
    let n: Map = [("n".into(), Value::Int(7))].into_iter().collect();
    assert_eq!(outputs(&run_with_library(yaml, &[("spare", spare)], n.clone()).await), json!({ "v": 7 }));
    let broken = spare.replace("in: { a: inputs.n }", "in: { a: inputs.n }, with: { fail_times: 9 }");
    let (scope, ..) = failure(run_with_library(yaml, &[("spare", &broken)], n).await);
    assert_eq!(scope, "w/on_error/w", "a fallback that fails is not caught again");
}

// --- budgets -------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_inner_budget_ends_its_scope_and_on_error_makes_a_partial_answer_of_it() {
    let yaml = "flow: f\ninputs: { q: text }\nnodes:\n  hop:\n    budget: { model_calls: 2 }\n    ON_ERROR\n    loop:\n      \
                max_turns: 9\n      carry: { q: inputs.q }\n      nodes:\n        a: { op: test.ask, in: { question: carry.q } }\n      \
                next: { q: a.text }\n  end: { op: test.ask, in: { question: \"first(hop.q, 'partial')\" } }\n\
                outputs: { end: end.text }\n";
    let flow = |on_error: &str| yaml.replace("ON_ERROR", on_error);
    let (scope, kind, message) = failure(run_flow(&flow("about: x"), [("q", Value::text("hi"))]).await);
    assert_eq!((scope.as_str(), kind), ("hop[3]/a", FailureKind::OverBudget));
    assert_eq!(message, "the budget of `hop` is used up: model_calls is limited to 2");
    let report = run_flow(&flow("on_error: skip"), [("q", Value::text("hi"))]).await;
    assert_eq!(outputs(&report), json!({ "end": "partial" }));
    assert_eq!(report.usage.model_calls, 3);
}

#[tokio::test(start_paused = true)]
async fn a_wall_budget_ends_its_scope_in_time() {
    let yaml = "flow: f\nbudget: { wall: 10s }\nnodes:\n  \
                w: { op: test.work, with: { delay_ms: 60000 }, budget: { wall: 1s }, on_error: skip }\n  \
                x: { op: test.work, after: w, with: { delay_ms: 60000 } }\noutputs: { v: x.text }\n";
    let report = run_flow(yaml, []).await;
    assert_eq!(report.elapsed, Duration::from_secs(10));
    let (_, kind, message) = failure(report);
    assert_eq!(kind, FailureKind::OverBudget);
    assert!(message.contains("wall is limited to 10s"), "{message}");
}

// --- the rest ------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_cached_result_is_used_again_for_the_same_inputs_only() {
    let yaml = "flow: f\ninputs: { q: text }\nnodes:\n  a: { op: test.ask, in: { question: inputs.q }, cache: 1h }\n\
                outputs: { t: a.text }\n";
    let parrot = Arc::new(Parrot::default());
    let model = Model::Chat(parrot.clone());
    let resources =
        Arc::new(Resources { models: [("default".to_owned(), model)].into(), ..Resources::default() });
    let plan = testing::plan(yaml, &()).unwrap();
    for (q, use_cache, n_calls) in [("x", true, 1), ("x", true, 1), ("y", true, 2), ("y", false, 3)] {
        let inputs = [("q".into(), Value::text(q))].into_iter().collect();
        let options = Options { use_cache, ..Options::default() };
        let report = run(plan.clone(), inputs, resources.clone(), options).await.unwrap();
        assert_eq!(outputs(&report), json!({ "t": q }));
        assert_eq!(parrot.calls.load(Ordering::SeqCst), n_calls);
    }
}

#[tokio::test(start_paused = true)]
async fn all_problems_of_the_inputs_are_told_at_once() {
    let plan = testing::plan(
        "flow: f\ninputs: { n: { type: int, max: 5 }, q: text }\nnodes:\n  w: { op: test.work, in: { a: inputs.n, b: inputs.q } }\n\
         outputs: { v: w.text }\n",
        &(),
    )
    .unwrap();
    let inputs = [("n".into(), Value::Int(9)), ("question".into(), Value::text("?"))].into_iter().collect();
    let error = run(plan, inputs, Arc::new(testing::resources()), Options::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `n` is 9, more than its most, 5\ninput `q` is missing: it takes `text`\nthe flow has no input `question`; its inputs are: `n`, `q`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_only_known_at_run_time_is_checked_then() {
    let yaml = "flow: f\ninputs: { n: int }\nnodes:\n  l: { op: test.numbers, with: { n: \"${ inputs.n }\" } }\n\
                outputs: { l: l.numbers }\n";
    assert_eq!(outputs(&run_flow(yaml, [("n", Value::Int(2))]).await), json!({ "l": [0, 1] }));
    let (scope, kind, _) = failure(run_flow(yaml, [("n", Value::Int(1_000_000))]).await);
    assert_eq!((scope.as_str(), kind), ("l", FailureKind::InvalidSetting));
}
