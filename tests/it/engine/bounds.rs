//! What a run holds itself to: how much at once, what it waits for, what it spends, and what it leaves behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use anabranch_engine::backend::{self, Call, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use anabranch_engine::event::{Record, RunId};
use anabranch_engine::journal::{self, Journal, MemoryJournal, Receipt};
use anabranch_engine::run::Error;

use super::*;

type Answering<'e> = Pin<Box<dyn Future<Output = Result<ChatResponse, backend::Error>> + Send + 'e>>;

/// Remembers the keys of its calls; answers the first with a failure, or with a panic.
#[derive(Debug, Default)]
struct Moody {
    panics: bool,
    keys: Mutex<Vec<String>>,
}

impl ChatModel for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn chat<'a, 'b, 'c, 'd, 'e>(&'a self, _: &'b ChatRequest, call: &'c Call<'d>) -> Answering<'e>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
        Self: 'e,
    {
        Box::pin(async move {
            let mut keys = self.keys.lock().unwrap();
            keys.push(call.idempotency_key.to_owned());
            if keys.len() == 1 {
                drop(keys);
                assert!(!self.panics, "not today");
                let (backend, message) = ("moody".to_owned(), "not yet".to_owned());
                return Err(backend::Error::Unavailable { backend, message, retry_after: None });
            }
            let (finish_reason, model) = (FinishReason::Stop, String::new());
            let usage = Usage { model_calls: 1, ..Usage::default() };
            Ok(ChatResponse {
                text: "well".into(),
                finish_reason,
                usage,
                model,
                tool_calls: Vec::new(),
                logprobs: Vec::new(),
            })
        })
    }
}

async fn run_with(yaml: &str, model: Arc<dyn ChatModel>, options: Options) -> Result<Report, Error> {
    let plan = testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let resources =
        Resources { models: [("default".to_owned(), Model::Chat(model))].into(), ..Resources::default() };
    run(plan, Map::new(), Arc::new(resources), options).await
}

// --- how much at once ----------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_each_runs_so_many_items_at_once_and_no_more() {
    for (concurrency, ms) in [(1, 600), (2, 300), (3, 200), (64, 100)] {
        let yaml = format!(
            "flow: f\ninputs: {{ xs: list<int> }}\nnodes:\n  \
             fan: {{ each: inputs.xs, op: test.work, in: {{ a: item }}, with: {{ delay_ms: 100 }}, concurrency: {concurrency} }}\n\
             outputs: {{ v: fan.value }}\n"
        );
        let report = run_flow(&yaml, [("xs", numbers(6))]).await;
        assert_eq!(report.elapsed, Duration::from_millis(ms), "concurrency {concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_executes_so_many_nodes_at_once_and_no_more() {
    let yaml = "flow: f\nnodes:\n  a: { op: test.work, with: { delay_ms: 100 } }\n  \
                b: { op: test.work, with: { delay_ms: 100 } }\n  c: { op: test.work, with: { delay_ms: 100 } }\n\
                outputs: { a: a.value, b: b.value, c: c.value }\n";
    for (concurrency, ms) in [(1, 300), (2, 200), (3, 100)] {
        let options = Options { concurrency, ..Options::default() };
        let report = run_with(yaml, Arc::new(Parrot::default()), options).await.unwrap();
        assert_eq!(report.elapsed, Duration::from_millis(ms), "concurrency {concurrency}");
    }
}

// --- what it waits for ---------------------------------------------------------------------------------------------

const THREE: &str = "flow: f\nnodes:\n  \
    a: { op: test.work, with: { delay_ms: 100, salt: 1 } }\n  b: { op: test.work, with: { delay_ms: 200, salt: 2 } }\n  \
    c: { op: test.work, with: { delay_ms: 300, salt: 3 } }\n  gate: { op: test.work, with: { delay_ms: 250 } }\n  \
    win: { op: test.numbers, in: { all: \"all_present([a.value, b.value, c.value])\" }, with: { n: 1 }, MORE }\n";

async fn won_after(more: &str, rest: &str) -> Report {
    let yaml = THREE.replace("MORE", more) + rest;
    run_flow(&yaml, []).await
}

fn started(report: &Report, node: &str) -> Option<Json> {
    let node = report.nodes.iter().find(|report| &*report.scope.node == node).unwrap();
    node.inputs.get("all").map(Value::to_json)
}

#[tokio::test(start_paused = true)]
async fn a_join_counts_what_is_there_after_what_the_node_cannot_do_without() {
    let out = "outputs: { win: win.numbers }\n";
    for (more, n_there) in [
        ("join: any", 1),
        ("join: { at_least: 2 }", 2),
        ("join: { at_least: 3 }", 3),
        ("after: gate, join: any", 2),
        ("join: { all: true, deadline: 150ms }", 1),
        ("join: all", 3),
    ] {
        let report = won_after(more, out).await;
        assert_eq!(started(&report, "win").unwrap().as_array().unwrap().len(), n_there, "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_somebody_else_wants_runs_on() {
    let any = "join: { any: true, cancel_losers: true }";
    let skipped = |report: &Report| -> Vec<String> {
        let skipped = report.nodes.iter().filter(|node| node.skipped.is_some());
        skipped.map(|node| node.scope.to_string()).collect()
    };
    let report = won_after(any, "outputs: { win: win.numbers }\n").await;
    assert_eq!(skipped(&report), ["b", "c"]);
    assert_eq!(report.elapsed, Duration::from_millis(250), "only `gate`, which nobody raced, is waited for");
    let report = won_after(
        any,
        "  also: { op: test.work, in: { a: c.value } }\noutputs: { win: win.numbers, v: also.value }\n",
    )
    .await;
    assert_eq!(skipped(&report), ["b"]);
    let report = won_after(any, "outputs: { win: win.numbers, b: b.value }\n").await;
    assert_eq!(skipped(&report), ["c"]);
}

// --- what it spends ------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_an_aborted_call_may_have_used_counts() {
    let yaml = "flow: f\nbudget: { model_calls: 1 }\nnodes:\n  \
                a: { op: test.ask, in: { question: \"'slow'\" }, budget: { wall: 10ms }, on_error: skip }\n  \
                b: { op: test.ask, in: { question: \"first(a.text, 'again')\" } }\noutputs: { t: b.text }\n";
    let parrot = Arc::new(Parrot { delay: Duration::from_secs(1), ..Parrot::default() });
    let report = run_with(yaml, parrot.clone(), Options::default()).await.unwrap();
    assert_eq!((report.usage.model_calls, report.usage.unanswered_calls), (1, 1));
    assert_eq!(parrot.calls.load(Ordering::SeqCst), 1);
    let aborted = &report.nodes[0];
    assert!(
        aborted.aborted && aborted.usage == report.usage && aborted.timing.ran == Duration::from_millis(10)
    );
    assert_eq!(failure(report).1, FailureKind::OverBudget);
}

#[tokio::test(start_paused = true)]
async fn attempts_share_a_key_and_a_budget_and_nodes_do_not_share_keys() {
    let yaml = "flow: f\nbudget: { model_calls: 3 }\nnodes:\n  \
                a: { op: test.ask, in: { question: \"'x'\" }, retry: { attempts: 2, backoff: 1ms } }\n  \
                b: { op: test.ask, in: { question: a.text } }\noutputs: { t: b.text }\n";
    let moody = Arc::new(Moody::default());
    let report = run_with(yaml, moody.clone(), Options::default()).await.unwrap();
    assert_eq!(outputs(&report), json!({ "t": "well" }));
    assert_eq!(report.usage.model_calls, 3);
    let keys = moody.keys.lock().unwrap();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_panics_fails_its_node_and_gives_back_what_it_held() {
    let yaml = "flow: f\nbudget: { model_calls: 2 }\nnodes:\n  \
                a: { op: test.ask, in: { question: \"'x'\" }, on_error: skip }\n  \
                b: { op: test.ask, in: { question: \"first(a.text, 'again')\" } }\noutputs: { t: b.text }\n";
    let moody = Moody { panics: true, ..Moody::default() };
    let report = run_with(yaml, Arc::new(moody), Options::default()).await.unwrap();
    assert_eq!(report.nodes[0].failure.as_ref().unwrap().kind, FailureKind::Internal);
    assert_eq!(outputs(&report), json!({ "t": "well" }));
}

// --- what it leaves behind -----------------------------------------------------------------------------------------

/// Takes so many batches, and no more.
struct Failing(Mutex<usize>, MemoryJournal);

#[async_trait::async_trait]
impl Journal for Failing {
    fn append(&self, run: &RunId, records: Vec<Record>) -> Receipt {
        let mut left = self.0.lock().unwrap();
        if *left == 0 {
            return Receipt::of(Err(journal::Error::Unavailable("the disk is full".to_owned())));
        }
        *left -= 1;
        self.1.append(run, records)
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Record>, journal::Error> {
        self.1.read(run).await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_that_the_journal_did_not_take() {
    let yaml = "flow: f\nnodes:\n  a: { op: test.ask, in: { question: \"'x'\" } }\n  \
                w: { op: test.work, with: { delay_ms: 500 } }\n  b: { op: test.ask, in: { question: a.text } }\n\
                outputs: { t: b.text, w: w.value }\n";
    for n_batches in 0..2 {
        let parrot = Arc::new(Parrot::default());
        let journal = Arc::new(Failing(Mutex::new(n_batches), MemoryJournal::default()));
        let options = Options { journal: Some(journal), ..Options::default() };
        let error = run_with(yaml, parrot.clone(), options).await.unwrap_err();
        assert_eq!(error.to_string(), "the journal cannot be reached: the disk is full");
        assert_eq!(parrot.calls.load(Ordering::SeqCst), n_batches);
        assert_eq!(testing::n_live(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_leaves_nothing_running() {
    let yaml = "flow: f\nnodes:\n  a: { op: test.work, with: { delay_ms: 500 } }\n  \
                b: { op: test.ask, in: { question: \"'x'\" } }\noutputs: { a: a.value, b: b.text }\n";
    let running = run_with(yaml, Arc::new(Parrot::default()), Options::default());
    let late = tokio::time::timeout(Duration::from_millis(100), running).await;
    assert!(late.is_err());
    assert_eq!(testing::n_live(), 0);
}
