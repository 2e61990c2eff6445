//! The part of the schema that depends on the operators: their names, input ports and settings.

use serde_json::{Map, Value, json};

use super::add;
use crate::operator::{OperatorSpec, Registry};

/// The names that `op` can have, each with its first sentence.
pub(super) fn names(registry: &Registry) -> Value {
    let names: Vec<Value> =
        registry.iter().map(|spec| json!({ "const": spec.name, "description": spec.summary() })).collect();
    if names.is_empty() { json!({ "type": "string" }) } else { json!({ "oneOf": names }) }
}

/// What `in` and `with` hold where `op` is this operator.
pub(super) fn when_used(spec: &OperatorSpec) -> Value {
    let needed: Vec<&str> =
        spec.inputs.ports.iter().filter(|port| !port.ty.is_optional()).map(|port| &*port.name).collect();
    let ports: Map<String, Value> = spec
        .inputs
        .ports
        .iter()
        .map(|port| {
            let about = format!("`{}`. {}", port.ty, port.doc);
            (port.name.to_string(), json!({ "$ref": "#/$defs/expression", "description": about }))
        })
        .collect();
    let others = match &spec.inputs.open {
        Some(_) => json!({ "$ref": "#/$defs/expression" }),
        None => Value::Bool(false),
    };
    let mut inputs = json!({ "properties": ports, "additionalProperties": others });
    let mut settings = spec.settings.as_value().clone();
    if let Value::Object(root) = &mut settings {
        root.remove("$schema");
    }
    let mut required = Vec::new();
    if settings.get("required").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty()) {
        required.push("with");
    }
    allow_late(&mut settings);
    if !needed.is_empty() {
        add(&mut inputs, "required", json!(needed));
        required.push("in");
    }
    json!({
        "if": { "properties": { "op": { "const": spec.name } }, "required": ["op"] },
        "then": { "properties": { "in": inputs, "with": settings }, "required": required },
    })
}

/// Lets every value within settings be `${ expr }`, too.
fn allow_late(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for (key, part) in object.iter_mut() {
        match (key.as_str(), part) {
            ("properties" | "patternProperties", Value::Object(properties)) => {
                properties.values_mut().for_each(late_or);
            }
            ("items" | "additionalProperties", part @ Value::Object(_)) => late_or(part),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(parts)) => {
                parts.iter_mut().for_each(allow_late);
            }
            _ => {}
        }
    }
}

fn late_or(schema: &mut Value) {
    allow_late(schema);
    let about = schema.get("description").cloned();
    let default = schema.get("default").cloned();
    *schema = json!({ "anyOf": [schema.take(), { "$ref": "#/$defs/late" }] });
    for (key, value) in [("description", about), ("default", default)] {
        if let Some(value) = value {
            add(schema, key, value);
        }
    }
}
