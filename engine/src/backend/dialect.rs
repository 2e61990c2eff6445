//! Schemas of tools as they are found: in older drafts, in `OpenAPI`'s words, in Python's and Java's.

use serde_json::{Map, Value, json};

/// `schema` in the words of JSON Schema 2020-12, as validators and model servers read it.
///
/// Names of types that other languages use (`dict`, `float`, `tuple`, `STRING`, …, as the Berkeley leaderboard and others
/// write them) become those of JSON Schema; `any` is no bound. Of a schema that does not say which draft it is, or names
/// one that nobody knows, what only older drafts and `OpenAPI` 3.0 have is rewritten: bounds that are exclusive by a flag,
/// lists of `items`, `required` as a flag, `nullable`, keys that are null. Whatever is no schema after that stays what it is.
pub fn json_schema(schema: &Value) -> Value {
    let draft = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    let is_known = draft.contains("json-schema.org/");
    let mut read = translated(schema, !is_known);
    if let (false, Value::Object(entries)) = (is_known, &mut read) {
        entries.shift_remove("$schema");
    }
    read
}

/// The name that JSON Schema has for a type, if it has one; `any` is none.
fn kind(name: &str) -> Option<&str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "dict" | "map" | "hashmap" | "hashtable" | "object" => "object",
        "float" | "double" | "decimal" | "number" => "number",
        "int" | "long" | "short" | "byte" | "bigint" | "integer" => "integer",
        "tuple" | "list" | "set" | "arraylist" | "queue" | "stack" | "array" => "array",
        "str" | "char" | "string" => "string",
        "bool" | "boolean" => "boolean",
        "none" | "null" => "null",
        "any" => return None,
        _ => name,
    })
}

fn translated(schema: &Value, is_loose: bool) -> Value {
    let Value::Object(entries) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in entries {
        let value = match (key.as_str(), value) {
            ("type", Value::String(name)) => match kind(name) {
                Some(kind) => kind.into(),
                None => continue,
            },
            ("type", Value::Array(names)) => {
                let kinds: Option<Vec<&str>> = names.iter().map(|name| kind(name.as_str()?)).collect();
                match kinds {
                    Some(kinds) => kinds.into(),
                    None => continue,
                }
            }
            // A flag is for the object that this is a field of.
            ("required", Value::Bool(_)) if is_loose => continue,
            // Names of the user's, not of the schema language.
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                Value::Object(fields),
            ) => fields.iter().map(|(name, field)| (name.clone(), translated(field, is_loose))).collect(),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                schemas.iter().map(|schema| translated(schema, is_loose)).collect()
            }
            (
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "propertyNames"
                | "contains"
                | "not"
                | "if"
                | "then"
                | "else"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                value @ Value::Object(_),
            ) => translated(value, is_loose),
            (_, value) => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if !is_loose {
        return Value::Object(out);
    }
    let fields = entries.get("properties").and_then(Value::as_object).into_iter().flatten();
    let flagged = fields.filter(|(_, field)| field.get("required") == Some(&Value::Bool(true)));
    let flagged: Vec<Value> = flagged.map(|(name, _)| Value::from(name.as_str())).collect();
    if !flagged.is_empty() && !out.get("required").is_some_and(Value::is_array) {
        out.insert("required".to_owned(), flagged.into());
    }
    modern(out)
}

/// The same in the words of the newest draft.
fn modern(mut schema: Map<String, Value>) -> Value {
    schema.retain(|key, value| !value.is_null() || matches!(key.as_str(), "const" | "default" | "example"));
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        // In older drafts they only say how the bound is meant.
        if let Some(Value::Bool(is_exclusive)) = schema.get(flag).cloned() {
            schema.shift_remove(flag);
            if is_exclusive && let Some(bound) = schema.shift_remove(bound) {
                schema.insert(flag.to_owned(), bound);
            }
        }
    }
    if schema.get("items").is_some_and(Value::is_array)
        && let Some(items) = schema.shift_remove("items")
    {
        if let Some(rest) = schema.shift_remove("additionalItems") {
            schema.insert("items".to_owned(), rest);
        }
        schema.insert("prefixItems".to_owned(), items);
    }
    match schema.shift_remove("nullable") {
        Some(Value::Bool(true)) => Value::Object(or_null(schema)),
        _ => Value::Object(schema),
    }
}

/// The same schema, which null satisfies too: `OpenAPI` 3.0 has its own word for that, and is often written so beside
/// `allOf`, where its text says nothing of it.
fn or_null(mut schema: Map<String, Value>) -> Map<String, Value> {
    let is_composed =
        ["allOf", "anyOf", "oneOf", "not", "const", "$ref"].iter().any(|key| schema.contains_key(*key));
    let kind = schema.get("type").and_then(Value::as_str).map(str::to_owned);
    match kind {
        Some(kind) if !is_composed => {
            schema.insert("type".to_owned(), json!([kind, "null"]));
            if let Some(Value::Array(known)) = schema.get_mut("enum") {
                known.push(Value::Null);
            }
            schema
        }
        // What is said of it stays where a model looks for it.
        _ => {
            let about = schema.shift_remove_entry("description");
            let either = json!([{ "type": "null" }, schema]);
            about.into_iter().chain([("anyOf".to_owned(), either)]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_other_languages_are_read() {
        let read = json_schema(&json!({
            "type": "dict",
            "properties": {
                "type": { "type": "float" }, "when": { "type": ["STRING", "none"] }, "what": { "type": "any", "default": null },
                "pair": { "type": "tuple", "items": { "type": "Bigint" } },
            },
            "required": ["type"],
        }));
        let expected = json!({
            "type": "object",
            "properties": {
                "type": { "type": "number" }, "when": { "type": ["string", "null"] }, "what": { "default": null },
                "pair": { "type": "array", "items": { "type": "integer" } },
            },
            "required": ["type"],
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn what_older_drafts_have_is_rewritten() {
        let read = json_schema(&json!({
            "$schema": "https://schemas.example/ours",
            "type": "object",
            "properties": {
                "n": { "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false },
                "pair": { "type": "array", "items": [{ "type": "int" }, { "type": "str" }], "additionalItems": false },
                "must": { "type": "string", "required": true },
                "may": { "type": "string", "required": false, "nullable": true, "enum": ["a"] },
                "unit": { "nullable": true, "description": "One.", "allOf": [{ "type": "string" }] },
                "none": { "type": "object", "properties": null, "const": null },
            },
        }));
        let expected = json!({
            "type": "object",
            "properties": {
                "n": { "type": "number", "exclusiveMinimum": 0, "maximum": 9 },
                "pair": { "type": "array", "items": false, "prefixItems": [{ "type": "integer" }, { "type": "string" }] },
                "must": { "type": "string" },
                "may": { "type": ["string", "null"], "enum": ["a", null] },
                "unit": { "description": "One.", "anyOf": [{ "type": "null" }, { "allOf": [{ "type": "string" }] }] },
                "none": { "type": "object", "const": null },
            },
            "required": ["must"],
        });
        assert_eq!(read, expected);
        assert!(jsonschema::validator_for(&read).is_ok());
    }

    #[test]
    fn a_draft_that_is_named_is_kept() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": { "n": { "type": "number", "minimum": 0, "exclusiveMinimum": true } },
        });
        assert_eq!(json_schema(&schema), schema);
        assert_eq!(json_schema(&json!(true)), json!(true));
    }
}
