//! What programs give, held against what `CPython` gives, and what stops those that mean harm.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Bound, Error, Limits, Outcome, run};

mod hostile;

/// Runs a program and gives what it leaves in `ans`.
fn answer(source: &str) -> Result<Value, Error> {
    Ok(outcome(source)?.value)
}

fn outcome(source: &str) -> Result<Outcome, Error> {
    run(source, &Map::new(), "ans", Limits::default())
}

/// `cpython.txt` holds programs with what `CPython` 3.11 leaves in `ans`, or the class of what it raises.
#[test]
fn programs_give_what_cpython_gives() {
    let mut wrong = String::new();
    for case in include_str!("tests/cpython.txt").trim_end().split("\n---\n") {
        let (program, expected) = case.rsplit_once('\n').expect("a program and what it gives");
        let got = match answer(program) {
            Ok(value) => format!("=> {value}"),
            Err(Error::Raised { kind, .. }) => format!("!> {kind}"),
            Err(error) => error.to_string(),
        };
        let is_same = match (got.strip_prefix("=> "), expected.strip_prefix("=> ")) {
            (Some(got), Some(expected)) => {
                serde_json::from_str::<Value>(got).ok() == serde_json::from_str::<Value>(expected).ok()
            }
            _ => got == expected,
        };
        if !is_same {
            writeln!(wrong, "{program}\n  expected {expected}\n  got      {got}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_program_reads_its_inputs() {
    let inputs = json!({"rows": [{"day": "Friday", "n": 163}, {"day": "Sunday", "n": 263}], "limit": 200});
    let Value::Object(inputs) = inputs else { unreachable!() };
    let source = "print('looking')\nbest = [r['day'] for r in rows if r['n'] > limit]\n";
    let found = run(source, &inputs, "best", Limits::default()).unwrap();
    assert_eq!((found.value, found.output.as_str()), (json!(["Sunday"]), "looking\n"));
    assert!(found.steps > 10);
}

#[test]
fn a_program_that_sets_no_answer_says_so() {
    assert_eq!(answer("x = 1").unwrap_err().to_string(), "line 1: NameError: the program never sets `ans`");
}

#[test]
fn an_exception_names_its_line() {
    let error = answer("x = 1\n\nif x:\n    y = [1]\n    ans = y[3]\n").unwrap_err();
    assert_eq!(error.to_string(), "line 5: IndexError: list index out of range");
}

#[test]
fn mistakes_in_the_text_are_named_with_their_line() {
    for (source, message) in [
        ("ans = (1 + 2", "line 1: a bracket that nothing closes"),
        ("ans = 1 +", "line 1: a value is missing before the end of the line"),
        ("x = 1\nif x\n    y = 2", "line 2: `:` is missing before the end of the line"),
        ("x = 1\n  y = 2", "line 2: an indented line that belongs to no block"),
        ("if 1:\nx = 2", "line 2: an indented block is missing"),
        ("if 1:\n        x = 1\n    y = 2", "line 3: the indentation fits no block around it"),
        ("ans = 'abc", "line 1: a text that does not end on its line"),
        ("ans = 08", "line 1: `08` is no number, or has more than 127 bits"),
        ("ans = 1__0", "line 1: `1__0` has a `_` that stands between no digits"),
        ("ans = '\\N{BULLET}'", "line 1: a character by its name, of which none is known here"),
        ("ans = 1 = 2", "line 1: nothing can be assigned to this"),
        ("return 1", "line 1: `return` outside of a function"),
        ("break", "line 1: `break` outside of a loop"),
        ("try:\n    x = 1", "line 1: `try` is not supported"),
        ("class A:\n    pass", "line 1: `class` is not supported"),
        ("ans = f'{1'", "line 1: an f-string's `{` has no `}`"),
        ("ans = 1 2", "line 1: the line should end before `2`"),
        ("ans = 3 $ 4", "line 1: `$` has no meaning here"),
        ("def f(a, a):\n    pass", "line 1: two parameters are called `a`"),
        ("f(a=1, 2)", "line 1: an argument without a name after one with a name"),
        ("x = [1, 2\ny = 3\n", "line 1: a bracket that nothing closes"),
    ] {
        assert_eq!(answer(source).unwrap_err().to_string(), message, "{source}");
    }
}

#[test]
fn a_result_that_json_cannot_hold_is_refused() {
    for source in [
        "ans = 2 ** 63",
        "ans = 2 ** 100",
        "ans = float('nan')",
        "ans = lambda: 1",
        "ans = [print]",
        "ans = {(1, 2): 3}",
    ] {
        assert!(matches!(answer(source), Err(Error::Raised { .. })), "{source}");
    }
}

#[test]
fn a_million_steps_are_the_default() {
    let Err(Error::Exceeded { bound, .. }) = answer("n = 0\nwhile n < 10 ** 9:\n    n += 1") else {
        panic!("it ended")
    };
    assert_eq!(bound, Bound::Steps(1_000_000));
    assert_eq!(answer("n = 0\nwhile n < 50000:\n    n += 1\nans = n"), Ok(json!(50_000)));
}
