//! Waits: what a run does while nobody answers, how answers reach it, and what is refused.

use anabranch_engine::event::{Event, Record, RunId};
use anabranch_engine::journal::{Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{AnswerError, Error, Inbox, Notice, Observer, resume, wait_of};
use anabranch_engine::scope::Scope;

use super::*;

/// A draft, an approval of it, and what follows.
const APPROVAL: &str = "flow: f\ninputs: { n: int }\nnodes:\n  \
    draft: { op: test.work, in: { a: inputs.n } }\n  \
    approve: { wait: { for: bool, about: Send it?, deadline: 2h, default: false }, in: { draft: draft.text } }\n  \
    sent: { op: test.work, in: { a: draft.value }, when: approve.value, with: { salt: 1 } }\n\
    outputs: { sent: \"first(sent.text, 'kept')\", answered: approve.answered }\n";

fn plan(yaml: &str) -> Arc<Plan> {
    testing::plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What a process has: a journal, a clock, an inbox.
fn options(journal: &Arc<MemoryJournal>) -> Options {
    Options {
        journal: Some(journal.clone()),
        clock: testing::clock(1_000_000),
        park: true,
        ..Options::default()
    }
}

async fn start(plan: &Arc<Plan>, options: &Options) -> Report {
    let inputs = [("n".into(), Value::Int(3))].into_iter().collect();
    run(plan.clone(), inputs, Arc::new(testing::resources()), options.clone()).await.unwrap()
}

async fn again(plan: &Arc<Plan>, options: &Options) -> Report {
    resume(plan.clone(), Arc::new(testing::resources()), options.clone()).await.unwrap()
}

async fn events(journal: &MemoryJournal) -> Vec<Record> {
    journal.read(&RunId("run".into())).await.unwrap()
}

fn waits(report: &Report) -> Vec<String> {
    match &report.outcome {
        Outcome::Waiting { waits } => waits.iter().map(|wait| wait.scope.to_string()).collect(),
        other => panic!("the run ended with {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_waits_is_parked_and_says_what_it_shows_and_asks() {
    let journal = Arc::new(MemoryJournal::default());
    let parked = start(&plan(APPROVAL), &options(&journal)).await;
    assert_eq!(
        serde_json::to_value(&parked.outcome).unwrap(),
        json!({ "status": "waiting", "waits": [{
            "scope": "approve",
            "type": "bool",
            "about": "Send it?",
            "shown": { "draft": "645" },
            "since_ms": 1_000_000,
            "until_ms": 1_000_000 + 2 * 3_600_000,
        }] })
    );
    assert_eq!(testing::n_live(), 0);
    assert!(matches!(events(&journal).await.last().unwrap().event, Event::WaitOpened { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_before_the_run_is_taken_up_carries_it_on() {
    let (plan, journal) = (plan(APPROVAL), Arc::new(MemoryJournal::default()));
    start(&plan, &options(&journal)).await;
    testing::take_ran();
    let options = options(&journal);
    let answering = options.inbox.answer("approve".into(), Value::Bool(true), Some("ada".into()));
    let second = options.inbox.answer("approve".into(), Value::Bool(false), None);
    let report = again(&plan, &options).await;
    assert_eq!(answering.await, Ok(()));
    assert_eq!(second.await, Err(AnswerError::AlreadyAnswered { scope: "approve".into() }));
    assert_eq!(outputs(&report)["answered"], true);
    assert_ne!(outputs(&report)["sent"], "kept");
    assert_eq!(testing::take_ran(), [("sent".to_owned(), 1)], "nothing before the wait runs again");
    let answered =
        Event::WaitAnswered { scope: "approve".into(), value: Value::Bool(true), by: Some("ada".into()) };
    assert!(events(&journal).await.iter().any(|record| record.event == answered));
}

#[tokio::test(start_paused = true)]
async fn nobody_answers_and_the_default_is_the_value_or_the_node_fails() {
    let journal = Arc::new(MemoryJournal::default());
    let patient = Options { park: false, ..options(&journal) };
    let report = start(&plan(APPROVAL), &patient).await;
    assert_eq!(outputs(&report), json!({ "sent": "kept", "answered": false }));
    assert_eq!(patient.clock.now_ms(), 1_000_000 + 2 * 3_600_000);

    let strict = APPROVAL.replace(", default: false", "");
    let patient = Options { journal: None, park: false, ..options(&journal) };
    let (scope, kind, message) = failure(start(&plan(&strict), &patient).await);
    assert_eq!((scope.as_str(), kind), ("approve", FailureKind::TimedOut));
    assert_eq!(message, "nobody answered within 2h, and the wait has no `default`");
    let caught = strict.replace("in: { draft: draft.text }", "in: { draft: draft.text }, on_error: skip");
    let caught = caught.replace("answered: approve.answered", "has: present(approve.value)");
    let patient = Options { journal: None, park: false, ..options(&journal) };
    assert_eq!(outputs(&start(&plan(&caught), &patient).await), json!({ "sent": "kept", "has": false }));
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_taken_up_after_its_deadline_takes_the_default() {
    let (plan, journal) = (plan(APPROVAL), Arc::new(MemoryJournal::default()));
    let options = options(&journal);
    start(&plan, &options).await;
    tokio::time::advance(Duration::from_hours(3)).await;
    let late = options.inbox.answer("approve".into(), Value::Bool(true), None);
    // What has been put in is looked at first: an answer may be late by as long as nobody looked.
    assert_eq!(outputs(&again(&plan, &options).await)["answered"], true);
    assert_eq!(late.await, Ok(()));

    let journal = Arc::new(MemoryJournal::default());
    let options = self::options(&journal);
    start(&plan, &options).await;
    tokio::time::advance(Duration::from_hours(3)).await;
    assert_eq!(outputs(&again(&plan, &options).await)["answered"], false);
}

/// Answers a wait as soon as it is told of.
struct Answers {
    inbox: Inbox,
    value: Value,
}

impl Observer for Answers {
    fn notice(&self, notice: &Notice) {
        if let Notice::Waiting(wait) = notice {
            drop(self.inbox.answer(wait.scope.clone(), self.value.clone(), None));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waits_in_loops_eaches_and_sub_flows_are_answered_by_their_paths() {
    let yaml = "flow: f\nnodes:\n  \
        hop:\n    loop:\n      max_turns: 2\n      carry: { seen: \"[]\" }\n      nodes:\n        \
        pick: { wait: { for: int }, in: { seen: carry.seen } }\n      \
        next: { seen: \"carry.seen + [pick.value]\" }\n  \
        fan:\n    each: \"[1, 2]\"\n    nodes:\n      mark: { wait: { for: int }, in: { item: item } }\n    \
        outputs: { mark: mark.value }\n  \
        sub: { flow: part }\n\
        outputs: { seen: hop.seen, marks: fan.mark, sub: sub.value }\n";
    let part = "flow: part\nnodes:\n  ask: { wait: { for: text } }\noutputs: { value: ask.value }\n";
    let library = MapLibrary([("part".to_owned(), part.to_owned())].into());
    let plan = testing::plan(yaml, &library).unwrap_or_else(|problems| panic!("{problems}"));
    let journal = Arc::new(MemoryJournal::default());
    let options = options(&journal);
    let parked =
        run(plan.clone(), Map::new(), Arc::new(testing::resources()), options.clone()).await.unwrap();
    assert_eq!(waits(&parked), ["hop[1]/pick", "fan[0]/mark", "fan[1]/mark", "sub/ask"]);
    let give = |scope: &str, value: Value| drop(options.inbox.answer(scope.into(), value, None));
    give("fan[1]/mark", Value::Int(21));
    give("hop[1]/pick", Value::Int(11));
    let parked = again(&plan, &options).await;
    assert_eq!(waits(&parked), ["fan[0]/mark", "sub/ask", "hop[2]/pick"]);
    give("fan[0]/mark", Value::Int(20));
    give("hop[2]/pick", Value::Int(12));
    give("sub/ask", Value::text("yes"));
    let report = again(&plan, &options).await;
    assert_eq!(outputs(&report), json!({ "seen": [11, 12], "marks": [20, 21], "sub": "yes" }));
    for (scope, ty) in
        [("hop[7]/pick", Some("int")), ("fan[0]/mark", Some("int")), ("sub/ask", Some("text")), ("sub", None)]
    {
        let found = wait_of(&plan, &scope.into()).map(|wait| wait.ty.to_string());
        assert_eq!(found.as_deref(), ty, "{scope}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_type_or_to_nothing_is_refused_and_the_wait_goes_on() {
    let plan = plan(APPROVAL);
    let journal = Arc::new(MemoryJournal::default());
    let options = options(&journal);
    start(&plan, &options).await;
    let wrong = options.inbox.answer("approve".into(), Value::text("yes"), None);
    let nowhere = options.inbox.answer("hop[1]/approve".into(), Value::Bool(true), None);
    assert_eq!(waits(&again(&plan, &options).await), ["approve"]);
    assert_eq!(
        wrong.await.unwrap_err().to_string(),
        "`approve` waits for `bool`: expected `bool`, found `text`"
    );
    let nowhere = nowhere.await.unwrap_err();
    assert_eq!(nowhere, AnswerError::NoSuchWait { scope: Scope::from("hop[1]/approve") });
    drop(options.inbox.answer("approve".into(), Value::Bool(true), None));
    again(&plan, &options).await;
    // The run has ended, and still knows that it was answered.
    let late = options.inbox.answer("approve".into(), Value::Bool(true), None);
    again(&plan, &options).await;
    assert_eq!(late.await.unwrap_err(), AnswerError::AlreadyAnswered { scope: "approve".into() });
}

#[tokio::test(start_paused = true)]
async fn waiting_does_not_use_up_the_time_of_a_run_whether_it_is_parked_or_not() {
    // Ten seconds may it run; four before the wait of two hours, four after it, and the third four are too many.
    let yaml = "flow: f\ninputs: { n: int }\nbudget: { wall: 10s }\nnodes:\n  \
        before: { op: test.work, with: { delay_ms: 4000 } }\n  \
        gate: { wait: { for: bool, deadline: 2h, default: true }, in: { before: before.value } }\n  \
        after: { op: test.work, in: { a: gate.value }, with: { delay_ms: 4000 } }\n  \
        last: { op: test.work, in: { a: after.value }, when: inputs.n > 3, with: { delay_ms: 4000 } }\n\
        outputs: { after: after.value, last: \"first(last.value, 0)\" }\n";
    let plan = plan(yaml);
    for park in [false, true] {
        for (n, elapsed_s) in [(3, 8), (4, 10)] {
            let journal = Arc::new(MemoryJournal::default());
            let options = Options { park, ..options(&journal) };
            let inputs = [("n".into(), Value::Int(n))].into_iter().collect();
            let resources = Arc::new(testing::resources());
            let mut report = run(plan.clone(), inputs, resources, options.clone()).await.unwrap();
            if park {
                assert_eq!(waits(&report), ["gate"]);
                tokio::time::advance(Duration::from_hours(2)).await;
                report = again(&plan, &options).await;
            }
            assert_eq!(report.elapsed, Duration::from_secs(elapsed_s), "park: {park}, n: {n}");
            assert_eq!(report.outcome == Outcome::Succeeded, n == 3, "{:?}", report.outcome);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_not_parked_while_a_join_may_still_go_on_without_the_answer() {
    let yaml = "flow: f\nnodes:\n  \
        ask: { wait: { for: int } }\n  \
        go: { op: test.work, in: { a: \"first(ask.value, 7)\" }, join: { all: true, deadline: 5s, cancel_losers: true } }\n\
        outputs: { v: go.value }\n";
    let journal = Arc::new(MemoryJournal::default());
    let options = options(&journal);
    let late = options.inbox.clone();
    let report = run(plan(yaml), Map::new(), Arc::new(testing::resources()), options).await.unwrap();
    assert_eq!(report.elapsed, Duration::from_secs(5));
    assert!(outputs(&report)["v"].is_number());
    drop(late);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_cancelled_and_answers_reach_it_while_it_runs() {
    let journal = Arc::new(MemoryJournal::default());
    let waiting = Options { park: false, ..options(&journal) };
    let cancel = waiting.cancel.clone();
    let plan = plan(APPROVAL);
    let (report, ()) = tokio::join!(start(&plan, &waiting), async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        cancel.cancel();
    });
    assert!(matches!(report.outcome, Outcome::Cancelled { .. }));

    let journal = Arc::new(MemoryJournal::default());
    // Told of a wait, it answers at once: that is before the run would be parked.
    let waiting = options(&journal);
    let observer = Answers { inbox: waiting.inbox.clone(), value: Value::Bool(true) };
    let waiting = Options { observer: Some(Arc::new(observer)), ..waiting };
    assert_eq!(outputs(&start(&plan, &waiting).await)["answered"], true);
}

#[tokio::test(start_paused = true)]
async fn who_takes_up_a_run_writes_so_before_anything_else() {
    let (plan, journal) = (plan(APPROVAL), Arc::new(MemoryJournal::default()));
    start(&plan, &options(&journal)).await;
    let n_before = events(&journal).await.len();
    let options = Options { taken_up: Some(("wkr_2".into(), 2)), ..options(&journal) };
    drop(options.inbox.answer("approve".into(), Value::Bool(true), None));
    again(&plan, &options).await;
    let records = events(&journal).await;
    assert_eq!(records[n_before].event, Event::TakenUp { by: "wkr_2".into(), epoch: 2 });
    // A run that has ended is left as it is.
    again(&plan, &options).await;
    assert_eq!(events(&journal).await.len(), records.len());
}

// --- effects -------------------------------------------------------------------------------------------------------

const PAY: &str = "flow: f\nnodes:\n  pay: { op: test.effect, with: { delay_ms: 50 }, RETRY }\n\
    outputs: { key: pay.key }\n";

#[tokio::test(start_paused = true)]
async fn an_effect_that_was_interrupted_is_not_repeated_unless_the_flow_says_so() {
    for (retry, ends_well) in [("about: once", false), ("retry: { on: [interrupted], backoff: 1ms }", true)] {
        let plan = plan(&PAY.replace("RETRY", retry));
        let journal = Arc::new(MemoryJournal::default());
        let stopped = run(plan.clone(), Map::new(), Arc::new(testing::resources()), options(&journal));
        tokio::time::timeout(Duration::from_millis(20), stopped).await.unwrap_err();
        let began = Event::EffectBegan { scope: "pay".into(), attempt: 1 };
        assert_eq!(events(&journal).await.last().unwrap().event, began);
        testing::take_ran();
        let report = again(&plan, &options(&journal)).await;
        assert_eq!(report.outcome == Outcome::Succeeded, ends_well, "{:?}", report.outcome);
        if ends_well {
            assert_eq!(testing::take_ran(), [("pay".to_owned(), 2)]);
        } else {
            assert_eq!(testing::take_ran(), []);
            let (scope, kind, message) = failure(report);
            assert_eq!((scope.as_str(), kind), ("pay", FailureKind::Interrupted));
            assert_eq!(message, "`test.effect` was interrupted, and its effects may have happened");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lost_its_journal_stops() {
    let journal = Arc::new(MemoryJournal::default());
    let options = options(&journal);
    start(&plan(APPROVAL), &options).await;
    // Somebody else writes: the answer of this process comes too late, and is not taken.
    let theirs = Record {
        seq: events(&journal).await.len() as u64,
        at: Duration::ZERO,
        event: Event::TakenUp { by: "other".into(), epoch: 2 },
    };
    let (answered, plan) = (options.inbox.answer("approve".into(), Value::Bool(true), None), plan(APPROVAL));
    let stale = Stale(journal.clone(), events(&journal).await);
    journal.append(&RunId("run".into()), vec![theirs]).await.unwrap();
    let options = Options { journal: Some(Arc::new(stale)), ..options };
    let error = resume(plan, Arc::new(testing::resources()), options).await.unwrap_err();
    assert!(matches!(error, Error::Journal(anabranch_engine::journal::Error::Fenced { .. })), "{error}");
    assert_eq!(answered.await, Err(AnswerError::NotTaken { scope: "approve".into() }));
}

/// Reads what was there before somebody else wrote.
struct Stale(Arc<MemoryJournal>, Vec<Record>);

#[async_trait::async_trait]
impl Journal for Stale {
    fn append(&self, run: &RunId, records: Vec<Record>) -> anabranch_engine::journal::Receipt {
        self.0.append(run, records)
    }

    async fn read(&self, _: &RunId) -> Result<Vec<Record>, anabranch_engine::journal::Error> {
        Ok(self.1.clone())
    }
}
