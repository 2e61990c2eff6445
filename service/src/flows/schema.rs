//! What a flow takes and gives, as JSON Schema.

use anabranch_engine::operator::Port;
use anabranch_engine::plan::{Input, Plan};
use anabranch_engine::types::Type;
use anabranch_engine::value::RecordField;
use serde_json::{Map, Value as Json, json};

/// The dialect that all schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of the mapping of inputs that a run of the flow takes.
pub fn inputs(plan: &Plan) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &plan.root.inputs {
        if input.default.is_none() && !input.port.ty.is_optional() {
            required.push(Json::from(&*input.port.name));
        }
        properties.insert(input.port.name.to_string(), one_input(input));
    }
    let mut schema = json!({
        "$schema": DIALECT, "title": &*plan.name, "type": "object", "properties": properties,
        "required": required, "additionalProperties": false,
    });
    describe(&mut schema, plan.about.as_deref().unwrap_or_default());
    schema
}

/// The schema of the mapping of outputs that a run of the flow gives; one that may be absent is not required.
pub fn outputs(plan: &Plan) -> Json {
    let ports = || plan.root.outputs.iter().map(|output| &output.port);
    let properties: Map<String, Json> = ports().map(|port| (port.name.to_string(), one(port))).collect();
    let required: Vec<&str> = ports().filter(|port| !port.ty.is_optional()).map(|port| &*port.name).collect();
    json!({
        "$schema": DIALECT, "title": &*plan.name, "type": "object", "properties": properties,
        "required": required, "additionalProperties": false,
    })
}

fn one_input(input: &Input) -> Json {
    let mut schema = one(&input.port);
    let Some(fields) = schema.as_object_mut() else { return schema };
    let (min, max) = match input.port.ty.required() {
        Type::Text | Type::Label => ("minLength", "maxLength"),
        Type::List(_) => ("minItems", "maxItems"),
        Type::Map(_) => ("minProperties", "maxProperties"),
        _ => ("minimum", "maximum"),
    };
    for (key, bound) in [(min, input.min), (max, input.max)] {
        if let Some(bound) = bound {
            fields.insert(key.to_owned(), whole(bound));
        }
    }
    if let Some(default) = &input.default {
        fields.insert("default".to_owned(), json!(default));
    }
    schema
}

/// A bound as it was written: lengths are whole numbers.
fn whole(bound: f64) -> Json {
    let text = bound.to_string();
    text.parse::<i64>().map_or_else(|_| json!(bound), Json::from)
}

fn one(port: &Port) -> Json {
    let mut schema = of(&port.ty);
    describe(&mut schema, &port.doc);
    schema
}

fn describe(schema: &mut Json, doc: &str) {
    if !doc.trim().is_empty()
        && let Some(schema) = schema.as_object_mut()
    {
        schema.insert("description".to_owned(), doc.trim().into());
    }
}

/// The schema of the values of a type.
pub fn of(ty: &Type) -> Json {
    match ty {
        Type::Text | Type::Label => json!({ "type": "string" }),
        Type::Int => json!({ "type": "integer" }),
        Type::Float => json!({ "type": "number" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Json | Type::Any | Type::Plan => json!({}),
        Type::List(item) => json!({ "type": "array", "items": of(item) }),
        Type::Map(value) => json!({ "type": "object", "additionalProperties": of(value) }),
        Type::Optional(inner) => match of(inner) {
            Json::Object(any) if any.is_empty() => json!({}),
            inner => json!({ "anyOf": [inner, { "type": "null" }] }),
        },
        Type::Message | Type::Document | Type::Chunk | Type::Answer => record(ty),
    }
}

/// A record with its fields. Which of them may be left out is the record's affair.
fn record(ty: &Type) -> Json {
    let fields: &[RecordField] = ty.record().unwrap_or_default();
    let properties: Map<String, Json> = fields
        .iter()
        .map(|field| {
            let mut schema = of(&(field.ty)());
            describe(&mut schema, field.doc);
            (field.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "title": ty.to_string(), "properties": properties })
}
