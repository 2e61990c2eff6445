//! `anabranch flows`: put, listed, shown, switched, checked.

use serde_json::json;

use super::Asked;

/// A flow of this name that adds so much.
fn adds(n: u32) -> String {
    format!(
        "flow: adds
about: Adds {n}.
inputs: {{ n: int }}
nodes:
  \
         some: {{ op: judge.rule, in: {{ n: inputs.n }}, with: {{ pass: n > 0 }} }}
\
         outputs: {{ sum: 'some.pass ? inputs.n + {n} : 0' }}
"
    )
}

#[test]
fn a_flow_is_put_in_versions_and_an_older_one_is_activated() {
    let asked = Asked::new();
    let write = |n| std::fs::write(asked.service.folder().join("adds.yaml"), adds(n)).unwrap();
    write(1);
    assert_eq!(asked.out(&["flows", "push", "adds.yaml", "--dry-run"]), "adds  would be a new version\n");
    assert_eq!(asked.out(&["flows", "push", "adds.yaml"]), "adds  version 1, active\n");
    assert_eq!(asked.out(&["flows", "push", "adds.yaml"]), "adds  version 1, unchanged\n");
    write(2);
    let second = asked.json(&["flows", "push", "adds.yaml"]);
    assert_eq!(
        (&second[0]["version"], &second[0]["changed"], &second[0]["active"]),
        (&json!(2), &json!(true), &json!(true))
    );
    write(3);
    assert_eq!(asked.out(&["flows", "push", "adds.yaml", "--inactive"]), "adds  version 3, not active\n");
    let sum = || asked.out(&["jobs", "submit", "adds", "-i", "n=40", "--wait"]);
    assert_eq!(sum().trim(), "sum: 42");
    assert_eq!(asked.out(&["jobs", "submit", "adds@3", "-i", "n=40", "--wait"]).trim(), "sum: 43");

    let versions = asked.json(&["flows", "versions", "adds"]);
    let listed: Vec<_> = versions["items"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(listed, [json!(3), json!(2), json!(1)]);
    let text = asked.out(&["flows", "versions", "adds"]);
    assert_eq!(text.lines().filter(|line| line.contains("active")).count(), 1, "{text}");
    let switched = asked.json(&["flows", "activate", "adds", "1"]);
    assert_eq!((&switched["active"], &switched["before"]), (&json!(1), &json!(2)), "{switched}");
    assert_eq!(sum().trim(), "sum: 41");
    let said = asked.out(&["flows", "activate", "adds", "2"]);
    assert_eq!(said, "adds  version 2 is active, version 1 was before\n");
    let none = asked.run(&["flows", "activate", "adds", "9"]);
    assert_eq!(none.code, Some(2), "{}", none.err);

    assert_eq!(asked.out(&["flows", "show", "adds", "--version", "1"]), adds(1));
    assert_eq!(asked.json(&["flows", "show", "adds"])["flow"], adds(2));
    let list = asked.out(&["flows", "list"]);
    assert!(list.contains("adds") && list.contains("Adds 2."), "{list}");
    assert_eq!(asked.run(&["flows", "show", "no_such"]).code, Some(2));
}

#[test]
fn a_flow_is_only_put_over_the_version_that_one_knows() {
    let asked = Asked::new();
    let write = |n| std::fs::write(asked.service.folder().join("adds.yaml"), adds(n)).unwrap();
    write(1);
    asked.out(&["flows", "push", "adds.yaml"]);
    let shown = asked.run(&["flows", "show", "adds"]);
    let etag = shown.err.trim().strip_prefix("etag: ").unwrap().to_owned();
    write(2);
    asked.out(&["flows", "push", "adds.yaml", "--if-match", &etag]);
    write(3);
    let late = asked.run(&["flows", "push", "adds.yaml", "--if-match", &etag]);
    assert_eq!(late.code, Some(2), "{}", late.err);
    assert_eq!(asked.json(&["flows", "versions", "adds"])["items"].as_array().unwrap().len(), 2);
}

#[test]
fn what_lies_beside_a_flow_goes_along() {
    let asked = Asked::new();
    let folder = asked.service.folder().join("new");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("adds.yaml"), adds(5)).unwrap();
    let twice = "flow: twice\ninputs: { n: int }\nnodes:\n  one: { flow: adds, in: { n: inputs.n } }\n  \
                 two: { flow: adds, in: { n: one.sum } }\noutputs: { sum: two.sum }\n";
    std::fs::write(folder.join("twice.yaml"), twice).unwrap();
    asked.out(&["flows", "push", "new/twice.yaml"]);
    assert_eq!(asked.out(&["jobs", "submit", "twice", "-i", "n=1", "--wait"]).trim(), "sum: 11");
    assert_eq!(asked.json(&["flows", "show", "twice"])["flows"]["adds"], adds(5));
}

#[test]
fn flows_are_checked_against_the_server() {
    let asked = Asked::new();
    let folder = asked.service.folder();
    let missing = "flow: missing\ninputs: { q: text }\nnodes:\n  find: { op: retrieve.bm25, with: { index: papers }, \
                   in: { query: inputs.q } }\noutputs: { chunks: find.chunks }\n";
    std::fs::write(folder.join("missing.yaml"), missing).unwrap();
    std::fs::write(folder.join("adds.yaml"), adds(1)).unwrap();
    let good = asked.run(&["flows", "check", "adds.yaml"]);
    assert_eq!((good.code, good.out.as_str()), (Some(0), ""), "{}", good.err);
    let wrong = asked.run(&["flows", "check", "adds.yaml", "missing.yaml"]);
    assert_eq!(wrong.code, Some(3), "{}{}", wrong.out, wrong.err);
    assert!(wrong.out.contains("missing.yaml:4:") && wrong.out.contains("papers"), "{}", wrong.out);
    let json = asked.run(&["flows", "check", "adds.yaml", "missing.yaml", "--json"]).json();
    assert_eq!((&json[0]["valid"], &json[1]["valid"]), (&json!(true), &json!(false)), "{json}");
    assert!(json[1]["diagnostics"][0]["code"].as_str().unwrap().starts_with("FLOW"), "{json}");
    let pushed = asked.run(&["flows", "push", "missing.yaml"]);
    assert_eq!(pushed.code, Some(3), "{}", pushed.err);
    assert!(pushed.err.contains("missing.yaml: "), "{}", pushed.err);
    std::fs::write(folder.join("nameless.yaml"), "nodes: {}\n").unwrap();
    assert_eq!(asked.run(&["flows", "push", "nameless.yaml"]).code, Some(3));
    assert_eq!(asked.run(&["flows", "push", "no_such.yaml"]).code, Some(2));
}
