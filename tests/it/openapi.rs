//! The `OpenAPI` document: made from the code, committed, and complete.

use std::collections::BTreeSet;

use anabranch::api::openapi;
use serde_json::Value as Json;

use crate::support::Expected;

fn operations(document: &Json) -> Vec<(String, String, Json)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn the_committed_document_is_that_of_the_code() {
    let mut expected = Expected::default();
    expected.file("service/openapi.json", openapi::file());
    expected.compare();
}

#[test]
fn every_operation_says_what_it_does_whom_it_lets_in_and_how_it_can_end() {
    let document = openapi::document();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(
            operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
            "{at} has no summary"
        );
        assert!(operation["tags"][0].is_string(), "{at} belongs to no group");
        let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
        assert!(names.insert(name.clone()), "{at}: another operation is called `{name}`");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at} never goes well");
        let is_open = operation.get("security").is_none();
        let may_be_open = !path.starts_with("/v1/");
        assert!(!is_open || may_be_open, "{at} lets everybody in");
        if !is_open {
            let scope = operation["security"][0]["key"][0].as_str().unwrap_or_default();
            // What a tool needs is decided by the tool.
            let is_known = ["read", "run", "edit", "admin"].contains(&scope) || path == "/mcp";
            assert!(is_known, "{at} needs `{scope}`");
            assert!(responses.contains_key("401") && responses.contains_key("403"), "{at}");
        }
        for parameter in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|known| known["name"] == parameter),
                "{at} does not explain `{parameter}`"
            );
        }
    }
    assert!(names.len() >= 19, "{names:?}");
}

#[test]
fn every_schema_and_field_is_described() {
    let document = openapi::document();
    let mut silent = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_described = property.get("description").is_some() || property.get("$ref").is_some();
            if !is_described && property.get("oneOf").is_none() && field != "type" {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(silent.is_empty(), "not described: {silent:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi::document();
    let mut todo = vec![&document];
    while let Some(json) = todo.pop() {
        match json {
            Json::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Json::as_str) {
                    assert!(
                        document.pointer(target.trim_start_matches('#')).is_some(),
                        "`{target}` leads nowhere"
                    );
                }
                todo.extend(fields.values());
            }
            Json::Array(items) => todo.extend(items),
            _ => {}
        }
    }
}
