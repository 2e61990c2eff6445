//! Programs that mean harm: each is stopped by a bound, or finds nothing to take hold of.

use super::super::{Bound, Error, Limits, run};

/// Calls inside of calls, each from deep inside an expression: as deep as the interpreter's own stack can get.
fn deepest() -> String {
    let inner = "[".repeat(40) + "f(n + 1)" + &"]".repeat(40);
    format!("def f(n):\n    if n:\n        for x in [1]:\n            return {inner}\nans = f(1)")
}

fn stopped(source: &str) -> Error {
    let inputs = serde_json::Map::new();
    // A program that goes on without `ans` would fail at its end; one that gets there should say so.
    match run(source, &inputs, "ans", Limits::default()) {
        Ok(outcome) => panic!("{source}\ngave {}", outcome.value),
        Err(error) => error,
    }
}

/// `hostile.txt` holds programs that run for ever, fill the memory, recurse, look for a way out, or grow numbers, with
/// what is to stop each.
#[test]
fn programs_that_mean_harm_are_stopped() {
    let mut n = 0;
    for case in include_str!("hostile.txt").trim_end().split("\n---\n") {
        let (program, expected) = case.rsplit_once("\n!> ").expect("a program and what stops it");
        let error = stopped(program);
        let got = match &error {
            Error::Exceeded { bound: Bound::Steps(_) | Bound::Memory(_) | Bound::Output(_), .. } => "used up",
            Error::Exceeded { bound: Bound::Calls(_) | Bound::Nesting(_), .. } => "too deep",
            Error::Exceeded { bound: Bound::Integer, .. } => "too large",
            Error::Exceeded { bound: Bound::Source(_), .. } => "too long",
            Error::Raised { message, .. } if message.contains("never sets") => "nothing",
            Error::Syntax { .. } | Error::Raised { .. } => "refused",
        };
        assert_eq!(got, expected, "{program}\n{error}");
        n += 1;
    }
    assert!(n > 80, "{n} programs");
}

#[test]
fn the_deepest_that_the_bounds_allow_fits_the_stack() {
    let error = stopped(&deepest());
    assert!(matches!(error, Error::Exceeded { bound: Bound::Nesting(_), .. }), "{error}");
}

#[test]
fn deeply_nested_texts_are_refused_by_the_parser() {
    let deep = |open: &str, close: &str| format!("ans = {}1{}", open.repeat(10_000), close.repeat(10_000));
    for source in [
        deep("(", ")"),
        deep("[", "]"),
        deep("{1: ", "}"),
        deep("-", ""),
        deep("not ", ""),
        deep("lambda: ", ""),
        deep("1 if 1 else ", ""),
        deep("2 ** ", ""),
        deep("f(", ")"),
        deep("[x for x in ", "]"),
        format!("ans = x{}", "[0]".repeat(10_000)),
        format!("ans = x{}", ".a".repeat(10_000)),
        format!("ans = x{}", "()".repeat(10_000)),
        format!("ans = {}1", "a = ".repeat(10)) + &"(".repeat(10_000),
        (0..100).flat_map(|n| [" ".repeat(n), "if 1:\n".to_owned()]).collect::<String>()
            + &" ".repeat(100)
            + "x = 1",
        format!("ans = {}", "f'{".repeat(100)),
    ] {
        let error = stopped(&source);
        assert!(matches!(error, Error::Exceeded { .. } | Error::Syntax { .. }), "{error}");
    }
    // A long sum is no deep tree.
    let sum = format!("ans = {}1", "1 + ".repeat(10_000));
    assert!(run(&sum, &serde_json::Map::new(), "ans", Limits::default()).is_ok());
}

#[test]
fn what_is_printed_and_what_is_read_have_bounds() {
    let error = stopped(&" ".repeat(70_000));
    assert!(matches!(error, Error::Exceeded { bound: Bound::Source(_), .. }), "{error}");
    let limits = Limits { calls: 5, ..Limits::default() };
    let source = "def f(n):\n    return 0 if n == 0 else f(n - 1)\nans = f(10)";
    let error = run(source, &serde_json::Map::new(), "ans", limits).unwrap_err();
    assert_eq!(error.to_string(), "line 2: stopped: more than 5 calls inside each other");
}

#[test]
fn numbers_at_the_edge_do_not_panic() {
    for source in [
        "ans = -2 ** 126 * 2 % -1",
        "ans = str(round(-2 ** 126 * 2, -38))",
        "ans = str(round(2 ** 126, -1))",
        "ans = [1, 2][-2 ** 126 * 2:]",
        "ans = [1, 2][::-2 ** 126 * 2]",
        "ans = [1, 2][::2 ** 126]",
        "ans = len(range(-2 ** 126 * 2, 2 ** 126)) > 5",
        "ans = list(range(2 ** 126, 2 ** 126 + 3))[0] > 5",
        "ans = -1 in range(-2 ** 126 * 2, 5, 7)",
        "ans = (2 ** 126) >> 500",
        "ans = float(2 ** 126) == 2 ** 126",
        "ans = 1e308 * 10 > 5",
        "ans = round(1e308, -308)",
        "ans = round(5e-324, 323)",
        "ans = [].pop(-2 ** 126 * 2) if 0 else 1",
        "x = [1]\nx.insert(-2 ** 126 * 2, 0)\nans = x",
        "ans = 'abc'.center(-5)",
        "ans = 'a' * -5 + 'b'",
        "ans = list(set([1.5e308, 5e-324, -1.7e308, 2 ** 126]))[0] != 0",
        "ans = 'x'.split('x', -2 ** 126)",
        "ans = f'{-0.0:.0f} {1e300:.3f}'",
        "import math\nans = math.gcd(-2 ** 126 * 2, 0) if 0 else math.lcm(0, 5)",
    ] {
        let result = run(source, &serde_json::Map::new(), "ans", Limits::default());
        assert!(
            matches!(result, Ok(_) | Err(Error::Raised { .. } | Error::Exceeded { .. })),
            "{source}\n{result:?}"
        );
    }
}
