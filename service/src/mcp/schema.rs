//! JSON Schema of a flow's inputs and outputs, as tools declare them.

use anabranch_engine::plan::{Input, Plan};
use anabranch_engine::types::Type;
use serde_json::{Map, Value as Json, json};

/// The arguments of a flow.
pub(super) fn inputs(plan: &Plan) -> Map<String, Json> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &plan.root.inputs {
        let name = input.port.name.to_string();
        if input.default.is_none() && !input.port.ty.is_optional() {
            required.push(name.clone());
        }
        properties.insert(name, property(input));
    }
    object(properties, required, false)
}

/// The results of a flow: an output that is absent is left out.
pub(super) fn outputs(plan: &Plan) -> Map<String, Json> {
    let described = plan.root.outputs.iter().map(|output| {
        let mut schema = of(&output.port.ty);
        describe(&mut schema, &output.port.doc);
        (output.port.name.to_string(), Json::Object(schema))
    });
    object(described.collect(), Vec::new(), true)
}

fn object(properties: Map<String, Json>, required: Vec<String>, is_open: bool) -> Map<String, Json> {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Json::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(is_open));
    schema
}

fn property(input: &Input) -> Json {
    let mut schema = of(&input.port.ty);
    describe(&mut schema, &input.port.doc);
    if let Some(default) = &input.default {
        schema.insert("default".to_owned(), default.to_json());
    }
    let bounds = match input.port.ty.required() {
        Type::Int | Type::Float => ["minimum", "maximum"],
        Type::Text | Type::Label => ["minLength", "maxLength"],
        _ => ["minItems", "maxItems"],
    };
    for (key, bound) in bounds.into_iter().zip([input.min, input.max]) {
        if let Some(bound) = bound {
            schema.insert(key.to_owned(), number(bound));
        }
    }
    Json::Object(schema)
}

/// A bound without its `.0`: lengths are whole numbers.
fn number(bound: f64) -> Json {
    serde_json::from_str(&bound.to_string()).unwrap_or_else(|_| json!(bound))
}

fn describe(schema: &mut Map<String, Json>, doc: &str) {
    if !doc.is_empty() {
        schema.insert("description".to_owned(), json!(doc));
    }
}

fn of(ty: &Type) -> Map<String, Json> {
    let schema = match ty.required() {
        Type::Text | Type::Label => json!({ "type": "string" }),
        Type::Int => json!({ "type": "integer" }),
        Type::Float => json!({ "type": "number" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Message => json!({
            "type": "object",
            "properties": {
                "role": { "enum": ["system", "user", "assistant"] },
                "content": { "type": "string" },
            },
            "required": ["role", "content"],
            "additionalProperties": false,
        }),
        Type::Document | Type::Chunk | Type::Answer | Type::Plan => json!({ "type": "object" }),
        Type::List(item) => json!({ "type": "array", "items": of(item) }),
        Type::Map(item) => json!({ "type": "object", "additionalProperties": of(item) }),
        Type::Json | Type::Any | Type::Optional(_) => json!({}),
    };
    match schema {
        Json::Object(schema) => schema,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::tests::flow;

    #[test]
    fn a_tool_takes_what_the_flow_takes() {
        let inputs = inputs(&flow(
            "{ question: { type: text, about: What to find., min: 1 }, top_k: { type: int, default: 5, max: 9 }, \
             history: { type: \"list<message>\", default: [] }, note: text? }",
            "{ answer: answer.answer }",
        ));
        assert_eq!(inputs["required"], json!(["question"]));
        assert_eq!(inputs["additionalProperties"], json!(false));
        let properties = &inputs["properties"];
        assert_eq!(
            properties["question"],
            json!({ "type": "string", "description": "What to find.", "minLength": 1 })
        );
        assert_eq!(properties["top_k"], json!({ "type": "integer", "default": 5, "maximum": 9 }));
        assert_eq!(properties["history"]["items"]["required"], json!(["role", "content"]));
        assert_eq!(properties["note"], json!({ "type": "string" }));
    }

    #[test]
    fn a_tool_gives_what_the_flow_gives_and_nothing_is_promised() {
        let outputs = outputs(&flow("{ question: text }", "{ answer: answer.answer, n: size(find.chunks) }"));
        assert!(!outputs.contains_key("required"));
        assert_eq!(outputs["properties"]["answer"]["type"], json!("object"));
        assert_eq!(outputs["properties"]["n"]["type"], json!("integer"));
    }
}
