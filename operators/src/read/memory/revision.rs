//! One revision of a memory: where, what, and whether it can be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Deepest place of a memory, in steps.
const DEPTH_MAX: usize = 32;

/// What a revision does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Puts a value where there is none: a new field of an object, or an item of a list, at its end with `-`.
    Add,
    /// Puts a value in the place of another.
    Update,
}

impl Op {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
        }
    }
}

/// A revision, as a model proposes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Revision {
    pub(super) op: Op,
    /// A JSON pointer, as in `/facts/bridge/-`.
    pub(super) path: String,
    pub(super) value: Json,
}

impl Revision {
    /// Applies it, or says why it cannot be. `memory` may be half changed then.
    pub(super) fn apply(&self, memory: &mut Json) -> Result<(), String> {
        let Some(path) = self.path.strip_prefix('/') else {
            return Err(format!("`{}` is no place within the memory: it begins with `/`", self.path));
        };
        let steps: Vec<String> =
            path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        if steps.len() > DEPTH_MAX {
            return Err(format!("`{}` is deeper than {DEPTH_MAX} steps", self.path));
        }
        let Some((last, above)) = steps.split_last() else { return Err("it has no place".to_owned()) };
        let mut place = memory;
        for (step, next) in above.iter().zip(steps.iter().skip(1)) {
            place = match (self.op, place) {
                // A field on the way that is not there yet is made; the schema says whether it may be. The end of what is
                // not there yet is the end of a list.
                (Op::Add, Json::Object(fields)) => fields.entry(step.clone()).or_insert_with(|| {
                    if next == "-" { Json::Array(Vec::new()) } else { Json::Object(Map::new()) }
                }),
                (_, other) => child(other, step)
                    .ok_or_else(|| format!("there is no `{step}` on the way of `{}`", self.path))?,
            };
        }
        match (self.op, place) {
            (Op::Add, Json::Object(fields)) if fields.contains_key(last) => {
                Err(format!("`{}` is there already: `update` it, or add to it", self.path))
            }
            (Op::Add, Json::Object(fields)) => {
                fields.insert(last.clone(), self.value.clone());
                Ok(())
            }
            (Op::Add, Json::Array(items)) => {
                let at = if last == "-" { Some(items.len()) } else { last.parse().ok() };
                match at.filter(|at| *at <= items.len()) {
                    Some(at) => {
                        items.insert(at, self.value.clone());
                        Ok(())
                    }
                    None => Err(format!("`{last}` is no place in a list of {}", items.len())),
                }
            }
            (Op::Update, place) => match child(place, last) {
                Some(value) => {
                    *value = self.value.clone();
                    Ok(())
                }
                None => Err(format!("there is no `{}` to update", self.path)),
            },
            (Op::Add, _) => Err(format!("what `{}` would be in is neither an object nor a list", self.path)),
        }
    }
}

fn child<'a>(place: &'a mut Json, step: &str) -> Option<&'a mut Json> {
    match place {
        Json::Object(fields) => fields.get_mut(step),
        Json::Array(items) => step.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
        _ => None,
    }
}

/// A value that says nothing and has what `schema` requires, as far as that can be told.
pub(super) fn empty(schema: &Json) -> Json {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    let ty = match schema.get("type") {
        Some(Json::String(ty)) => ty.as_str(),
        Some(Json::Array(types)) if types.iter().any(|ty| ty == "null") => "null",
        Some(Json::Array(types)) => types.first().and_then(Json::as_str).unwrap_or_default(),
        _ if schema.get("properties").is_some() => "object",
        _ => "null",
    };
    match ty {
        "object" => {
            let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
            let field = |name: &Json| {
                let name = name.as_str()?;
                Some((name.to_owned(), empty(schema.get("properties")?.get(name)?)))
            };
            Json::Object(required.filter_map(field).collect())
        }
        "array" => Json::Array(Vec::new()),
        "string" => Json::String(String::new()),
        "integer" | "number" => Json::from(0),
        "boolean" => Json::Bool(false),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(memory: Json, op: &str, path: &str, value: &Json) -> Result<Json, String> {
        let revision: Revision =
            serde_json::from_value(json!({ "op": op, "path": path, "value": value })).unwrap();
        let mut memory = memory;
        revision.apply(&mut memory).map(|()| memory)
    }

    #[test]
    fn add_puts_a_value_where_there_is_none() {
        let memory = json!({ "facts": { "a": ["one"] } });
        let found = apply(memory.clone(), "add", "/facts/a/-", &json!("two")).unwrap();
        assert_eq!(found, json!({ "facts": { "a": ["one", "two"] } }));
        let found = apply(memory.clone(), "add", "/facts/a/0", &json!("two")).unwrap();
        assert_eq!(found["facts"]["a"], json!(["two", "one"]));
        let found = apply(memory.clone(), "add", "/facts/b/-", &json!("one")).unwrap();
        assert_eq!(found["facts"]["b"], json!(["one"]));
        assert_eq!(apply(memory.clone(), "add", "/facts/b", &json!([])).unwrap()["facts"]["b"], json!([]));
        assert_eq!(apply(memory, "add", "/x/y/z~1a", &json!(1)).unwrap()["x"], json!({ "y": { "z/a": 1 } }));
    }

    #[test]
    fn update_needs_something_to_update() {
        let memory = json!({ "facts": { "a": ["one"] } });
        let found = apply(memory.clone(), "update", "/facts/a/0", &json!("two")).unwrap();
        assert_eq!(found["facts"]["a"], json!(["two"]));
        assert!(
            apply(memory.clone(), "update", "/facts/a/1", &json!(0)).unwrap_err().contains("no `/facts/a/1`")
        );
        assert!(apply(memory, "update", "/b/c", &json!(0)).unwrap_err().contains("no `b` on the way"));
    }

    #[test]
    fn places_that_are_none_are_refused() {
        let memory = json!({ "a": [1], "b": 2 });
        for (op, path, why) in [
            ("add", "", "begins with `/`"),
            ("add", "a", "begins with `/`"),
            ("add", "/b", "there already"),
            ("add", "/a/7", "no place in a list of 1"),
            ("add", "/a/x", "no place in a list"),
            ("add", "/b/c", "neither an object nor a list"),
            ("update", "/a/-", "to update"),
        ] {
            let error = apply(memory.clone(), op, path, &json!(0)).unwrap_err();
            assert!(error.contains(why), "{op} {path}: {error}");
        }
        let deep = "/a".repeat(40);
        assert!(apply(json!({}), "add", &deep, &json!(0)).unwrap_err().contains("deeper than 32"));
    }

    #[test]
    fn what_is_empty_has_what_is_required() {
        let schema = json!({
            "type": "object",
            "properties": {
                "list": { "type": "array" }, "name": { "type": "string" }, "n": { "type": "integer", "default": 3 },
                "maybe": { "type": ["string", "null"] }, "more": { "type": "object" },
                "inner": { "properties": { "ok": { "type": "boolean" } }, "required": ["ok"] },
            },
            "required": ["list", "name", "n", "maybe", "inner"],
        });
        let expected = json!({ "list": [], "name": "", "n": 3, "maybe": null, "inner": { "ok": false } });
        assert_eq!(empty(&schema), expected);
    }
}
