//! What the YAML reader takes and refuses, and where it points.

use std::fmt::Write;

use super::{Kind, Node, read};
use crate::diagnostic::{Diagnostics, SourceFile};
use crate::limits;

fn tree(text: &str) -> (Option<Node>, Diagnostics) {
    let file = SourceFile::new("test.yaml", text);
    let mut problems = Diagnostics::default();
    let node = read(&file, &mut problems);
    problems.sort();
    (node, problems)
}

fn good(text: &str) -> Node {
    let (node, problems) = tree(text);
    assert!(problems.is_empty(), "{problems}");
    node.unwrap()
}

/// Each problem as `CODE line:column «text there» message`.
fn problems(text: &str) -> Vec<String> {
    let (_, problems) = tree(text);
    let one = |problem: &crate::diagnostic::Diagnostic| {
        let (line, column) = problem.file.place(problem.span.start);
        let there = problem.file.text.get(problem.span.start..problem.span.end).unwrap();
        format!("{} {line}:{column} «{there}» {}", problem.code, problem.message)
    };
    problems.iter().map(one).collect()
}

/// Every scalar of the tree with the text at its place.
fn places(text: &str) -> String {
    fn walk(node: &Node, text: &str, out: &mut String) {
        let there = &text[node.span.start..node.span.end];
        match &node.kind {
            Kind::Scalar { text, .. } => writeln!(out, "{text:?} at {there:?}").unwrap(),
            Kind::List(items) => {
                writeln!(out, "list at {there:?}").unwrap();
                for item in items {
                    walk(item, text, out);
                }
            }
            Kind::Map(entries) => {
                writeln!(out, "map at {there:?}").unwrap();
                for (key, value) in entries {
                    walk(key, text, out);
                    walk(value, text, out);
                }
            }
        }
    }
    let mut out = String::new();
    walk(&good(text), text, &mut out);
    out
}

#[test]
fn every_value_keeps_its_place() {
    let text = "a: b  # c\n'k' : \"v\\n\"\nl: [1, {x: y}]\nm:\n  - p q\n  - r\n\n# end\nn: |\n  x\n  y\n";
    assert_eq!(
        places(text),
        r#"map at "a: b  # c\n'k' : \"v\\n\"\nl: [1, {x: y}]\nm:\n  - p q\n  - r\n\n# end\nn: |\n  x\n  y\n"
"a" at "a"
"b" at "b"
"k" at "'k'"
"v\n" at "\"v\\n\""
"l" at "l"
list at "[1, {x: y}]"
"1" at "1"
map at "{x: y}"
"x" at "x"
"y" at "y"
"m" at "m"
list at "- p q\n  - r"
"p q" at "p q"
"r" at "r"
"n" at "n"
"x\ny\n" at "x\n  y\n"
"#
    );
}

#[test]
fn places_are_right_after_a_mark_carriage_returns_and_letters_of_many_bytes() {
    let text = "\u{feff}ä: ö\r\nb:\r\n  c: 'é'\r\n  日本: f g\r\n   h\r\n";
    assert_eq!(
        places(text),
        r#"map at "ä: ö\r\nb:\r\n  c: 'é'\r\n  日本: f g\r\n   h"
"ä" at "ä"
"ö" at "ö"
"b" at "b"
map at "c: 'é'\r\n  日本: f g\r\n   h"
"c" at "c"
"é" at "'é'"
"日本" at "日本"
"f g h" at "f g\r\n   h"
"#
    );
    assert_eq!(problems("\u{feff}é: ö\r\né: ü\r\n"), ["FLOW0003 2:1 «é» the key `é` stands twice"]);
    assert_eq!(problems("é: *ü\n"), ["FLOW0001 1:4 «*» there is no such anchor before this alias"]);
}

#[test]
fn nothing_stands_at_the_key_that_it_belongs_to() {
    let text = "a:\nb: {c: }\n";
    let node = good(text);
    let nothing = node.get("a").unwrap();
    assert!(nothing.is_null());
    assert_eq!(&text[nothing.span.start..nothing.span.end], "a");
}

#[test]
fn an_alias_stands_where_it_is_and_its_insides_where_they_are_written() {
    let text = "a: &x {b: c}\nd: *x\n";
    let node = good(text);
    let alias = node.get("d").unwrap();
    assert_eq!(alias.span.start, 16);
    assert_eq!(alias.get("b").unwrap().span.start, 10);
    assert_eq!(alias.to_json(), serde_json::json!({"b": "c"}));
}

#[test]
fn a_merge_key_brings_in_what_the_mapping_does_not_have() {
    let node = good("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 9}\n");
    assert_eq!(node.get("z").unwrap().to_json(), serde_json::json!({"a": 9, "b": 2, "c": 4}));
    assert_eq!(
        problems("<<: 3\n"),
        ["FLOW0011 1:5 «3» `<<` takes a mapping, or a list of mappings, and this is a whole number"]
    );
}

#[test]
fn quotes_and_tags_decide_what_a_scalar_is() {
    let node = good("a: 12\nb: '12'\nc: !!str 12\nd: ! true\ne: yes\n");
    assert_eq!(node.to_json(), serde_json::json!({"a": 12, "b": "12", "c": "12", "d": "true", "e": "yes"}));
    assert_eq!(problems("a: !foo b\n"), ["FLOW0001 1:4 «!foo» the tag `!foo` means nothing in a flow"]);
}

#[test]
fn all_duplicate_keys_are_reported_and_the_first_stays() {
    let (node, found) = tree("a: 1\nb: {c: 1, c: 2}\na: 3\na: 4\n");
    assert_eq!(node.unwrap().to_json(), serde_json::json!({"a": 1, "b": {"c": 1}}));
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|problem| problem.labels.len() == 1));
    assert_eq!(found.iter().last().unwrap().labels[0].span.start, 0, "the label is at the first one");
}

#[test]
fn tabs_are_named_and_not_blamed_where_they_are_text() {
    let lines = ["FLOW0002 2:1 «\t» the line is indented with a tab, and so is one line below"];
    assert_eq!(problems("a:\n\tb: c\n\td: e\n"), lines);
    assert_eq!(problems("a: b\n\tc: d\n"), ["FLOW0002 2:1 «\t» the line is indented with a tab"]);
    assert_eq!(problems("  \ta: b\n"), ["FLOW0002 1:3 «\t» the line is indented with a tab"]);
    for text in ["a: |\n  x\n  \ty\nb: c\n", "a: b\n\t\n", "a: b\n\t# c\n", "a: \"x\n \ty\"\n", "a: b\t# c\n"]
    {
        assert_eq!(problems(text), Vec::<String>::new(), "{text:?}");
    }
    let both = problems("a:\n\tb: c\nd: \"e\n");
    assert!(both[0].starts_with("FLOW0002"), "{both:?}");
}

#[test]
fn syntax_errors_are_said_plainly_at_their_place() {
    for (text, expected) in [
        ("a: {b: c\n", "FLOW0001 1:4 «{» `{` is never closed"),
        ("a: [b\n\n", "FLOW0001 1:4 «[» `[` is never closed"),
        ("a: [1, 2}\n", "FLOW0001 1:4 «[» `[` is closed by `}`"),
        ("a: ]\n", "FLOW0001 1:4 «]» a bracket is closed that was never opened"),
        ("a: \"b\nc: d\n", "FLOW0001 1:4 «\"» a quote is never closed"),
        ("a: b: c\n", "FLOW0001 1:5 «:» a `:` cannot stand here"),
        ("a: @x\n", "FLOW0001 1:4 «@» `@` cannot begin a value"),
        ("a: `x`\n", "FLOW0001 1:4 «`» a backtick cannot begin a value"),
        ("a: *\n", "FLOW0001 1:4 «*» `*` and `&` need a name here"),
        ("a: *q\n", "FLOW0001 1:4 «*» there is no such anchor before this alias"),
        ("a: 1\nb\nc: 2\n", "FLOW0001 2:1 «b» `b` has no `:`"),
        ("a:\n  op b\n  c: 2\n", "FLOW0001 2:3 «op b» `op b` has no `:`"),
        ("a:\n  op:b\n  c: 2\n", "FLOW0001 2:3 «op:b» a space is missing after the `:`"),
        ("a: {b: c\nd: 1\n", "FLOW0001 1:4 «{» `{` is never closed"),
        ("a:\n  b: [c, d\n  e:\n", "FLOW0001 2:6 «[» `[` is never closed"),
        (
            "a:\n   b: 1\n  c: 2\n",
            "FLOW0001 3:3 «c: 2» the line begins in column 3, and the one that it should stand beside in column 4",
        ),
        ("a: caf\u{fffd}\n", "FLOW0001 1:7 «\u{fffd}» the file holds something that is not UTF-8 text"),
        ("a: 'it's'\n", "FLOW0001 1:8 «s» there is something after the closing quote"),
        ("a: - b\n", "FLOW0001 1:4 «-» a list item cannot stand here"),
        ("a: {{ q }}\n", "FLOW0011 1:5 «{ q }» a key is a text, and this is a mapping"),
    ] {
        assert_eq!(problems(text), [expected], "{text:?}");
    }
}

#[test]
fn a_file_that_is_no_flow_is_told_so() {
    for (text, expected) in [
        ("", "FLOW0008 1:1 «» the file is empty"),
        ("# only a comment\n", "FLOW0008 1:1 «» the file is empty"),
        ("hello\n", "FLOW0008 1:1 «hello» a flow is a mapping, and this is a text"),
        ("- a\n- b\n", "FLOW0008 1:1 «- a» a flow is a mapping, and this is a list"),
        ("a: b\n---\nc: d\n", "FLOW0008 2:1 «---» a second document begins here"),
    ] {
        assert_eq!(problems(text), [expected], "{text:?}");
    }
    good("---\na: b\n...\n");
}

/// The one code under which `text` is refused.
fn refused(text: &str) -> String {
    let (node, found) = tree(text);
    assert!(node.is_none());
    assert_eq!(found.len(), 1, "{found}");
    found.iter().map(|problem| problem.code.id()).collect()
}

#[test]
fn hostile_files_are_refused_at_their_bound() {
    assert_eq!(refused(&"a".repeat(limits::FLOW_BYTES + 1)), "FLOW0004");
    assert_eq!(refused(&"[".repeat(200_000)), "FLOW0005");
    assert_eq!(refused(&"{a:".repeat(60_000)), "FLOW0001");
    assert_eq!(refused(&"{a: ".repeat(50_000)), "FLOW0005");
    assert_eq!(refused(&"- ".repeat(100_000)), "FLOW0005");
    let mut staircase = String::new();
    for n in 0..600 {
        writeln!(staircase, "{}a:", " ".repeat(n)).unwrap();
    }
    assert_eq!(refused(&staircase), "FLOW0005");
    assert_eq!(refused(&format!("a: [{}]\n", "1,".repeat(20_000))), "FLOW0006");
    assert_eq!(refused(&format!("a: &a 1\nb: [{}]\n", "*a,".repeat(200))), "FLOW0007");
    assert_eq!(refused("a: &a [*a]\n"), "FLOW0007");
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..9 {
        let aliases = format!("*a{}, ", level - 1).repeat(9);
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert_eq!(refused(&text), "FLOW0007");
}

#[test]
fn aliases_cannot_nest_deeper_than_the_bound() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..80 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(refused(&text), "FLOW0005");
}

#[test]
fn what_is_within_the_bounds_is_read() {
    let depth = limits::YAML_DEPTH - 1;
    good(&format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(refused(&format!("a: {}{}\n", "[".repeat(depth + 1), "]".repeat(depth + 1))), "FLOW0005");
    good(&format!("a: [{}]\n", "1,".repeat(limits::YAML_NODES - 3)));
}

#[test]
fn a_json_pointer_finds_the_value_or_what_holds_it() {
    let text = "a: {b/c: [x, y]}\n";
    let node = good(text);
    let at = |pointer| {
        let span = node.at_pointer(pointer).span;
        &text[span.start..span.end]
    };
    assert_eq!(at("/a/b~1c/1"), "y");
    assert_eq!(at("/a/b~1c/7"), "[x, y]");
    assert_eq!(at("/a/missing"), "{b/c: [x, y]}");
}
