//! Runs the programs that a model wrote for `TabMWP`, and holds four ways of using them against each other.
//!
//! `programs --data FOLDER [--json]` runs all recorded programs in the sandbox and counts how many give the recorded
//! value. It prints how many questions the programs answer alone, in a cascade with a chain of thought where a program
//! fails, in a vote of four models, and in the same vote that stops as soon as the first two agree: beside the figures
//! of the specification. Last, it runs the hostile programs of the sandbox's tests. It fails where a figure differs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anabranch_backends::program::{Limits, run};
use anabranch_benches::Outcome;
use anabranch_benches::arguments::data_and_json;
use anabranch_benches::tabmwp::{Problem, Recorded, Said, most_said, problems, recorded};
use serde::Serialize;
use serde_json::{Map, Value};

/// Programs that mean harm, with what stops them.
const HOSTILE: &str = include_str!("../../../backends/src/program/tests/hostile.txt");

/// A figure beside the one that the specification gives.
#[derive(Serialize)]
struct Figure {
    name: &'static str,
    /// With the values that the sandbox gives.
    ours: f64,
    /// With the recorded values, where they make a difference.
    recorded: Option<f64>,
    specification: f64,
    /// How many digits count.
    digits: usize,
    /// How far ours may be off: two recorded values are of programs that raise, in `CPython` too.
    tolerance: f64,
}

impl Figure {
    fn is_right(&self) -> bool {
        let digits = self.digits;
        let is_same = self.recorded.is_none_or(|recorded| {
            format!("{recorded:.digits$}") == format!("{:.digits$}", self.specification)
        });
        is_same && (self.ours - self.specification).abs() <= self.tolerance
    }
}

/// How many questions each way of using the programs answers.
#[derive(Default)]
struct Counts {
    programs: usize,
    cascade: usize,
    vote: usize,
    early: usize,
    branches: usize,
}

/// What the other three models answered: a chain of thought, and two that were trained for it.
struct Others {
    cot: BTreeMap<String, Recorded>,
    tapex: BTreeMap<String, Recorded>,
    t5: BTreeMap<String, Recorded>,
}

impl Counts {
    /// Counts one question, to whose program `value` is what it gave.
    fn add(&mut self, problem: &Problem, value: Option<&Value>, others: &Others) -> bool {
        let of = |answers: &BTreeMap<String, Recorded>| {
            answers.get(&problem.id).map(|answer| (answer.said(), answer.true_false))
        };
        let (Some(cot), Some(tapex), Some(t5)) = (of(&others.cot), of(&others.tapex), of(&others.t5)) else {
            return false;
        };
        let said = problem.said(value);
        let is_right = problem.is_right(said.as_ref());
        self.programs += usize::from(is_right);
        self.cascade += usize::from(if said.is_none() { cot.1 } else { is_right });

        let all = [said.map(Said::comparable), Some(cot.0), Some(tapex.0), Some(t5.0)];
        let verdicts = [is_right, cot.1, tapex.1, t5.1];
        self.vote += usize::from(verdict(&all, verdicts));
        let is_agreed = matches!(&all, [Some(first), Some(second), ..] if first == second);
        self.early += usize::from(if is_agreed { is_right } else { verdict(&all, verdicts) });
        self.branches += if is_agreed { 2 } else { all.len() };
        true
    }
}

fn main() -> Outcome<()> {
    let (data, is_json) = data_and_json("programs")?;
    let folder = data.join("recorded/tabmwp");
    let problems = problems(&folder)?;
    let others = Others {
        cot: recorded(&folder, "cot_gpt3_2shot")?,
        tapex: recorded(&folder, "tapex_large")?,
        t5: recorded(&folder, "t5_large")?,
    };
    let (values, elapsed) = run_all(&problems);
    let (mut ours, mut theirs, mut n) = (Counts::default(), Counts::default(), 0);
    let (mut same, mut failed_again) = (0, 0);
    for (problem, value) in problems.iter().zip(&values) {
        let executed = Some(&problem.executed).filter(|executed| !executed.is_null());
        same += usize::from(executed.is_some() && value.as_ref() == executed);
        failed_again += usize::from(executed.is_none() && value.is_none());
        n += usize::from(ours.add(problem, value.as_ref(), &others));
        theirs.add(problem, executed, &others);
    }
    let (stopped, n_hostile, slowest) = run_hostile();
    let exact = |name, ours: usize, specification: usize, tolerance| Figure {
        name,
        ours: ours as f64,
        recorded: None,
        specification: specification as f64,
        digits: 0,
        tolerance,
    };
    let share = |name, count: fn(&Counts) -> usize, specification, digits, tolerance| Figure {
        name,
        ours: count(&ours) as f64 / n as f64,
        recorded: Some(count(&theirs) as f64 / n as f64),
        specification,
        digits,
        tolerance,
    };
    let figures = [
        // As many as can be: of the five that CPython could not repeat, three are only a matter of the order of a set.
        exact("programs with the recorded value, of 7,301", same, 7_296, 5.0),
        exact("programs that fail again, of 384", failed_again, 384, 0.0),
        share("right: programs alone", |c| c.programs, 0.7405, 4, 3e-4),
        share("right: cascade, chain of thought if a program fails", |c| c.cascade, 0.7711, 4, 3e-4),
        share("right: vote of four", |c| c.vote, 0.8303, 4, 3e-4),
        share("right: vote that stops when two agree", |c| c.early, 0.8303, 4, 3e-4),
        share("branches of the vote that stops", |c| c.branches, 2.84, 2, 5e-3),
        exact("hostile programs stopped", stopped, n_hostile, 0.0),
    ];
    let mut out = std::io::stdout().lock();
    if is_json {
        writeln!(out, "{}", serde_json::to_string(&figures)?)?;
    } else {
        writeln!(out, "{:<54} {:>9} {:>9} {:>14}", "", "ours", "recorded", "specification")?;
        for Figure { name, ours, recorded, specification, digits, .. } in &figures {
            let recorded = recorded.map(|recorded| format!("{recorded:.digits$}")).unwrap_or_default();
            writeln!(out, "{name:<54} {ours:>9.digits$} {recorded:>9} {specification:>14.digits$}")?;
        }
        let us = elapsed.as_secs_f64() * 1e6 / problems.len() as f64;
        writeln!(out, "{us:.0} µs a program; slowest hostile program {} ms", slowest.as_millis())?;
    }
    match figures.iter().find(|figure| !figure.is_right()) {
        Some(figure) => Err(format!("`{}` differs from the specification", figure.name).into()),
        None => Ok(()),
    }
}

/// What each program leaves in `ans`; nothing where it fails.
fn run_all(problems: &[Problem]) -> (Vec<Option<Value>>, Duration) {
    let started = Instant::now();
    let run =
        |problem: &Problem| Some(run(&problem.generated, &Map::new(), "ans", Limits::default()).ok()?.value);
    let values = problems.iter().map(run).collect();
    (values, started.elapsed())
}

/// Whether the answer that most gave is right, by the verdict on the first who gave it.
fn verdict(said: &[Option<Said>; 4], verdicts: [bool; 4]) -> bool {
    let most = most_said(said);
    said.iter().zip(verdicts).find(|(one, _)| one.as_ref() == most).is_some_and(|(_, is_right)| is_right)
}

/// How many of the hostile programs were stopped, how many there are, and how long the slowest took.
fn run_hostile() -> (usize, usize, Duration) {
    let (mut stopped, mut all, mut slowest) = (0, 0, Duration::ZERO);
    for case in HOSTILE.trim_end().split("\n---\n") {
        let program = case.rsplit_once("\n!> ").map_or(case, |(program, _)| program);
        let started = Instant::now();
        stopped += usize::from(run(program, &Map::new(), "ans", Limits::default()).is_err());
        slowest = slowest.max(started.elapsed());
        all += 1;
    }
    (stopped, all, slowest)
}
