//! A flow that waits for an answer, on the command line: given with it, wrong, missing, or not stubbed in a test.

use super::project::Project;
use super::*;

/// A loop that asks what to write down, twice; nothing else.
const DIARY: &str = "flow: diary\nnodes:\n  day:\n    loop:\n      max_turns: 2\n      carry: { written: '\"\"' }\n      \
    nodes:\n        note: { wait: { for: text, about: What happened? }, in: { written: carry.written } }\n      \
    next: { written: \"carry.written + note.value + '.'\" }\n\
    outputs: { written: day.written }\n";

fn diary(args: &[&str]) -> Ran {
    let project = Project::new("");
    project.write("diary.yaml", DIARY);
    let mut all = vec!["run", "diary.yaml"];
    all.extend(args);
    project.run(&all)
}

#[test]
fn answers_go_to_every_turn_or_to_the_one_that_they_name() {
    let one = diary(&["--answer", "day/note=rain"]);
    assert_eq!((one.code, one.out.trim()), (Some(0), "rain.rain."), "{}", one.err);
    let two = diary(&["--answer", "day/note=rain", "--answer", "day[2]/note=sun"]);
    assert_eq!((two.code, two.out.trim()), (Some(0), "rain.sun."), "{}", two.err);
}

#[test]
fn a_run_that_nobody_answers_stops_and_says_what_to_type() {
    let stopped = diary(&["--answer", "day[1]/note=rain", "--json"]);
    assert_eq!(stopped.code, Some(1));
    let json = stopped.json();
    assert_eq!(json["status"], "waiting");
    assert_eq!(json["waits"][0]["scope"], "day[2]/note");
    assert_eq!(json["waits"][0]["shown"]["written"], "rain.");
    assert!(
        stopped.err.contains("`day[2]/note` waits for an answer (`text`): What happened?"),
        "{}",
        stopped.err
    );
    assert!(stopped.err.contains("--answer day[2]/note=TEXT"), "{}", stopped.err);
}

#[test]
fn an_answer_that_fits_no_wait_is_refused_before_the_run() {
    for (answer, problem) in
        [("day/nite=x", "flow `diary` has no wait `day/nite`"), ("day/note", "write `--answer node=value`")]
    {
        let refused = diary(&["--answer", answer]);
        assert_eq!(refused.code, Some(2), "{answer}");
        assert!(refused.err.contains(problem), "{}", refused.err);
    }
    let wrong = run(&["run", "flows/approval.yaml", "-i", QUESTION, "--answer", "review=soon"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("the answer to `review`: expected `bool`, found `text`: `soon`"),
        "{}",
        wrong.err
    );
}

#[test]
fn a_test_that_does_not_stub_a_wait_fails_at_once() {
    let project = Project::new("");
    project.write(
        "diary.yaml",
        &format!("{DIARY}tests:\n  - {{ name: two days, expect: {{ outputs: {{}} }} }}\n"),
    );
    let failed = project.run(&["test", "diary.yaml"]);
    assert_eq!(failed.code, Some(1));
    let all = format!("{}{}", failed.out, failed.err);
    assert!(all.contains("it waits for an answer at day[1]/note; stub it"), "{all}");
}
