//! The JSON Schema of the flow language, for editors: made from the same registry that the checker uses.

use serde_json::{Map, Value, json};

use crate::flow::parse::fields::Construct;
use crate::flow::parse::node::{ONLY, Shape};
use crate::operator::Registry;

mod constructs;
mod operators;
#[cfg(test)]
mod tests;

/// The schema of a flow file (draft 2020-12), with the ports and settings of every registered operator.
///
/// It helps while a flow is written; `check` knows more, since it follows references.
pub fn schema(registry: &Registry) -> Value {
    let mut defs = Map::new();
    for (name, construct) in constructs::scalars() {
        defs.insert(name.to_owned(), construct);
    }
    for object in constructs::objects() {
        defs.insert(object.name.to_owned(), object.schema());
    }
    if let Some(Value::Object(node)) = defs.get_mut("node") {
        node.insert("oneOf".to_owned(), Shape::ALL.into_iter().map(shape).collect());
        let by_operator: Vec<Value> = registry.iter().map(|spec| operators::when_used(spec)).collect();
        // An empty `allOf` is no schema.
        if !by_operator.is_empty() {
            node.insert("allOf".to_owned(), by_operator.into());
        }
    }
    defs.insert("operator".to_owned(), operators::names(registry));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Anabranch flow",
        "$ref": "#/$defs/flow_file",
        "$defs": defs,
    })
}

/// A construct with fixed keys.
struct Object {
    /// Its name under `$defs`.
    name: &'static str,
    /// Its keys, as the reader knows them.
    construct: &'static Construct,
    required: &'static [&'static str],
    /// Key, schema and description.
    properties: Vec<(&'static str, Value, &'static str)>,
}

impl Object {
    fn schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .properties
            .iter()
            .filter(|(key, ..)| self.construct.keys.contains(key))
            .map(|(key, schema, about)| ((*key).to_owned(), described(schema.clone(), about)))
            .collect();
        let mut schema = json!({
            "type": "object",
            "description": self.construct.what,
            "properties": properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            add(&mut schema, "required", json!(self.required));
        }
        schema
    }
}

/// What makes a node one thing and not another: the keys that it has, and those that it cannot have then.
fn shape(shape: Shape) -> Value {
    let required = shape.keys();
    let others = ["op", "flow", "loop", "each", "plan", "wait", "nodes"];
    let foreign = ONLY.iter().filter(|(_, shapes, _)| !shapes.contains(&shape)).map(|(key, ..)| *key);
    let refused: Map<String, Value> = others
        .into_iter()
        .chain(foreign)
        .filter(|key| !required.contains(key))
        .map(|key| (key.to_owned(), Value::Bool(false)))
        .collect();
    json!({ "required": required, "properties": refused })
}

fn described(mut schema: Value, about: &str) -> Value {
    add(&mut schema, "description", json!(about));
    schema
}

fn add(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = schema {
        object.insert(key.to_owned(), value);
    }
}
