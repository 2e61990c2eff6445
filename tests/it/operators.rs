//! Every operator has a page whose example the checker accepts, and `docs/operators.md` says what the operators say.

use std::fmt::Write;

use anabranch_engine::diagnostic::{Diagnostics, SourceFile, render};
use anabranch_engine::flow::KindDecl;
use anabranch_engine::flow::parse::parse;
use anabranch_engine::operator::{OperatorSpec, Port, PortSet};
use anabranch_engine::plan::{Environment, compile};
use serde_json::Value as Json;

use crate::support::{Expected, Repository, names, root};

/// The YAML of the first example on the operator's page.
fn example(spec: &OperatorSpec) -> &str {
    let (_, rest) =
        spec.page.split_once("```yaml\n").unwrap_or_else(|| panic!("`{}` has no example", spec.name));
    rest.split_once("```").unwrap_or_else(|| panic!("the example of `{}` has no end", spec.name)).0
}

/// A flow around the example: what it reads from outside becomes an input of the port's type.
fn flow_around(spec: &OperatorSpec) -> String {
    let mut nodes = String::from("flow: example\nnodes:\n");
    for line in example(spec).lines() {
        writeln!(nodes, "  {line}").unwrap();
    }
    let file = SourceFile::new("example.yaml", nodes.clone());
    let mut problems = Diagnostics::default();
    let flow = parse(&file, &mut problems)
        .unwrap_or_else(|| panic!("the example of `{}`: {}", spec.name, render(&problems, false)));
    let own: Vec<&str> = flow.nodes.iter().map(|node| node.name.value.as_str()).collect();
    let mut inputs = String::from("inputs:\n");
    // From the last to the first, so that places stay right.
    let entries: Vec<_> = flow.nodes.iter().flat_map(|node| &node.inputs).collect();
    for entry in entries.iter().rev() {
        let name = &entry.key.value;
        let text = &entry.value.text;
        if own.contains(&text.split('.').next().unwrap_or_default()) {
            continue;
        }
        let ty = spec.inputs.find(name).map_or("any".to_owned(), |(_, port)| port.ty.required().to_string());
        // Several nodes of an example may read the same.
        if !inputs.contains(&format!("\n  {name}: ")) {
            writeln!(inputs, "  {name}: {ty}").unwrap();
        }
        nodes.replace_range(entry.value.span.start..entry.value.span.end, &format!("inputs.{name}"));
    }
    let node = own.last().copied().unwrap_or_default();
    let output = match flow.nodes.last().map(|node| &node.kind) {
        // An operator that makes plans is shown with the node that runs them.
        Some(KindDecl::Plan(_)) => "fell_back",
        _ => spec.outputs.names().next().unwrap_or_default(),
    };
    format!("{inputs}{nodes}outputs: {{ result: {node}.{output} }}\n")
}

#[test]
fn the_example_of_every_operator_loads() {
    let registry = anabranch_operators::registry();
    let names = names();
    let environment = Environment { registry: &registry, names: Some(&names), library: &Repository };
    for spec in registry.iter() {
        let text = flow_around(spec);
        assert!(
            text.contains(&format!("op: {}", spec.name)),
            "the example of `{}` does not use it",
            spec.name
        );
        let file = SourceFile::new(format!("{}.yaml", spec.name), text.clone());
        let problems =
            compile(&file, &environment).map_or_else(|problems| problems, |(_, warnings)| warnings);
        assert!(problems.is_empty(), "{}\n{text}", render(&problems, false));
    }
}

#[test]
fn every_operator_has_a_page_documented_ports_and_documented_settings() {
    for spec in anabranch_operators::registry().iter() {
        let name = spec.name;
        assert!(spec.summary().ends_with('.'), "`{name}`: the first paragraph of the page is a sentence");
        assert!(spec.page.contains("Use it"), "`{name}`: the page says when to use it");
        assert!(spec.page.contains("Source:"), "`{name}`: the page names its source");
        for port in spec.inputs.ports.iter().chain(&spec.outputs.ports) {
            assert!(!port.doc.is_empty(), "`{name}`: port `{}` says nothing", port.name);
        }
        for (setting, schema) in settings(spec) {
            assert!(schema.get("description").is_some(), "`{name}`: setting `{setting}` says nothing");
        }
        let (module, operator) = name.split_once('.').unwrap();
        let path = format!("operators/src/{module}/{operator}.rs");
        assert!(root().join(&path).exists(), "`{name}` does not live in {path}");
    }
}

#[test]
fn the_list_of_operators_is_up_to_date() {
    let registry = anabranch_operators::registry();
    let mut text = String::from(
        "# Operators\n\n\
         Every operator that flows can use, with its page, ports and settings.\n\
         This page is generated from the operators themselves; `anabranch operators NAME` shows the same.\n\n\
         | operator | what it does |\n|---|---|\n",
    );
    for spec in registry.iter() {
        let anchor = spec.name.replace('.', "");
        writeln!(text, "| [`{}`](#{anchor}) | {} |", spec.name, one_line(spec.summary())).unwrap();
    }
    for spec in registry.iter() {
        write!(text, "\n## {}\n\n{}\n", spec.name, spec.page.trim()).unwrap();
        ports(&mut text, "Inputs", &spec.inputs);
        ports(&mut text, "Outputs", &spec.outputs);
        setting_table(&mut text, spec);
    }
    let mut expected = Expected::default();
    expected.file("docs/operators.md", text);
    expected.compare();
}

fn ports(text: &mut String, title: &str, set: &PortSet) {
    if set.ports.is_empty() && set.open.is_none() {
        return;
    }
    write!(text, "\n### {title}\n\n| port | type | what it holds |\n|---|---|---|\n").unwrap();
    for Port { name, ty, doc } in &set.ports {
        writeln!(text, "| `{name}` | `{ty}` | {} |", one_line(doc)).unwrap();
    }
    if let Some(ty) = &set.open {
        writeln!(text, "| any name | `{ty}` | Named by the flow. |").unwrap();
    }
}

fn settings(spec: &OperatorSpec) -> Vec<(String, Json)> {
    let properties = spec.settings.get("properties").and_then(Json::as_object);
    properties
        .map(|map| map.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect())
        .unwrap_or_default()
}

fn setting_table(text: &mut String, spec: &OperatorSpec) {
    let settings = settings(spec);
    if settings.is_empty() {
        return;
    }
    let required: Vec<&str> = spec
        .settings
        .get("required")
        .and_then(Json::as_array)
        .map(|names| names.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default();
    text.push_str("\n### Settings\n\n| setting | value | default | what it does |\n|---|---|---|---|\n");
    for (name, schema) in settings {
        let default = match schema.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Json::Null) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let about = schema.get("description").and_then(Json::as_str).unwrap_or_default();
        writeln!(text, "| `{name}` | {} | {default} | {} |", values(&schema), one_line(about)).unwrap();
    }
}

/// What a setting can be, in words.
fn values(schema: &Json) -> String {
    let choices = schema.get("enum").and_then(Json::as_array).cloned().or_else(|| {
        let options = schema.get("oneOf").and_then(Json::as_array)?;
        options.iter().map(|option| option.get("const").cloned()).collect()
    });
    if let Some(choices) = choices {
        let words: Vec<String> =
            choices.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(" or ");
    }
    let kind = match schema.get("type") {
        Some(Json::String(kind)) => kind.clone(),
        Some(Json::Array(kinds)) => kinds
            .iter()
            .filter_map(Json::as_str)
            .filter(|kind| *kind != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => return "value".to_owned(),
    };
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number()).map(ToString::to_string);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
        (Some(least), None) if least != "0" => format!("{kind}, at least {least}"),
        _ => kind,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
