//! Laws of attempts that are executed elsewhere: it makes no difference where.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_engine::budget::Budget;
use anabranch_engine::cx::Resources;
use anabranch_engine::event::{Event, FailureKind, Record};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{Done, NotTaken, Offload, Options, Outcome, Report, Task, execute_task, run};
use anabranch_engine::testing::{self, MapLibrary};
use anabranch_engine::value::{Map, Value};

use super::{facts, for_flows, journaled, seen};

/// Another process, as far as it can be told apart: it shares nothing with the run, and does not do all that it is asked.
struct Elsewhere {
    plan: Arc<Plan>,
    resources: Arc<Resources>,
    /// Decides what becomes of which task.
    seed: u64,
    done: AtomicUsize,
    told: Mutex<Vec<Task>>,
}

impl Elsewhere {
    fn new(plan: &Arc<Plan>, seed: u64) -> Arc<Self> {
        let resources = Arc::new(testing::resources());
        Arc::new(Self {
            plan: plan.clone(),
            resources,
            seed,
            done: AtomicUsize::new(0),
            told: Mutex::default(),
        })
    }

    /// One of four, by the task: the same on every run.
    fn choice(&self, task: &Task) -> u8 {
        let name = format!("{} {} {}", task.scope, task.attempt, self.seed);
        blake3::hash(name.as_bytes()).as_bytes()[0] % 4
    }
}

#[async_trait::async_trait]
impl Offload for Elsewhere {
    fn threshold(&self) -> usize {
        2
    }

    async fn execute(&self, task: Task) -> Result<Done, NotTaken> {
        self.told.lock().unwrap().push(task.clone());
        let refused = || NotTaken { why: "as the law says".to_owned() };
        let sent = serde_json::to_string(&task).unwrap();
        let task: Task = serde_json::from_str(&sent).unwrap();
        assert_eq!(serde_json::to_string(&task).unwrap(), sent);
        match if self.seed == 0 { 3 } else { self.choice(&task) } {
            0 => Err(refused()),
            1 => {
                // Lost on the way: it had begun, and nobody hears of its end.
                let work = execute_task(&self.plan, task, self.resources.clone());
                let _lost = tokio::time::timeout(Duration::from_millis(1), work).await;
                Err(refused())
            }
            _ => {
                let done = execute_task(&self.plan, task, self.resources.clone()).await?;
                self.done.fetch_add(1, Ordering::SeqCst);
                let answer = serde_json::to_string(&done).unwrap();
                let back: Done = serde_json::from_str(&answer).unwrap();
                assert_eq!(back, done, "{answer}");
                Ok(back)
            }
        }
    }
}

#[test]
fn wherever_attempts_are_executed_the_run_is_the_same() {
    let done = AtomicUsize::new(0);
    for_flows(4, false, async |plan, yaml| {
        if !yaml.contains("each:") {
            return;
        }
        let (here, records) = journaled(&plan, Options::default()).await;
        for seed in 0..4 {
            let elsewhere = Elsewhere::new(&plan, seed);
            let options = Options { offload: Some(elsewhere.clone()), ..Options::default() };
            let (report, others) = journaled(&plan, options).await;
            assert_eq!(seen(&report), seen(&here), "{yaml}");
            assert_eq!(report.usage, here.usage, "{yaml}");
            assert!(yaml.contains("stop_when") || facts(&others) == facts(&records), "{yaml}");
            done.fetch_add(elsewhere.done.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    });
    let done = done.into_inner();
    assert!(done > 0);
    println!("{done} attempts were executed elsewhere");
}

async fn run_at(
    elsewhere: Option<Arc<Elsewhere>>,
    plan: &Arc<Plan>,
    inputs: Map,
    budget: Budget,
) -> (Report, Vec<Record>) {
    let journal = Arc::new(MemoryJournal::default());
    let offload = elsewhere.map(|elsewhere| -> Arc<dyn Offload> { elsewhere });
    let options = Options { journal: Some(journal.clone()), budget, offload, ..Options::default() };
    let id = options.id.clone();
    let report = run(plan.clone(), inputs, Arc::new(testing::resources()), options).await.unwrap();
    (report, journal.read(&id).await.unwrap())
}

fn plan(yaml: &str) -> Arc<Plan> {
    testing::plan(yaml, &MapLibrary::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn words() -> Map {
    let words = Value::list(["so few words", "a b", "c", "d"].map(Value::text));
    [("words".into(), words)].into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn records_settings_and_failures_arrive_as_they_left() {
    // Chunks on a port that takes anything, settings that are only known at run time, and attempts that fail.
    let plan = plan(
        "flow: f\ninputs: { words: list<text> }\nnodes:\n  fan:\n    each: inputs.words\n    as: word\n    \
         on_item_error: keep\n    nodes:\n      \
         cut: { op: test.passages, in: { text: word } }\n      \
         more: { op: test.passages, in: { text: word, before: cut.chunks } }\n      \
         mix: { op: test.work, in: { a: more.chunks, b: cut.nil, c: cut.third }, \
         with: { salt: \"${ index }\", fail_times: \"${ index % 2 }\" }, retry: { attempts: 3, backoff: 1ms } }\n      \
         stop: { op: test.work, in: { a: mix.value }, with: { fail: rejected, fail_times: \"${ index == 3 ? 1 : 0 }\" } }\n    \
         outputs: { chunks: more.chunks, value: stop.value }\noutputs: { chunks: fan.chunks, value: fan.value }\n",
    );
    let (here, records) = run_at(None, &plan, words(), Budget::default()).await;
    assert_eq!(here.outcome, Outcome::Succeeded);
    let elsewhere = Elsewhere::new(&plan, 0);
    let (there, others) = run_at(Some(elsewhere.clone()), &plan, words(), Budget::default()).await;
    assert_eq!(seen(&there), seen(&here));
    assert_eq!(facts(&others), facts(&records));
    assert_eq!(elsewhere.done.load(Ordering::SeqCst), 18, "all of them, those that failed among them");
    let ran = others.iter().filter(|record| matches!(record.event, Event::AttemptEnded { .. })).count();
    assert_eq!(ran, 18);
}

#[tokio::test(start_paused = true)]
async fn what_is_spent_elsewhere_counts_and_is_bounded() {
    let plan = plan(
        "flow: f\ninputs: { words: list<text> }\nnodes:\n  \
         fan: { each: inputs.words, op: test.ask, in: { question: item }, concurrency: 1 }\noutputs: { texts: fan.text }\n",
    );
    for (most, succeeds) in [(4, true), (3, false)] {
        let budget = Budget { model_calls: Some(most), ..Budget::default() };
        let (here, records) = run_at(None, &plan, words(), budget).await;
        let elsewhere = Elsewhere::new(&plan, 0);
        let (there, others) = run_at(Some(elsewhere), &plan, words(), budget).await;
        assert_eq!(seen(&there), seen(&here), "the same words for the same budget");
        assert_eq!((there.usage, there.usage.model_calls), (here.usage, most));
        assert_eq!(facts(&others), facts(&records));
        assert_eq!(there.outcome == Outcome::Succeeded, succeeds);
        if let Outcome::Failed(failure) = there.outcome {
            assert_eq!(failure.kind, FailureKind::OverBudget);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_attempts_of_large_eaches_leave_and_dropping_the_run_stops_them() {
    let plan = plan(
        "flow: f\ninputs: { words: list<text> }\nnodes:\n  alone: { op: test.work }\n  \
         small: { each: \"['x']\", op: test.work, in: { a: item } }\n  \
         fan:\n    each: inputs.words\n    as: word\n    nodes:\n      \
         hop:\n        loop:\n          max_turns: 1\n          carry: { n: \"0\" }\n          nodes:\n            \
         w: { op: test.work, in: { a: word, b: carry.n }, with: { delay_ms: 1000 } }\n          \
         next: { n: w.value }\n    outputs: { n: hop.n }\noutputs: { n: fan.n, a: alone.value, s: small.value }\n",
    );
    let elsewhere = Elsewhere::new(&plan, 0);
    let running = run_at(Some(elsewhere.clone()), &plan, words(), Budget::default());
    assert!(tokio::time::timeout(Duration::from_millis(500), running).await.is_err());
    assert_eq!(testing::n_live(), 0, "what ran elsewhere was stopped");
    let scopes: Vec<String> =
        elsewhere.told.lock().unwrap().iter().map(|task| task.scope.to_string()).collect();
    assert_eq!(scopes, [0, 1, 2, 3].map(|item| format!("fan[{item}]/hop[1]/w")));
}

#[tokio::test]
async fn a_task_of_another_flow_is_not_taken() {
    let (one, other) = (
        plan(
            "flow: f\nnodes:\n  a: { each: \"[1, 2]\", op: test.work, in: { a: item } }\noutputs: { a: a.value }\n",
        ),
        plan("flow: g\nnodes:\n  a: { op: test.work }\noutputs: { a: a.value }\n"),
    );
    let elsewhere = Elsewhere::new(&one, 0);
    let (report, _) = run_at(Some(elsewhere.clone()), &one, Map::new(), Budget::default()).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
    let task = elsewhere.told.lock().unwrap()[0].clone();
    let refused = execute_task(&other, task.clone(), Arc::default()).await.unwrap_err();
    assert!(refused.why.starts_with("it belongs to flow "), "{refused}");
    let nowhere = Task { scope: "a[0]/nothing".into(), ..task.clone() };
    let refused = execute_task(&one, nowhere, Arc::default()).await.unwrap_err();
    assert_eq!(refused.why, "the flow has no operator at `a[0]/nothing`");
    let refused = execute_task(&one, Task { inputs: Vec::new(), ..task }, Arc::default()).await.unwrap_err();
    assert_eq!(refused.why, "it has 0 inputs, `test.work` has 1");
}
