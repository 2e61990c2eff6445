//! Whatever is done to a flow, the checker answers.

use proptest::prelude::*;

use super::compile_with;
use super::flows::{FAN, LINEAR, MULTIHOP};

/// Pieces that mean something in a flow, to be put where they do not belong.
const PIECES: &[&str] = &[
    "inputs.question",
    "carry.query",
    "search.chunks",
    "answer",
    "hop",
    "first(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    "\n",
    "  ",
    "op: read.answer",
    "flow: linear",
    "flow: multihop",
    "when: false",
    "join: any",
    "after: [search]",
    "on_error: skip",
    "on_error: { flow: linear }",
    "${ index }",
    "each: [1]",
    "loop:",
    "nodes:",
    "\"",
    "item",
    "0",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_mutated_flow_never_brings_the_checker_down(
        base in prop::sample::select(vec![LINEAR, MULTIHOP, FAN]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(PIECES)), 1..4),
    ) {
        let mut text = base.to_owned();
        for (at, n_removed, piece) in cuts {
            let start = at.index(text.len());
            let end = (start + n_removed).min(text.len());
            text.replace_range(start..end, piece);
        }
        let library = [("linear", LINEAR), ("multihop", text.as_str())];
        if let Err(problems) = compile_with(&text, &library) {
            prop_assert!(problems.has_errors());
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn a_line_that_is_missing_or_doubled_never_brings_the_checker_down(
        base in prop::sample::select(vec![LINEAR, MULTIHOP, FAN]),
        line in any::<prop::sample::Index>(),
        doubled in any::<bool>(),
    ) {
        let mut lines: Vec<&str> = base.lines().collect();
        let at = line.index(lines.len());
        let removed = lines.remove(at);
        if doubled {
            lines.splice(at..at, [removed, removed]);
        }
        if let Err(problems) = compile_with(&lines.join("\n"), &[("linear", LINEAR)]) {
            prop_assert!(problems.has_errors());
        }
    }
}
