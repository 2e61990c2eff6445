//! What every operator owes its reader, checked over the whole registry.

use std::collections::BTreeMap;

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::prompt::{Stability, segments, unstable};
use anabranch_engine::operator::Names;
use anabranch_engine::plan::{Environment, compile};
use anabranch_engine::testing::MapLibrary;

use crate::registry;

/// The nodes that examples refer to, by their names.
const AROUND: [(&str, &str); 3] = [
    ("search", "{ op: retrieve.bm25, in: { query: inputs.question } }"),
    ("select", "{ op: select.budget, in: { chunks: search.chunks } }"),
    ("keep", "{ op: context.append, in: { old: carry.chunks, new: search.chunks } }"),
];

/// A flow around the example node, as a page's reader would write it.
fn flow_around(example: &str) -> String {
    let node = example.trim().split(':').next().unwrap();
    let in_loop = example.contains("carry.");
    let mut nodes: Vec<String> = Vec::new();
    for (name, rest) in AROUND {
        if name != node && (in_loop || name != "keep") {
            nodes.push(format!("{name}: {rest}"));
        }
    }
    nodes.extend(example.trim().lines().map(str::to_owned));
    let indented =
        |by: usize| nodes.iter().map(|line| format!("{:by$}{line}\n", "")).collect::<Vec<_>>().concat();
    let inputs =
        "question: text, document: document, answers: list<text>, tags: list<text>, done: bool, rounds: int";
    let head = format!("flow: example\ninputs: {{ {inputs} }}\nnodes:\n");
    if !in_loop {
        return format!("{head}{}outputs: {{ question: inputs.question }}\n", indented(2));
    }
    let names = ["chunks", "terms", "thoughts", "asked"];
    let carry = names.map(|name| format!("{name}: \"[]\"")).join(", ");
    let next =
        names.map(|name| format!("{name}: {}.{name}", if name == "chunks" { "keep" } else { "carry" }));
    format!(
        "{head}  hop:\n    loop:\n      max_turns: 2\n      carry: {{ {carry} }}\n      nodes:\n{}      \
         next: {{ {} }}\noutputs: {{ chunks: hop.chunks }}\n",
        indented(8),
        next.join(", ")
    )
}

#[test]
fn every_example_is_accepted_by_the_checker() {
    let registry = registry();
    let names = Names::defaults(["docs"]);
    let library = MapLibrary(BTreeMap::new());
    for spec in registry.iter() {
        let example = spec.page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let flow = flow_around(example);
        let environment = Environment { registry: &registry, names: Some(&names), library: &library };
        if let Err(problems) = compile(&SourceFile::new("example.yaml", flow.clone()), &environment) {
            panic!("`{}`: {problems:#?}\n{flow}", spec.name);
        }
    }
}

#[test]
fn every_operator_has_a_page_with_an_example_of_itself() {
    for spec in registry().iter() {
        let example = spec.page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next());
        let example = example.unwrap_or_else(|| panic!("`{}` has no example", spec.name));
        assert!(example.contains(&format!("op: {}\n", spec.name)), "`{}`: {example}", spec.name);
        let page = &spec.page;
        assert!(page.contains("Use it "), "`{}` does not say when to use it", spec.name);
        assert!(page.contains("Asks "), "`{}` does not say what it costs", spec.name);
        assert!(page.contains("Source: "), "`{}` does not say where it comes from", spec.name);
        assert!(spec.summary().ends_with('.') && spec.summary().len() < 110, "`{}`", spec.summary());
    }
}

#[test]
fn every_setting_has_a_description() {
    for spec in registry().iter() {
        let settings = spec.settings.get("properties").and_then(|properties| properties.as_object());
        for (name, schema) in settings.into_iter().flatten() {
            let described = schema["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "`{}` has nothing to say about `{name}`", spec.name);
        }
        assert_eq!(spec.settings.get("additionalProperties"), Some(&false.into()), "`{}`", spec.name);
    }
}

#[test]
fn every_port_is_documented() {
    for spec in registry().iter() {
        for port in spec.inputs.ports.iter().chain(&spec.outputs.ports) {
            assert!(!port.doc.is_empty(), "`{}.{}`", spec.name, port.name);
        }
        assert!(!spec.outputs.ports.is_empty(), "`{}` gives nothing", spec.name);
    }
}

#[test]
fn an_operator_lives_where_its_name_says() {
    for name in registry().names() {
        let path = format!("{}/src/{}.rs", env!("CARGO_MANIFEST_DIR"), name.replace('.', "/"));
        assert!(std::path::Path::new(&path).exists(), "{path}");
    }
}

#[test]
fn settings_are_optional_where_a_default_makes_sense() {
    for spec in registry().iter() {
        let required = spec.settings.get("required").is_some();
        assert_eq!(required, !spec.validator.is_valid(&serde_json::json!({})), "`{}`", spec.name);
        assert_eq!(required, spec.build(serde_json::json!({})).is_err(), "`{}`", spec.name);
    }
}

#[test]
fn default_prompts_hold_nothing_in_a_stable_segment_that_changes_with_every_call() {
    let mut n_segments = 0;
    for spec in registry().iter() {
        let properties = spec.settings.get("properties").and_then(|properties| properties.as_object());
        for (name, schema) in properties.into_iter().flatten() {
            let Some(text) = schema["default"].as_str().filter(|_| schema["x-anabranch"] == "prompt") else {
                continue;
            };
            let found = segments(text, Stability::of_setting(name));
            for segment in found.unwrap_or_else(|problems| panic!("`{}.{name}`: {problems:?}", spec.name)) {
                let unstable = unstable(segment.text, segment.stability);
                assert!(unstable.is_empty(), "`{}.{name}` reads {unstable:?}", spec.name);
                n_segments += 1;
            }
        }
    }
    assert!(n_segments > 30, "{n_segments}");
}
