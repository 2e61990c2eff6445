//! Where constructs meet: races with failures, budgets with fallbacks, long chains with slow branches.

use std::future::Future;
use std::pin::Pin;

use anabranch_engine::backend::{self, Call, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::event::{Event, Record};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::run::{Notice, Observer};

use super::*;

fn map(inputs: impl IntoIterator<Item = (&'static str, Value)>) -> Map {
    inputs.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

async fn journaled(yaml: &str, inputs: Map, resources: Resources) -> (Report, Vec<Record>) {
    let plan = testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let journal = Arc::new(MemoryJournal::default());
    let options = Options { journal: Some(journal.clone()), ..Options::default() };
    let id = options.id.clone();
    let report = run(plan, inputs, Arc::new(resources), options).await.unwrap();
    (report, journal.read(&id).await.unwrap())
}

fn with_model(model: impl ChatModel + 'static) -> Resources {
    let model: Arc<dyn ChatModel> = Arc::new(model);
    Resources { models: [("default".to_owned(), Model::Chat(model))].into(), ..Resources::default() }
}

// --- races ---------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_winner_that_fails_as_it_starts_fails_the_run_and_nothing_else() {
    let yaml =
        RACE.replace("join: JOIN", "timeout: \"${ inputs.t }\", join: { any: true, cancel_losers: true }");
    let yaml = yaml.replace("flow: f\n", "flow: f\ninputs: { t: text }\n");
    let (scope, kind, _) = failure(run_flow(&yaml, [("t", Value::text("soon"))]).await);
    assert_eq!((scope.as_str(), kind), ("win", FailureKind::InvalidSetting));
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_only_until_reads_is_still_wanted() {
    let yaml = "flow: f\nnodes:\n  l:\n    loop:\n      max_turns: 3\n      carry: { v: \"0\" }\n      nodes:\n        \
                slow: { op: test.work, with: { delay_ms: 50 } }\n        \
                quick: { op: test.work, with: { delay_ms: 1 } }\n        \
                win: { op: test.work, in: { a: \"first(slow.value, quick.value)\", b: carry.v }, join: { any: true, cancel_losers: true } }\n      \
                next: { v: win.value }\n      until: { done: slow.value >= 0 }\n\
                outputs: { why: l.stopped_because, turns: l.turns }\n";
    assert_eq!(outputs(&run_flow(yaml, []).await), json!({ "why": "done", "turns": 1 }));
}

// --- scopes that end early -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn nodes_queued_in_a_scope_that_failed_do_not_start_in_the_one_that_takes_its_place() {
    let big = "flow: big\ninputs: { t: text }\nnodes:\n  a: { op: test.work, timeout: \"${ inputs.t }\" }\n  \
               b: { op: test.work, with: { salt: 1 } }\n  c: { op: test.work, with: { salt: 2 } }\n  \
               d: { op: test.work, in: { x: \"a.value + b.value\" }, with: { salt: 3 } }\n\
               outputs: { v: \"a.value + b.value + c.value + d.value\" }\n";
    let small = "flow: small\ninputs: { t: text }\nnodes:\n  a: { op: test.work, in: { t: inputs.t } }\n\
                 outputs: { v: \"a.value * 0 + 7\" }\n";
    let yaml = "flow: f\ninputs: { t: text }\nnodes:\n  \
                x: { flow: big, in: { t: inputs.t }, on_error: { flow: small } }\noutputs: { v: x.v }\n";
    let report =
        run_with_library(yaml, &[("big", big), ("small", small)], map([("t", Value::text("soon"))])).await;
    assert_eq!(outputs(&report), json!({ "v": 7 }));
    assert!(report.nodes.iter().all(|node| node.scope.to_string() != "x/b"), "nothing of `big` has run");
}

#[tokio::test(start_paused = true)]
async fn the_wall_of_a_node_does_not_bound_the_flow_that_stands_in_for_it() {
    let yaml = "flow: f\nnodes:\n  \
                w: { op: test.work, with: { delay_ms: 500, fail: rejected, fail_times: 9 }, budget: { wall: 1s }, on_error: { flow: spare } }\n\
                outputs: { v: w.value }\n";
    let spare = "flow: spare\nnodes:\n  w: { op: test.work, with: { delay_ms: 2000 } }\n\
                 outputs: { value: \"w.value * 0 + 7\", text: w.text }\n";
    let report = run_with_library(yaml, &[("spare", spare)], Map::new()).await;
    assert_eq!(outputs(&report), json!({ "v": 7 }));
}

/// How many scopes are open, and whether one ever was.
#[derive(Default)]
struct Opened(std::sync::Mutex<(i32, bool)>);

impl Observer for Opened {
    fn notice(&self, notice: &Notice) {
        let mut opened = self.0.lock().unwrap();
        match notice {
            Notice::Opened { .. } => *opened = (opened.0 + 1, true),
            Notice::Closed { .. } => opened.0 -= 1,
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_stood_in_is_closed_and_the_node_keeps_its_failure() {
    let yaml = "flow: f\nnodes:\n  \
                w: { op: test.work, with: { fail: overloaded, fail_times: 9 }, retry: { attempts: 3, backoff: 1ms }, on_error: { flow: spare } }\n\
                outputs: { v: w.value }\n";
    let spare = "flow: spare\nnodes:\n  w: { op: test.work }\noutputs: { value: w.value, text: w.text }\n";
    let plan = testing::plan(yaml, &MapLibrary([("spare".to_owned(), spare.to_owned())].into())).unwrap();
    let opened = Arc::new(Opened::default());
    let options = Options { observer: Some(opened.clone()), ..Options::default() };
    let report = run(plan, Map::new(), Arc::new(testing::resources()), options).await.unwrap();
    assert_eq!(*opened.0.lock().unwrap(), (0, true));
    assert_eq!(report.nodes[0].attempts, 3);
    assert_eq!(report.nodes[0].failure.as_ref().unwrap().kind, FailureKind::Overloaded);
    assert_eq!(report.outcome, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn loops_in_loops_that_never_wait_for_anything_end_at_a_bound() {
    let inner = |name: &str, nodes: &str| {
        format!(
            "{name}: {{ loop: {{ max_turns: 1000, carry: {{ n: \"0\" }}, nodes: {{ {nodes} }}, next: {{ n: \"carry.n + 1\" }} }} }}"
        )
    };
    let nodes = inner("a", &inner("b", &inner("c", "w: { op: test.work, when: \"inputs.n > 5\" }")));
    let yaml = format!("flow: f\ninputs: {{ n: int }}\nnodes:\n  {nodes}\noutputs: {{ n: a.n }}\n");
    let (_, kind, message) = failure(run_flow(&yaml, [("n", Value::Int(1))]).await);
    assert_eq!(kind, FailureKind::OverLimit, "{message}");
}

// --- eaches --------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_item_that_a_quorum_would_not_have_come_to_cannot_fail_the_each() {
    for concurrency in [1, 8] {
        let yaml = format!(
            "flow: f\ninputs: {{ xs: list<int> }}\nnodes:\n  fan:\n    each: inputs.xs\n    as: x\n    concurrency: {concurrency}\n    \
             stop_when: {{ quorum: {{ of: vote, agree: 2 }} }}\n    nodes:\n      \
             w: {{ op: test.work, in: {{ a: x }}, with: {{ delay_ms: \"${{ 100 - 10 * x }}\", fail: rejected, fail_times: \"${{ x == 5 ? 9 : 0 }}\" }} }}\n    \
             outputs: {{ vote: \"w.value * 0 + x % 3\" }}\noutputs: {{ votes: fan.vote }}\n"
        );
        let report = run_flow(&yaml, [("xs", numbers(8))]).await;
        assert_eq!(outputs(&report), json!({ "votes": [0, 1, 2, 0] }), "concurrency {concurrency}");
        let (scope, ..) =
            failure(run_flow(&yaml.replace("agree: 2", "agree: 3"), [("xs", numbers(8))]).await);
        assert_eq!(scope, "fan[5]/w", "concurrency {concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_the_share_that_must_succeed_is_enough() {
    let yaml = "flow: f\ninputs: { xs: list<int> }\nnodes:\n  fan:\n    each: inputs.xs\n    as: x\n    \
                on_item_error: skip\n    min_success: 0.55\n    nodes:\n      \
                w: { op: test.work, in: { a: x }, with: { fail: rejected, fail_times: \"${ x < 45 ? 9 : 0 }\" } }\n    \
                outputs: { x: \"x + 0 * w.value\" }\noutputs: { n: size(fan.x) }\n";
    assert_eq!(outputs(&run_flow(yaml, [("xs", numbers(100))]).await), json!({ "n": 55 }));
}

#[tokio::test(start_paused = true)]
async fn a_condition_under_until_that_is_no_bool_fails_the_loop() {
    let yaml = "flow: f\ninputs: { x: any }\nnodes:\n  l:\n    loop:\n      max_turns: 3\n      carry: { n: \"0\" }\n      nodes:\n        \
                w: { op: test.work, in: { a: carry.n } }\n      next: { n: w.value }\n      until: { odd: inputs.x }\n\
                outputs: { n: l.turns }\n";
    assert_eq!(outputs(&run_flow(yaml, [("x", Value::Bool(true))]).await), json!({ "n": 1 }));
    let (scope, kind, message) = failure(run_flow(yaml, [("x", Value::text("yes"))]).await);
    assert_eq!((scope.as_str(), kind), ("l", FailureKind::Type), "{message}");
}

// --- time and money ------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn calls_that_are_answered_at_once_count_before_the_next_is_sent() {
    let yaml = "flow: f\ninputs: { xs: list<text> }\nbudget: { model_calls: 3 }\nnodes:\n  \
                fan: { each: inputs.xs, op: test.ask, in: { question: item }, concurrency: 16, on_item_error: skip, min_success: 0 }\n\
                outputs: { texts: fan.text }\n";
    let xs = Value::list((0..40).map(|n| Value::text(format!("{n}"))));
    let plan = testing::plan(yaml, &()).unwrap();
    let parrot = Arc::new(Parrot { delay: Duration::ZERO, ..Parrot::default() });
    let resources = Resources {
        models: [("default".to_owned(), Model::Chat(parrot.clone()))].into(),
        ..Resources::default()
    };
    let report = run(plan, map([("xs", xs)]), Arc::new(resources), Options::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(parrot.calls.load(Ordering::SeqCst), 3);
    assert_eq!(report.usage.model_calls, 3);
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_something_that_has_ended_leaves_no_trace() {
    let yaml = "flow: f\nnodes:\n  a: { op: test.work, with: { delay_ms: 10 }, budget: { wall: 1s } }\n  \
                b: { op: test.work, in: { a: \"first(a.value, 1)\" }, with: { delay_ms: 5000 }, join: { all: true, deadline: 2s } }\n\
                outputs: { b: b.value }\n";
    let (_, records) = journaled(yaml, Map::new(), testing::resources()).await;
    assert!(!records.iter().any(|record| matches!(record.event, Event::TimerFired(_))), "{records:#?}");
}

/// Answers after giving way to others once.
#[derive(Debug)]
struct Polite;

impl ChatModel for Polite {
    fn name(&self) -> &'static str {
        "polite"
    }

    fn chat<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        _: &'b ChatRequest,
        _: &'c Call<'d>,
    ) -> Pin<Box<dyn Future<Output = Result<ChatResponse, backend::Error>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
        Self: 'e,
    {
        Box::pin(async {
            tokio::task::yield_now().await;
            let usage = Usage { model_calls: 1, ..Usage::default() };
            let (finish_reason, model) = (FinishReason::Stop, String::new());
            Ok(ChatResponse {
                text: "after you".into(),
                finish_reason,
                usage,
                model,
                tool_calls: Vec::new(),
                logprobs: Vec::new(),
            })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_that_never_waits_does_not_hold_up_the_other_branches() {
    let yaml = "flow: f\nnodes:\n  chain: { loop: { max_turns: 1000, carry: { n: \"0\" }, nodes: { w: { op: test.work, in: { a: carry.n } } }, next: { n: w.value } } }\n  \
                other: { op: test.ask, in: { question: \"'may I?'\" } }\noutputs: { n: chain.turns, other: other.text }\n";
    let (_, records) = journaled(yaml, Map::new(), with_model(Polite)).await;
    let at = records.iter().position(
        |record| matches!(&record.event, Event::AttemptEnded { scope, .. } if &*scope.node == "other"),
    );
    assert!(at.unwrap() < 500, "the other branch ended as event {at:?} of {}", records.len());
}
