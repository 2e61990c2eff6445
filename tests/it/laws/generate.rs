//! Random flows over the operators of `anabranch_engine::testing`, as YAML text: so that the parser, the checker and
//! the engine are all under the same laws.

use std::fmt::Write;

use proptest::prelude::*;

/// What a generated node is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Work on up to two earlier values, after a delay, failing some times before it succeeds.
    Work { on: (u8, u8), delay: u8, fail_times: u8, guard: Guard, tolerant: bool },
    /// A call of the model.
    Ask { on: u8 },
    /// A loop around work.
    Loop { on: u8, turns: u8, delay: u8 },
    /// An each over numbers.
    Each { on: u8, items: u8, delay: u8, concurrency: u8 },
    /// A flow as a node: `part`.
    Sub { on: u8 },
    /// Work that fails for good, and the flow `part` stands in.
    Fallback { on: u8, delay: u8 },
    /// An each that stops when two items agree.
    Quorum { on: u8, items: u8, delay: u8, concurrency: u8 },
    /// Work that waits for the first of two.
    Race { on: (u8, u8), cancel_losers: bool },
    /// A wait for a number.
    Question { on: u8 },
    /// A loop that asks in every turn.
    Interview { on: u8, turns: u8, delay: u8 },
    /// An each that asks for every item, and then has an effect.
    Poll { on: u8, items: u8, delay: u8, concurrency: u8 },
    /// An effect.
    Effect { on: u8, delay: u8 },
    /// A plan that is made as the flow runs; or one that cannot be used, and the fallback.
    Plan { on: u8, steps: u8, delay: u8, broken: bool },
}

/// Whether a node may be skipped, or fail and be caught.
#[derive(Debug, Clone, Copy)]
pub(super) enum Guard {
    /// It always runs.
    None,
    /// It runs if an earlier value is even.
    When(u8),
    /// It fails for good, and its outputs are absent.
    Skip,
    /// It fails for good, and a value stands in.
    Value,
}

pub(super) fn steps(with_races: bool) -> impl Strategy<Value = Vec<Step>> {
    let guard = prop_oneof![
        4 => Just(Guard::None),
        2 => any::<u8>().prop_map(Guard::When),
        1 => Just(Guard::Skip),
        1 => Just(Guard::Value),
    ];
    let work = (any::<(u8, u8)>(), 0u8..4, 0u8..3, guard, any::<bool>()).prop_map(
        |(on, delay, fail_times, guard, tolerant)| Step::Work { on, delay, fail_times, guard, tolerant },
    );
    let each = (any::<u8>(), 0u8..7, 0u8..3, 1u8..5).prop_map(|(on, items, delay, concurrency)| Step::Each {
        on,
        items,
        delay,
        concurrency,
    });
    let turns = (any::<u8>(), 1u8..5, 0u8..3).prop_map(|(on, turns, delay)| Step::Loop { on, turns, delay });
    let race =
        (any::<(u8, u8)>(), any::<bool>()).prop_map(|(on, cancel_losers)| Step::Race { on, cancel_losers });
    let quorum = (any::<u8>(), 0u8..7, 0u8..3, 1u8..5)
        .prop_map(|(on, items, delay, concurrency)| Step::Quorum { on, items, delay, concurrency });
    let sub = any::<u8>().prop_map(|on| Step::Sub { on });
    let fallback = (any::<u8>(), 0u8..3).prop_map(|(on, delay)| Step::Fallback { on, delay });
    let ask = any::<u8>().prop_map(|on| Step::Ask { on });
    let plan = (any::<u8>(), 1u8..5, 0u8..3, prop::bool::weighted(0.3))
        .prop_map(|(on, steps, delay, broken)| Step::Plan { on, steps, delay, broken });
    let step = prop_oneof![
        6 => work,
        2 => each,
        2 => turns,
        1 => ask,
        1 => sub,
        1 => fallback,
        1 => quorum,
        1 => plan,
        u32::from(with_races) => race,
    ];
    prop::collection::vec(step, 1..9)
}

/// Steps with waits and effects among them.
pub(super) fn steps_with_waits() -> impl Strategy<Value = Vec<Step>> {
    let interview =
        (any::<u8>(), 1u8..4, 0u8..3).prop_map(|(on, turns, delay)| Step::Interview { on, turns, delay });
    let poll = (any::<u8>(), 0u8..5, 0u8..3, 1u8..4).prop_map(|(on, items, delay, concurrency)| Step::Poll {
        on,
        items,
        delay,
        concurrency,
    });
    let others = prop_oneof![
        2 => any::<u8>().prop_map(|on| Step::Question { on }),
        1 => interview,
        1 => poll,
        2 => (any::<u8>(), 0u8..4).prop_map(|(on, delay)| Step::Effect { on, delay }),
    ];
    (steps(false), prop::collection::vec((any::<prop::sample::Index>(), others), 1..4)).prop_map(
        |(mut steps, others)| {
            for (position, other) in others {
                steps.insert(position.index(steps.len() + 1), other);
            }
            steps
        },
    )
}

/// The flow `part` that generated flows call.
pub(super) const PART: &str = "flow: part\ninputs: { n: int }\nnodes:\n  \
    w: { op: test.work, in: { a: inputs.n }, with: { delay_ms: 1 } }\n  \
    v: { op: test.work, in: { a: w.value } }\noutputs: { value: v.value, text: v.text }\n";

/// An effect that was interrupted is tried again: what is paid twice shows, and no run fails of it.
const AGAIN: &str = "retry: { on: [interrupted], attempts: 20, backoff: 1ms }";

/// The flow in YAML. Node `n3` reads only nodes before it; every node is an output.
pub(super) fn yaml(steps: &[Step]) -> String {
    let mut yaml = "flow: generated\ninputs: { n: int }\nbudget: { model_calls: 1000 }\nnodes:\n".to_owned();
    for i in 0..steps.len() {
        write_step(&mut yaml, i, steps).expect("writing to a string");
    }
    yaml.push_str("outputs:\n");
    for i in 0..steps.len() {
        writeln!(yaml, "  o{i}: {}", value(i, steps)).expect("writing to a string");
    }
    yaml
}

#[expect(clippy::too_many_lines, reason = "one arm a kind of step")]
fn write_step(yaml: &mut String, i: usize, steps: &[Step]) -> std::fmt::Result {
    let earlier = |pick: u8| earlier(pick, i, steps);
    match &steps[i] {
        Step::Work { on, delay, fail_times, guard, tolerant } => {
            let (a, b) = (earlier(on.0), earlier(on.1));
            let b = if *tolerant { format!("\"first({b}, {a}, 7)\"") } else { b };
            let (fails, kind) = match guard {
                Guard::Skip | Guard::Value => (99, "rejected"),
                _ => (*fail_times, "unavailable"),
            };
            write!(
                yaml,
                "  n{i}:\n    op: test.work\n    in: {{ a: {a}, b: {b} }}\n    \
                 with: {{ delay_ms: {delay}, fail_times: {fails}, fail: {kind}, salt: {i} }}\n    \
                 retry: {{ attempts: 4, backoff: 1ms }}\n",
            )?;
            match guard {
                Guard::None => Ok(()),
                Guard::When(on) => writeln!(yaml, "    when: {} % 2 == 0", earlier(*on)),
                Guard::Skip => writeln!(yaml, "    on_error: skip"),
                Guard::Value => writeln!(yaml, "    on_error: {{ value: {{ value: {i}, text: stand-in }} }}"),
            }
        }
        Step::Ask { on } => {
            writeln!(yaml, "  n{i}: {{ op: test.ask, in: {{ question: \"string({})\" }} }}", earlier(*on))
        }
        Step::Loop { on, turns, delay } => write!(
            yaml,
            "  n{i}:\n    loop:\n      max_turns: {turns}\n      carry: {{ value: {0} }}\n      nodes:\n        \
             step: {{ op: test.work, in: {{ a: carry.value, b: inputs.n }}, with: {{ delay_ms: {delay}, salt: {i} }} }}\n        \
             also: {{ op: test.work, in: {{ a: step.value, b: {0} }} }}\n      \
             next: {{ value: also.value }}\n      until: {{ round: \"also.value % 5 == 0\" }}\n",
            earlier(*on)
        ),
        Step::Each { on, items, delay, concurrency } => write!(
            yaml,
            "  n{i}_list: {{ op: test.numbers, in: {{ after: {0} }}, with: {{ n: {items} }} }}\n  \
             n{i}:\n    each: n{i}_list.numbers\n    as: number\n    concurrency: {concurrency}\n    nodes:\n      \
             one: {{ op: test.work, in: {{ a: number, b: {0} }}, with: {{ delay_ms: {delay}, salt: {i} }} }}\n      \
             two: {{ op: test.work, in: {{ a: one.value }}, when: one.value % 3 != 0 }}\n    \
             outputs: {{ value: two.value }}\n",
            earlier(*on)
        ),
        Step::Sub { on } => writeln!(yaml, "  n{i}: {{ flow: part, in: {{ n: {} }} }}", earlier(*on)),
        Step::Fallback { on, delay } => writeln!(
            yaml,
            "  n{i}: {{ op: test.work, in: {{ n: \"first({}, 1)\" }}, \
             with: {{ delay_ms: {delay}, fail_times: 99, fail: rejected }}, on_error: {{ flow: part }} }}",
            earlier(*on)
        ),
        Step::Quorum { on, items, delay, concurrency } => write!(
            yaml,
            "  n{i}_list: {{ op: test.numbers, in: {{ after: {0} }}, with: {{ n: {items} }} }}\n  \
             n{i}:\n    each: n{i}_list.numbers\n    as: number\n    concurrency: {concurrency}\n    \
             stop_when: {{ quorum: {{ of: value, agree: 2 }} }}\n    nodes:\n      \
             one: {{ op: test.work, in: {{ a: number, b: {0} }}, with: {{ delay_ms: {delay} }} }}\n    \
             outputs: {{ value: one.value % 3 }}\n",
            earlier(*on)
        ),
        Step::Question { on } => writeln!(
            yaml,
            "  n{i}: {{ wait: {{ for: int, deadline: 1h, default: {i} }}, in: {{ shown: {} }} }}",
            earlier(*on)
        ),
        Step::Interview { on, turns, delay } => write!(
            yaml,
            "  n{i}:\n    loop:\n      max_turns: {turns}\n      carry: {{ value: {} }}\n      nodes:\n        \
             ask: {{ wait: {{ for: int, deadline: 2h, default: 5 }}, in: {{ shown: carry.value }} }}\n        \
             step: {{ op: test.work, in: {{ a: ask.value, b: carry.value }}, with: {{ delay_ms: {delay} }} }}\n      \
             next: {{ value: step.value }}\n",
            earlier(*on)
        ),
        Step::Poll { on, items, delay, concurrency } => write!(
            yaml,
            "  n{i}_list: {{ op: test.numbers, in: {{ after: {} }}, with: {{ n: {items} }} }}\n  \
             n{i}:\n    each: n{i}_list.numbers\n    as: number\n    concurrency: {concurrency}\n    nodes:\n      \
             ask: {{ wait: {{ for: int, deadline: 1h, default: 0 }}, in: {{ number: number }} }}\n      \
             pay: {{ op: test.effect, in: {{ a: ask.value }}, with: {{ delay_ms: {delay} }}, {AGAIN} }}\n    \
             outputs: {{ value: \"pay.key + string(ask.value)\" }}\n",
            earlier(*on)
        ),
        Step::Plan { on, steps, delay, broken } => write!(
            yaml,
            "  n{i}_planner: {{ op: test.planner, in: {{ n: {0} }}, \
             with: {{ steps: {steps}, delay_ms: {delay}, step_ms: {delay}, broken: {broken}, salt: {i} }} }}\n  \
             n{i}:\n    plan: n{i}_planner.plan\n    in: {{ n: {0} }}\n    allow: [test.work, part]\n    \
             outputs: {{ value: int }}\n    fallback:\n      nodes: {{ p: {{ flow: part, in: {{ n: inputs.n }} }} }}\n      \
             outputs: {{ value: p.value }}\n",
            earlier(*on)
        ),
        Step::Effect { on, delay } => writeln!(
            yaml,
            "  n{i}: {{ op: test.effect, in: {{ a: {} }}, with: {{ delay_ms: {delay} }}, {AGAIN} }}",
            earlier(*on)
        ),
        Step::Race { on, cancel_losers } => write!(
            yaml,
            "  n{i}_a: {{ op: test.work, in: {{ a: {0} }}, with: {{ delay_ms: 1, salt: 1 }} }}\n  \
             n{i}_b: {{ op: test.work, in: {{ a: {1} }}, with: {{ delay_ms: 3, salt: 2 }} }}\n  \
             n{i}:\n    op: test.work\n    in: {{ a: \"first(n{i}_a.value, n{i}_b.value)\" }}\n    \
             join: {{ any: true, cancel_losers: {cancel_losers} }}\n",
            earlier(on.0),
            earlier(on.1)
        ),
    }
}

/// A number that node `i` can read: of an earlier node, or the flow's input.
fn earlier(pick: u8, i: usize, steps: &[Step]) -> String {
    match usize::from(pick) % (i + 1) {
        0 => "inputs.n".to_owned(),
        n => match &steps[n - 1] {
            Step::Ask { .. } => format!("size(n{}.text)", n - 1),
            Step::Each { .. } | Step::Quorum { .. } | Step::Poll { .. } => format!("size(n{}.value)", n - 1),
            _ => format!("n{}.value", n - 1),
        },
    }
}

/// The value of node `i` as an output.
fn value(i: usize, steps: &[Step]) -> String {
    match &steps[i] {
        Step::Ask { .. } => format!("n{i}.text"),
        _ => format!("n{i}.value"),
    }
}
