//! What no expression can do: overflow the stack, fill the memory, crash.

use proptest::prelude::*;

use super::*;

/// What the parser would recurse for without end, and at the limits, where a thread has little stack.
#[test]
fn no_nesting_overflows_a_small_stack() {
    let nested = |open: &str, close: &str, n: usize| format!("{}n{}", open.repeat(n), close.repeat(n));
    let hostile = move || {
        for n in [limits::EXPRESSION_DEPTH, limits::EXPRESSION_OPERATORS, 3_000] {
            for source in [
                nested("(", ")", n),
                nested("[", "]", n),
                nested("{'a': ", "}", n),
                nested("first(", ")", n),
                nested("size([", "])", n / 2),
                nested("!", "", n),
                nested("- ", "", n),
                nested("ok ? 1 : ", "", n),
                nested("n + ", "", n),
                nested("n == ", "", n),
                nested("ok && ", "", n),
                nested("n in ", "", n),
                nested("", ".a", n),
                nested("'a'", ".trim()", n),
                nested("", "[0]", n),
                nested("", "()é", n),
                nested("", "// ,\n()", n),
                nested("", "\\()", n),
                "in 1".repeat(n),
                "n in\tn ".repeat(n),
                nested("[n].map(c, ", ")", n),
                nested("(ok ? 1 * 2 - ", " : 0)", n / 2),
            ] {
                if let Ok(expr) = compile(&source, &world()) {
                    drop(expr.eval(&world()));
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(hostile).unwrap().join().unwrap();
}

#[test]
fn what_could_fill_the_memory_is_stopped() {
    let long = Value::text("ab".repeat(1 << 20));
    let world = World(vec![
        ("text", Type::Text, Slot::Present(long)),
        ("many", Type::list(Type::Int), Slot::Present(Value::list((0..1_000).map(Value::Int)))),
    ]);
    for source in [
        "text.replace('a', text)",
        "many.map(a, text).join(text)",
        "many.map(a, text + text)",
        "text.split('')",
        "many.all(a, text.contains('c') || true)",
        "many.map(a, text.matches('c'))",
        "many.map(a, text == text + 'c')",
        "many.map(a, [text, text].join())",
    ] {
        let error = compile(source, &world).unwrap().eval(&world).unwrap_err();
        assert_eq!(error.message, "goes through more than 33554432 bytes", "{source}");
    }
}

proptest! {
    #[test]
    fn no_text_whatever_brings_the_reader_down(source in "\\PC{0,60}") {
        drop(compile(&source, &world()));
    }

    #[test]
    fn no_sequence_of_words_brings_the_evaluator_down(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "n", "x", "ok", "x.a", "x.b.c", "search.chunks", "once.chunks", "answer", "1", "0", "2.5", "'a'", "[", "]",
                "(", ")", "{", "}", "+", "-", "*", "/", "%", "==", "<", "in", "&&", "||", "!", "?", ":", ",", ".map(c, c",
                ".filter(c, c", "size(", "first(", "present(", "all_present([", ".text", ".slice(", ".join(", "'''", "\\",
            ]),
            0..14,
        )
    ) {
        let world = world();
        let source = words.join(" ");
        match compile(&source, &world) {
            Ok(expr) => drop(expr.eval(&world)),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(source.get(problem.range.clone()).is_some(), "{:?}", problem);
                    prop_assert!(!problem.message.is_empty());
                }
            }
        }
    }

    #[test]
    fn no_repetition_whatever_brings_the_reader_down(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "n", "x.a", "ok", "1", "'a'", "[", "]", "(", ")", "{", "}", "+", "-", "==", "in", "&&", "||", "!", "?", ":", ",",
                ".map(c,", "size(", "first(", ".text", "r'", "//", "\\", "[0]", "()", "{'a':", "1.", "é",
            ]),
            1..6,
        ),
        times in 1_usize..2_000,
    ) {
        let mut source = words.join(" ").repeat(times);
        source.truncate((0..=limits::EXPRESSION_BYTES).rev().find(|at| source.is_char_boundary(*at)).unwrap());
        let world = world();
        if let Ok(expr) = compile(&source, &world) {
            drop(expr.eval(&world));
        }
    }

    #[test]
    fn no_value_whatever_brings_the_evaluator_down(value in any_value(), other in any_value()) {
        let mut world = world();
        world.0.push(("v", Type::Any, Slot::Present(value)));
        world.0.push(("w", Type::Any, Slot::Present(other)));
        for source in [
            "v + w", "v - w", "v * w", "v / w", "v % w", "v == w", "v < w", "v in w", "v[w]", "-v", "!v", "v && w || v", "v.a", "has(v.a)",
            "v ? w : v", "size(v)", "string(v)", "int(v)", "double(v)", "bool(v)", "v.split(w)", "v.join(w)", "v.replace(w, w)",
            "v.substring(w)", "v.slice(w, w)", "v.flatten()", "v.matches(w)", "v.indexOf(w)", "v.map(a, a == w)", "v.filter(a, a < w)",
            "v.exists(a, a in w)", "{'k': v}[w]", "[v, w].exists_one(a, a == v)", "first(v.a, w[0], 'none')",
        ] {
            drop(compile(source, &world).unwrap().eval(&world));
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-2_i64..3).prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "\\PC{0,6}".prop_map(|text: String| Value::text(text)),
        Just(chunk("a", "one")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::list),
            prop::collection::vec(("[ab]", inner), 0..3).prop_map(Value::map),
        ]
    })
}
