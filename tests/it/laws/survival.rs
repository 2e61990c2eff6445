//! What survives a crash: flows that ask and have effects, over a journal that loses what it has not acknowledged.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_engine::event::{Event, Record, RunId};
use anabranch_engine::journal::{self, Journal, MemoryJournal};
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{
    AnswerError, Answering, Clock, Durability, Error, Inbox, Notice, Observer, Options, Outcome, Report,
    resume, run,
};
use anabranch_engine::scope::Scope;
use anabranch_engine::testing::{self, LossyJournal};
use anabranch_engine::value::Value;
use futures::FutureExt as _;

use super::{count_run, for_flows_of, generate, inputs, run_with, seen, through_json};

/// How long the journal takes to make a record safe; longer than most of the work.
const LAG: Duration = Duration::from_millis(2);

/// What somebody answers to the wait at `scope`; nothing to some of them.
fn answer_to(scope: &Scope) -> Option<Value> {
    let n = scope.to_string().bytes().fold(7_i64, |n, byte| (n * 31 + i64::from(byte)) % 1_009);
    (n % 4 != 0).then_some(Value::Int(n))
}

/// Answers every wait as soon as it is told of, and keeps what became of that.
#[derive(Default)]
struct Person {
    inbox: Inbox,
    given: Mutex<Vec<(Scope, Answering)>>,
}

impl Observer for Person {
    fn notice(&self, notice: &Notice) {
        if let Notice::Waiting(wait) = notice
            && let Some(value) = answer_to(&wait.scope)
        {
            let answering = self.inbox.answer(wait.scope.clone(), value, None);
            self.given.lock().unwrap().push((wait.scope.clone(), answering));
        }
    }
}

impl Person {
    /// The waits whose answers were taken, and those that had an answer already.
    fn heard(&self) -> (BTreeSet<Scope>, BTreeSet<Scope>) {
        let (mut taken, mut known) = (BTreeSet::new(), BTreeSet::new());
        for (scope, answering) in std::mem::take(&mut *self.given.lock().unwrap()) {
            match answering.now_or_never() {
                Some(Ok(())) => drop(taken.insert(scope)),
                Some(Err(AnswerError::AlreadyAnswered { .. })) => drop(known.insert(scope)),
                _ => {}
            }
        }
        (taken, known)
    }
}

fn options(person: &Arc<Person>, clock: &Clock, durability: Durability) -> Options {
    Options {
        observer: Some(person.clone()),
        inbox: person.inbox.clone(),
        clock: clock.clone(),
        durability,
        ..Options::default()
    }
}

/// How the run ends where nothing goes wrong.
async fn undisturbed(plan: &Arc<Plan>) -> Report {
    let clock = testing::clock(0);
    run_with(plan, options(&Arc::default(), &clock, Durability::Pipelined)).await
}

#[test]
fn a_run_that_is_parked_whenever_it_waits_ends_as_one_that_is_not() {
    for_flows_of(&generate::steps_with_waits(), 4, async |plan, yaml| {
        let whole = undisturbed(&plan).await;
        let (clock, journal) = (testing::clock(0), Arc::new(MemoryJournal::default()));
        let options =
            Options { journal: Some(journal), clock: clock.clone(), park: true, ..Options::default() };
        let mut report = run_with(&plan, options.clone()).await;
        while let Outcome::Waiting { waits } = &report.outcome {
            let answers = waits.iter().filter_map(|wait| Some((wait.scope.clone(), answer_to(&wait.scope)?)));
            let mut answering: Vec<Answering> =
                answers.map(|(scope, value)| options.inbox.answer(scope, value, None)).collect();
            if answering.is_empty() {
                // Nobody answers these: the next that happens is a deadline.
                let next_ms = waits.iter().map(|wait| wait.until_ms).min().unwrap();
                tokio::time::advance(Duration::from_millis(next_ms - clock.now_ms())).await;
            }
            count_run();
            let resources = Arc::new(testing::resources());
            report = resume(plan.clone(), resources, options.clone()).await.unwrap();
            for answering in &mut answering {
                assert_eq!(answering.now_or_never(), Some(Ok(())), "{yaml}");
            }
        }
        assert_eq!(seen(&report), seen(&whole), "{yaml}");
    });
}

/// What has run and what was promised, over the lives of a run.
#[derive(Default)]
struct Books {
    effects: BTreeSet<(String, u32)>,
    answered: BTreeSet<Scope>,
}

impl Books {
    /// One process has had the run, with what was safe before it began, and is gone.
    fn close(&mut self, before: &[Record], journal: &LossyJournal, person: &Person, case: &str) {
        let ended: BTreeSet<(String, u32)> = before
            .iter()
            .filter_map(|record| match &record.event {
                Event::AttemptEnded { scope, attempt, .. } => Some((scope.to_string(), *attempt)),
                _ => None,
            })
            .collect();
        for (scope, attempt) in testing::take_ran() {
            assert!(
                !ended.contains(&(scope.clone(), attempt)),
                "`{scope}` ran again, and had a result\n{case}"
            );
            if is_effect(&scope, case) {
                assert!(
                    journal.has_effect(&scope, attempt),
                    "`{scope}` began, and no record of it was safe\n{case}"
                );
                assert!(self.effects.insert((scope.clone(), attempt)), "`{scope}` was done twice\n{case}");
            }
        }
        let (taken, known) = person.heard();
        let again = taken.iter().find(|scope| self.answered.contains(*scope));
        assert!(again.is_none(), "{again:?} took a second answer\n{case}");
        // It may be that the answer was safe, and its process died before it said so.
        self.answered.extend(taken);
        self.answered.extend(known);
    }

    /// What is known of a journal with which the next process goes on.
    fn check(&self, records: &[Record], case: &str) {
        for scope in &self.answered {
            let opened =
                |record: &&Record| matches!(&record.event, Event::WaitOpened { scope: s, .. } if s == scope);
            let answered = |record: &&Record| matches!(&record.event, Event::WaitAnswered { scope: s, .. } if s == scope);
            assert_eq!(records.iter().filter(opened).count(), 1, "{scope:?} is asked once\n{case}");
            assert_eq!(records.iter().filter(answered).count(), 1, "{scope:?} is answered once\n{case}");
        }
    }
}

/// Whether the generated node at `scope` has effects.
fn is_effect(scope: &str, yaml: &str) -> bool {
    scope.ends_with("/pay") || yaml.contains(&format!("\n  {scope}: {{ op: test.effect"))
}

/// One process: it takes up what survived, or begins; gives the report unless the journal crashed before.
async fn live(
    plan: &Arc<Plan>,
    journal: &Arc<LossyJournal>,
    options: Options,
    is_first: bool,
) -> Option<Report> {
    count_run();
    let (plan, resources) = (plan.clone(), Arc::new(testing::resources()));
    let options = Options { journal: Some(journal.clone()), ..options };
    let going = async {
        if is_first {
            run(plan, inputs(), resources, options).await
        } else {
            resume(plan, resources, options).await
        }
    };
    tokio::select! {
        biased;
        () = journal.crashed() => None,
        report = going => Some(report.unwrap()),
    }
}

#[test]
fn a_run_that_crashes_anywhere_goes_on_from_what_was_safe_to_the_same_end() {
    for_flows_of(&generate::steps_with_waits(), 10, async |plan, yaml| {
        let whole = undisturbed(&plan).await;
        let clock = testing::clock(0);
        let journal = Arc::new(LossyJournal::new(Vec::new(), LAG, usize::MAX));
        live(&plan, &journal, options(&Arc::default(), &clock, Durability::Step), true).await.unwrap();
        let n_records = journal.safe().len();
        for durability in [Durability::Step, Durability::Pipelined] {
            for crash in (1..n_records).step_by((n_records / 6).max(1)) {
                for n_more in [0, 1, 3] {
                    let case = format!("{durability:?}, crash at {crash}, {n_more} more survive\n{yaml}");
                    let clock = testing::clock(0);
                    let (mut books, mut records) = (Books::default(), Vec::new());
                    testing::take_ran();
                    // Two crashes, then a life to the end.
                    let mut lives = [crash, crash + n_records / 3 + 1, usize::MAX].into_iter().zip(1_u64..);
                    let report = loop {
                        let (crash_after, life) = lives.next().expect("the last life does not crash");
                        let journal = Arc::new(LossyJournal::new(records.clone(), LAG, crash_after));
                        let person = Arc::<Person>::default();
                        let options = options(&person, &clock, durability);
                        let options = Options { taken_up: Some(("worker".into(), life)), ..options };
                        let is_first = records.is_empty();
                        let report = live(&plan, &journal, options, is_first).await;
                        assert_eq!(testing::n_live(), 0, "{case}");
                        books.close(&records, &journal, &person, &case);
                        records = through_json(&journal.survivors(n_more));
                        books.check(&records, &case);
                        if let Some(report) = report {
                            assert!(journal.survivors(usize::MAX).len() == journal.safe().len(), "{case}");
                            break report;
                        }
                    };
                    assert_eq!(seen(&report), seen(&whole), "{case}");
                }
            }
        }
    });
}

/// Takes the run away from its process after so many notices.
struct Rival {
    left: Mutex<usize>,
    journal: Arc<LossyJournal>,
    person: Person,
}

impl Observer for Rival {
    fn notice(&self, notice: &Notice) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.journal.fence();
        }
        self.person.notice(notice);
    }
}

#[test]
fn a_run_that_another_process_has_taken_stops_and_says_so() {
    for_flows_of(&generate::steps_with_waits(), 6, async |plan, yaml| {
        for n_notices in [1, 2, 4, 8] {
            for durability in [Durability::Step, Durability::Pipelined] {
                let journal = Arc::new(LossyJournal::new(Vec::new(), LAG, usize::MAX));
                let person = Person::default();
                let inbox = person.inbox.clone();
                let rival = Rival { left: Mutex::new(n_notices), journal: journal.clone(), person };
                let options = Options {
                    observer: Some(Arc::new(rival)),
                    journal: Some(journal.clone()),
                    clock: testing::clock(0),
                    inbox,
                    durability,
                    ..Options::default()
                };
                count_run();
                testing::take_ran();
                let ended = run(plan.clone(), inputs(), Arc::new(testing::resources()), options).await;
                assert_eq!(testing::n_live(), 0, "{yaml}");
                for (scope, attempt) in testing::take_ran() {
                    assert!(
                        !is_effect(&scope, yaml) || journal.has_effect(&scope, attempt),
                        "{scope}\n{yaml}"
                    );
                }
                match ended {
                    Err(Error::Journal(journal::Error::Fenced { .. })) => {}
                    // It had ended before so much was told, or told the last of it after its last record.
                    Ok(report) => assert_eq!(report.outcome, Outcome::Succeeded, "{yaml}"),
                    Err(error) => panic!("{error}\n{yaml}"),
                }
            }
        }
    });
}

/// A chain of ten, a journal that takes longer than a node, a crash at the sixth end.
#[tokio::test(start_paused = true)]
async fn step_repeats_what_was_in_flight_and_pipelined_what_was_not_yet_safe() {
    use std::fmt::Write as _;
    let mut yaml =
        "flow: chain\ninputs: { n: int }\nnodes:\n  n0: { op: test.work, in: { a: inputs.n } }\n".to_owned();
    for i in 1..10 {
        writeln!(yaml, "  n{i}: {{ op: test.work, in: {{ a: n{}.value }} }}", i - 1).unwrap();
    }
    yaml.push_str("outputs: { value: n9.value }\n");
    let plan = testing::plan(&yaml, &()).unwrap();
    for (durability, n_ran, n_again) in [(Durability::Step, 6, 5), (Durability::Pipelined, 10, 10)] {
        let journal = Arc::new(LossyJournal::new(Vec::new(), LAG, 6));
        let with = Options { durability, ..Options::default() };
        testing::take_ran();
        assert!(live(&plan, &journal, with.clone(), true).await.is_none());
        assert_eq!(testing::take_ran().len(), n_ran, "{durability:?} before the crash");
        let records = journal.safe();
        let again = Arc::new(MemoryJournal::default());
        let id = RunId("run".into());
        let is_new = records.is_empty();
        again.append(&id, records).await.unwrap();
        let options = Options { journal: Some(again), ..with };
        let resources = Arc::new(testing::resources());
        let ended = if is_new {
            run(plan.clone(), inputs(), resources, options).await
        } else {
            resume(plan.clone(), resources, options).await
        };
        assert_eq!(ended.unwrap().outcome, Outcome::Succeeded);
        assert_eq!(testing::take_ran().len(), n_again, "{durability:?} after it");
    }
}
