//! What expressions mean: values, absence, types, problems, bounds.

use std::sync::Arc;

use super::*;
use crate::diagnostic::{Code, suggest};
use crate::value::{Answer, Chunk};

mod hostile;

/// Names, each with the type it is declared with and what stands there.
struct World(Vec<(&'static str, Type, Slot)>);

impl Resolve for World {
    fn resolve(&self, path: &[&str]) -> Result<Resolved, Unresolved> {
        for (at, (name, ty, _)) in (0..).zip(&self.0) {
            let taken = name.split('.').count();
            if path.len() >= taken && name.split('.').eq(path[..taken].iter().copied()) {
                return Ok(Resolved { at: Ref::Input(at), ty: ty.clone(), taken });
            }
        }
        Err(Unresolved {
            code: Code::UNKNOWN_NAME,
            segment: 0,
            message: format!("there is no `{}`", path[0]),
            hint: suggest(path[0], self.0.iter().map(|(name, ..)| *name), "there are"),
        })
    }
}

impl Env for World {
    fn slot(&self, at: Ref) -> Slot {
        let Ref::Input(at) = at else { return Slot::Pending };
        self.0[at as usize].2.clone()
    }
}

fn chunk(id: &str, text: &str) -> Value {
    let chunk = serde_json::from_value::<Chunk>(serde_json::json!({
        "id": id, "doc": "d", "text": text, "tokens": 1,
        "range": {"start": 0, "end": 1}, "lines": {"first": 1, "last": 1},
    }));
    Value::from(chunk.unwrap())
}

fn world() -> World {
    let ty = |text: &str| text.parse::<Type>().unwrap();
    let answer = Value::Answer(Arc::new(Answer {
        text: "forty-two".into(),
        citations: serde_json::from_value(serde_json::json!([{
            "chunk_id": "a#0-1", "doc": "a", "range": {"start": 0, "end": 1}, "lines": {"first": 1, "last": 1},
        }]))
        .unwrap(),
        grounded: true,
        by: "extractive".into(),
    }));
    let skipped =
        || Slot::Absent(Arc::new(Absence { what: "once.chunks".into(), why: "`when` was false".into() }));
    let chunks = || Slot::Present(Value::list([chunk("a", "one"), chunk("b", "two")]));
    World(vec![
        ("inputs.question", ty("text"), Slot::Present(Value::text("why?"))),
        ("search.chunks", ty("list<chunk>"), chunks()),
        ("once.chunks", ty("list<chunk>"), skipped()),
        ("answer", ty("answer"), Slot::Present(answer)),
        ("later.chunks", ty("list<chunk>"), Slot::Pending),
        ("n", ty("int"), Slot::Present(Value::Int(3))),
        ("x", ty("any"), Slot::Present(Value::from_json(serde_json::json!({"a": [1, 2], "b": {"c": "d"}})))),
        ("ok", ty("bool"), Slot::Present(Value::Bool(true))),
        ("many", ty("list<int>"), Slot::Present(Value::list((0..1_000).map(Value::Int)))),
    ])
}

fn eval(source: &str) -> Value {
    let world = world();
    match compile(source, &world).unwrap_or_else(|problems| panic!("{source}: {problems:?}")).eval(&world) {
        Ok(Slot::Present(value)) => value,
        other => panic!("{source}: {other:?}"),
    }
}

fn absent(source: &str) -> String {
    let world = world();
    match compile(source, &world).unwrap().eval(&world) {
        Ok(Slot::Absent(absence)) => format!("{}: {}", absence.what, absence.why),
        other => panic!("{source}: {other:?}"),
    }
}

fn error(source: &str) -> String {
    let world = world();
    compile(source, &world).unwrap().eval(&world).unwrap_err().message
}

/// Each problem as `FLOW0027 at `the text`: message (hint)`.
fn problems(source: &str) -> String {
    let problems = compile(source, &world()).unwrap_err();
    let lines = problems.iter().map(|problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let at = &source[problem.range.clone()];
        format!("{} at `{at}`: {}{hint}", problem.code, problem.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn ty(source: &str) -> String {
    compile(source, &world()).unwrap().ty.to_string()
}

#[test]
fn paths_reach_into_values() {
    assert_eq!(eval("inputs.question"), Value::text("why?"));
    assert_eq!(eval("answer.citations[0].chunk_id"), Value::text("a#0-1"));
    assert_eq!(eval("search.chunks[1].text"), Value::text("two"));
    assert_eq!(eval("x.b['c']"), Value::text("d"));
    assert_eq!(eval("x.a[n - 2]"), Value::Int(2));
    assert_eq!(error("search.chunks[2].text"), "there is no item 2 in a list of 2");
    assert_eq!(error("x.b.nothing"), "the map has no `nothing`");
}

#[test]
fn literals_are_known_at_once() {
    for (source, value) in [
        ("[]", Value::list([])),
        ("3", Value::Int(3)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("0x10", Value::Int(16)),
        ("1.5e1", Value::Float(15.0)),
        ("'x'", Value::text("x")),
        (r#""a\n\u00e9""#, Value::text("a\né")),
        (r"r'\d'", Value::text(r"\d")),
        ("'''a\nb'''", Value::text("a\nb")),
        ("true", Value::Bool(true)),
        ("{'a': [1, 2.5]}", Value::map([("a", Value::list([Value::Int(1), Value::Float(2.5)]))])),
        ("1 + 2 * 3 // and no more", Value::Int(7)),
    ] {
        assert_eq!(compile(source, &world()).unwrap().as_literal(), Some(&value), "{source}");
    }
}

#[test]
fn records_stay_records_through_lists_and_comprehensions() {
    let both = eval("search.chunks.filter(c, c.text == 'two') + [search.chunks[0]]");
    assert_eq!(both, Value::list([chunk("b", "two"), chunk("a", "one")]));
    assert_eq!(eval("search.chunks.map(c, c.text)"), Value::list([Value::text("one"), Value::text("two")]));
    assert_eq!(eval("search.chunks.map(c, c.text != 'one', c.id)"), Value::list([Value::text("b")]));
    assert_eq!(eval("[search.chunks, search.chunks].flatten().slice(1, 3)").as_list().unwrap().len(), 2);
    assert_eq!(
        eval("search.chunks.exists(c, c.text.contains('w')) && !search.chunks.all(c, c.id == 'a')"),
        Value::Bool(true)
    );
    assert_eq!(eval("search.chunks.exists_one(n, n.id == 'a')"), Value::Bool(true), "a local name shadows");
}

#[test]
fn what_is_absent_is_absent_unless_it_is_asked_for() {
    assert_eq!(absent("once.chunks"), "once.chunks: `when` was false");
    assert_eq!(absent("later.chunks[0]"), "later.chunks[0]: not settled yet");
    assert_eq!(absent("size(once.chunks) > 0 || ok"), "once.chunks: `when` was false");
    assert_eq!(eval("first(once.chunks, later.chunks, search.chunks)"), eval("search.chunks"));
    assert_eq!(eval("size(first(once.chunks, search.chunks)) > 1"), Value::Bool(true));
    assert_eq!(eval("first(once.chunks[0].text, 'none')"), Value::text("none"));
    assert_eq!(eval("first(search.chunks[7].text, 'none')"), Value::text("none"));
    assert_eq!(eval("present(once.chunks) || present(search.chunks[0])"), Value::Bool(true));
    assert_eq!(
        eval("all_present([once.chunks, search.chunks, later.chunks])"),
        Value::list([eval("search.chunks")])
    );
    assert_eq!(
        absent("first(once.chunks, later.chunks)"),
        "first(once.chunks, later.chunks): none of its values is present \
         (`once.chunks`: `when` was false; `later.chunks`: not settled yet)"
    );
}

#[test]
fn references_say_whether_they_are_needed() {
    let refs = compile("first(once.chunks, search.chunks) + search.chunks", &world()).unwrap().refs;
    let expected = [(2, false), (1, false), (1, true)];
    assert_eq!(refs, expected.map(|(at, strict)| Reference { at: Ref::Input(at), strict }));
}

#[test]
fn types_are_inferred_as_far_as_they_go() {
    for (source, expected) in [
        ("search.chunks", "list<chunk>"),
        ("search.chunks.map(c, c.text)", "list<text>"),
        ("search.chunks.filter(c, size(c.text) > 3)", "list<chunk>"),
        ("first(once.chunks, search.chunks)", "list<chunk>"),
        ("all_present([once.chunks, search.chunks])", "list<list<chunk>>"),
        ("[once.chunks, search.chunks].flatten()", "list<chunk>"),
        ("n + 1", "int"),
        ("double(n) / 2.0", "float"),
        ("x.a + 1", "any"),
        ("ok ? 'a' : inputs.question", "text"),
        ("{'a': n}", "map<int>"),
        ("string(n) + '!'", "text"),
        ("'a' in ['a'] || n > 2", "bool"),
        ("answer.citations[0].chunk_id", "any"),
    ] {
        assert_eq!(ty(source), expected, "{source}");
    }
}

#[test]
fn what_can_never_work_is_refused_with_its_place() {
    for (source, expected) in [
        (
            "1 + 'a'",
            "FLOW0029 at `1 + 'a'`: `+` does not go between `int` and `text` (turn the number into a text first: `string(x)`)",
        ),
        ("size(3)", "FLOW0029 at `3`: `size` takes a `text`, `list` or `map`, found `int`"),
        (
            "inputs.question > 3",
            "FLOW0029 at `inputs.question > 3`: `>` does not go between `text` and `int` \
             (to ask how long something is, write `size(x)`)",
        ),
        ("!3", "FLOW0029 at `3`: `!` takes a `bool`, found `int` (compare it: `x > 0`)"),
        (
            "answer.citation",
            "FLOW0023 at `citation`: `answer` is of type `answer`, which has no field `citation` (did you mean `citations`?)",
        ),
        (
            "search.chunks.text",
            "FLOW0023 at `text`: `search.chunks` is of type `list<chunk>`, which has no field `text` \
             (take one item (`search.chunks[0].text`), or all of them: `search.chunks.map(x, x.text)`)",
        ),
        (
            "serch.chunks == ok.b",
            "FLOW0022 at `serch`: there is no `serch` (there are: `answer`, `inputs.question`, `later.chunks`, `many`, `n`, `ok`, `once.chunks`, `search.chunks`, `x`)\nFLOW0023 at `b`: `ok` is of type `bool`, which has no fields",
        ),
        (
            "n == '3'",
            "FLOW0029 at `n == '3'`: `int` and `text` are never equal (leave the quotes out, or turn the number into a text: `string(x)`)",
        ),
        ("1 / 0", "FLOW0029 at `1 / 0`: the expression never has a value: division by zero"),
        ("inputs.question.matches('(')", "FLOW0029 at `'('`: the text is no regular expression"),
        (
            "contains('a', 'b')",
            "FLOW0028 at `contains`: `contains` is not called this way (write `x.contains(...)`)",
        ),
        ("'a'.contains()", "FLOW0029 at `'a'.contains()`: `contains` takes 1 value in its brackets, found 0"),
    ] {
        assert_eq!(problems(source), expected, "{source}");
    }
    assert!(
        problems("len(x)")
            .starts_with("FLOW0028 at `len`: there is no function `len()` (did you mean `size`?")
    );
    assert!(
        problems("x.startWith('a')")
            .contains("did you mean `startsWith`? the functions are `size`, `contains`")
    );
}

#[test]
fn what_cannot_be_read_is_shown_where_it_is() {
    for (source, expected) in [
        ("", "FLOW0027 at ``: the expression is empty"),
        ("n >", "FLOW0027 at ``: the expression ends where a value is needed"),
        ("n = 3", "FLOW0027 at `=`: `=` means nothing here (compare with `==`)"),
        ("ok and ok", "FLOW0027 at `and`: `and` does not fit here (`and` is written `&&`)"),
        ("'π", "FLOW0027 at `'π`: the text has no end (close it with `'`)"),
        ("size(x", "FLOW0027 at `(`: the bracket `(` needs `)`, but there is the end"),
        ("x.", "FLOW0027 at ``: the expression ends where a name is needed"),
        ("'é' + )", "FLOW0027 at `)`: `)` closes nothing"),
        ("'é' and (n)", "FLOW0027 at `and`: `and` does not fit here (`and` is written `&&`)"),
        ("loop.turns", "FLOW0027 at `loop`: CEL keeps the word `loop` for itself (use another name)"),
        ("3u", "FLOW0027 at `3u`: unsigned numbers are not supported (write the number without the `u`)"),
        (
            "99999999999999999999",
            "FLOW0027 at `99999999999999999999`: `99999999999999999999` is no whole number of 64 bits",
        ),
    ] {
        assert_eq!(problems(source), expected, "{source}");
    }
}

#[test]
fn what_could_run_too_long_is_refused_before_it_runs() {
    for source in [
        " ".repeat(limits::EXPRESSION_BYTES + 1),
        vec!["1"; 8_000].join("+"),
        "(".repeat(8_000),
        format!("{}1", "!".repeat(8_000)),
        format!("x{}", ".a".repeat(8_000)),
        "ok ? 1 : ".repeat(1_000) + "1",
        "many.map(a, many.map(b, many.map(c, many.map(d, d))))".to_owned(),
    ] {
        let problems = compile(&source, &world()).unwrap_err();
        assert_eq!(problems[0].code, Code::EXPRESSION_SIZE, "{:.40}: {:?}", source, problems[0]);
    }
}

#[test]
fn what_runs_too_long_is_stopped() {
    assert_eq!(error("many.map(a, many.map(b, a + b))"), "goes over more than 100000 items");
    assert_eq!(
        error("many.map(a, string(many.map(b, 'x')[0]) + 'x').size() > 0 || many.all(a, many.all(b, true))"),
        "goes over more than 100000 items"
    );
    let pad = "x".repeat(1_000);
    assert_eq!(error(&format!("many.map(a, '{pad}' + string(a))")), "makes a value of more than 65536 bytes");
    assert_eq!(error("x.a.map(a, a / 0)"), "division by zero");
}

#[test]
fn patterns_are_read_once_and_bounded() {
    assert_eq!(eval(r"inputs.question.matches(r'^\w+\?$') && 'π7'.matches('[α-ω][0-9]')"), Value::Bool(true));
    let problem = problems(r"inputs.question.matches('\\w{1000}{1000}')");
    assert!(problem.ends_with("the regular expression is too large"), "{problem}");
}

#[test]
fn what_passes_through_does_not_count_as_made() {
    let long = Value::text("x".repeat(2 * limits::EXPRESSION_OUTPUT_BYTES));
    let document = |n: usize| chunk(&n.to_string(), &"x".repeat(1 << 20));
    let world = World(vec![
        ("text", Type::Text, Slot::Present(long.clone())),
        ("numbers", Type::list(Type::Int), Slot::Present(Value::list((0..90_000).map(Value::Int)))),
        ("documents", Type::list(Type::Chunk), Slot::Present(Value::list((0..40).map(document)))),
    ]);
    let eval = |source: &str| compile(source, &world).unwrap().eval(&world);
    let Ok(Slot::Present(value)) = eval("{'text': text, 'size': size(text)}") else { panic!() };
    assert_eq!(value.field("text"), Some(long));
    assert!(matches!(eval("size(numbers) > 3 ? numbers.filter(n, n >= 0) : []"), Ok(Slot::Present(_))));
    let documents = eval("documents.filter(d, d.id != '').map(d, d)").unwrap();
    assert_eq!(documents, world.slot(Ref::Input(2)));
    assert_eq!(eval("text + '!'").unwrap_err().message, "makes a value of more than 65536 bytes");
}

#[test]
fn what_is_nested_as_deep_as_may_be_is_read_and_evaluated() {
    let parens = format!("{}n{}", "(".repeat(60), ")".repeat(60));
    assert_eq!(eval(&parens), Value::Int(3));
    let sums = format!("{}n{}", "(1 + ".repeat(60), ")".repeat(60));
    assert_eq!(eval(&sums), Value::Int(63));
    let lists = format!("size({}n{})", "[".repeat(60), "]".repeat(60));
    assert_eq!(eval(&lists), Value::Int(1));
    let mixed = format!("{}n{}", "(ok ? 1 * 2 - ".repeat(20), " : 0)".repeat(20));
    assert_eq!(eval(&mixed), Value::Int(3));
}

#[test]
fn what_cel_brings_along_works() {
    for (source, expected) in [
        ("has(x.b) && !has(x.c) && !has(search.chunks[0].score)", Value::Bool(true)),
        ("timestamp('2026-01-02T03:04:05Z').getFullYear() + size(x.a)", Value::Int(2028)),
        (
            "timestamp('2026-01-02T03:04:05Z') + duration('1h') > timestamp('2026-01-02T04:00:00Z') && ok",
            Value::Bool(true),
        ),
        ("ok ? timestamp('2026-01-02T03:04:05Z') : null", Value::text("2026-01-02T03:04:05+00:00")),
        ("inputs.question.replace('y', 'o').upperAscii().split('O').join('-')", Value::text("WH-?")),
        ("[3, n - 2, 2].sort().reverse().slice(0, 2)", Value::list([Value::Int(3), Value::Int(2)])),
        ("x.map(key, key)", Value::list([Value::text("a"), Value::text("b")])),
        ("{'b': n, 'a': n}.map(key, key)", Value::list([Value::text("a"), Value::text("b")])),
        ("search.chunks.map(c, first(c.score, 0.5))", Value::list([Value::Float(0.5), Value::Float(0.5)])),
        ("search.chunks[0] in search.chunks && search.chunks[0] != search.chunks[1]", Value::Bool(true)),
        ("'π' + 'é'.substring(0, 1) == 'πé' && ok", Value::Bool(true)),
    ] {
        assert_eq!(eval(source), expected, "{source}");
    }
    assert_eq!((ty("[n, 0.5]"), ty("ok ? n : 1.5")), ("list<any>".to_owned(), "any".to_owned()));
    let whole =
        World(vec![("weights", Type::list(Type::Float), Slot::Present(Value::list([Value::Int(2)])))]);
    let halves = compile("weights.map(w, w * 0.5)", &whole).unwrap().eval(&whole);
    assert_eq!(
        halves,
        Ok(Slot::Present(Value::list([Value::Float(1.0)]))),
        "a whole number where any may be"
    );
    assert_eq!(absent("search.chunks.all(c, c.score > 0.5)"), "score: the chunk has none");
    assert_eq!(
        problems("'π' + [n.b].map(c, (c + 1) * 2)"),
        "FLOW0029 at `'π' + [n.b].map(c, (c + 1) * 2)`: `+` does not go between `text` and `list<any>` \
         (to add one item to a list, write `list + [item]`)\n\
         FLOW0023 at `b`: `n` is of type `int`, which has no fields"
    );
    assert_eq!(
        problems("1.5 * n > 2"),
        "FLOW0029 at `1.5 * n`: `*` does not go between `float` and `int` \
         (turn the whole number into one with a fraction: `double(x)`, or write `2.0` for `2`)"
    );
}

#[test]
fn a_name_may_be_that_of_a_type_or_function_of_cel() {
    let absent = Slot::Absent(Arc::new(Absence { what: "list".into(), why: "it is not given".into() }));
    let world = World(vec![
        ("list", Type::list(Type::Int), absent),
        ("int.size", Type::Int, Slot::Present(Value::Int(3))),
        ("lists.range", Type::Int, Slot::Present(Value::Int(4))),
    ]);
    let eval = |source: &str| compile(source, &world).unwrap().eval(&world).unwrap();
    assert_eq!(eval("present(list)"), Slot::Present(Value::Bool(false)));
    assert_eq!(eval("int.size + lists.range + int('1')"), Slot::Present(Value::Int(8)));
    assert!(matches!(eval("size(list)"), Slot::Absent(absence) if &*absence.what == "list"));
}
