//! Every flow in `flows/` loads without warnings, names its source, and carries tests.

use anabranch_engine::diagnostic::render;
use anabranch_engine::plan::explain::{Format, explain};
use anabranch_engine::plan::{Environment, Plan, compile};

use crate::support::{Repository, files, flow_files, names, read, source, stem};

fn plan(path: &str) -> Plan {
    let registry = anabranch_operators::registry();
    let names = names();
    let environment = Environment { registry: &registry, names: Some(&names), library: &Repository };
    let (plan, warnings) = compile(&source(path), &environment)
        .unwrap_or_else(|problems| panic!("{}", render(&problems, false)));
    assert!(warnings.is_empty(), "{}", render(&warnings, false));
    plan
}

#[test]
fn every_flow_loads_without_warnings_and_carries_tests() {
    for path in flow_files() {
        let plan = plan(&path);
        assert_eq!(&*plan.name, stem(&path), "the name of a flow is that of its file");
        assert!(!plan.tests.is_empty(), "{path} has no tests");
        assert!(plan.about.is_some(), "{path} does not say what it is for");
        assert!(read(&path).contains("arXiv"), "{path} does not name its source");
    }
}

#[test]
fn the_flows_of_the_benches_load_without_warnings() {
    for path in files("benches/reproduce/flows", "yaml") {
        assert_eq!(&*plan(&path).name, stem(&path));
    }
}

#[test]
fn every_flow_can_be_explained_in_every_form() {
    for path in flow_files() {
        let plan = plan(&path);
        for format in [Format::Text, Format::Mermaid, Format::Dot, Format::Json] {
            let shown = explain(&plan, format);
            for node in &plan.root.nodes {
                assert!(
                    shown.contains(&*node.name),
                    "{path} as {format:?} leaves out `{}`:\n{shown}",
                    node.name
                );
            }
        }
        let json: serde_json::Value = serde_json::from_str(&explain(&plan, Format::Json)).unwrap();
        assert!(json.is_object(), "{path}");
    }
}
