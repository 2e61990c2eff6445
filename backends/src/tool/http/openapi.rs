//! Tools from an `OpenAPI` document: one for each operation.

use std::collections::BTreeSet;

use anabranch_engine::backend::ToolSpec;
use serde_json::{Map, Value, json};

use super::{HttpSettings, Placement, SettingsError};

#[cfg(test)]
mod tests;

/// Most operations that are read from a document.
pub const OPERATIONS_MAX: usize = 1_000;
/// How deep references may lead to others.
const DEPTH_MAX: usize = 32;
/// Most values that the schemas of one operation may have once references are followed.
const VALUES_MAX: usize = 20_000;
/// Why an operation cannot be called.
const NO_JSON: &str = "its body is no JSON";
/// The argument that is the body of a request.
const BODY: &str = "body";

/// What is no JSON Schema, or of no use to a model.
const LEFT_OUT: [&str; 6] = ["nullable", "example", "examples", "xml", "discriminator", "externalDocs"];

/// Headers that are no parameters: those that `OpenAPI` itself takes out of them, and those that are ours to set.
const OWN_HEADERS: [&str; 10] = [
    "accept",
    "content-type",
    "authorization",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "idempotency-key",
    "traceparent",
    "tracestate",
];

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "head", "patch", "options"];

/// The operations of `document`, `OpenAPI` 3.0 or 3.1 as JSON; those in `only`, if it is given. `base` is where they are
/// called; the first server of the operation, of its path or of the document if unset. Headers in `sent` go along with every call, and are nothing that
/// a model is asked for. Operations whose body is no JSON are left out unless `only` names them.
pub fn operations(
    document: &Value,
    base: Option<&str>,
    only: Option<&[String]>,
    sent: &[&str],
) -> Result<Vec<HttpSettings>, SettingsError> {
    let wrong = |why: String| SettingsError::OpenApi(why);
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(wrong(format!("`openapi` is `{version}`, where it should be 3.0 or 3.1")));
    }
    let mut found = Vec::new();
    for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        // Anything else is an extension, or would change the host that is called.
        if !path.starts_with('/') {
            continue;
        }
        let reader = || Reader { document, sent, left: VALUES_MAX, following: Vec::new() };
        let item = &reader().target(item).map_err(|why| wrong(format!("`{path}`: {why}")))?;
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let name = name_of(operation, method, path);
            if only.is_some_and(|only| !only.contains(&name)) {
                continue;
            }
            if found.len() >= OPERATIONS_MAX {
                return Err(wrong(format!(
                    "it has more than {OPERATIONS_MAX} operations; name those that you need in `only`"
                )));
            }
            let (schema, placement) = match reader().operation(item, operation) {
                Ok(read) => read,
                Err(why) if why == NO_JSON && only.is_none() => continue,
                Err(why) => return Err(wrong(format!("`{name}`: {why}"))),
            };
            let about = ["summary", "description"]
                .map(|key| operation.get(key).and_then(Value::as_str).unwrap_or_default());
            let description =
                about.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
            // What stands nearer to the operation counts.
            let base = base.map_or_else(
                || [operation, item, document].into_iter().find_map(server).unwrap_or_default(),
                str::to_owned,
            );
            let base = base.trim_end_matches('/');
            if !base.contains("://") {
                return Err(wrong(format!(
                    "it names no server for `{name}`; give the address of its operations as `url`"
                )));
            }
            found.push(HttpSettings {
                spec: ToolSpec { name: name.into(), description: description.into(), schema },
                method: method.to_owned(),
                url: format!("{base}{path}"),
                placement: Some(placement),
                idempotent: None,
            });
        }
    }
    let has = |name: &String| found.iter().any(|operation| *operation.spec.name == **name);
    if let Some(missing) = only.into_iter().flatten().find(|name| !has(name)) {
        return Err(wrong(format!("it has no operation `{missing}`")));
    }
    if found.is_empty() {
        return Err(wrong("it has no operations".to_owned()));
    }
    let mut names = BTreeSet::new();
    match found.iter().find(|operation| !names.insert(operation.spec.name.clone())) {
        Some(twice) => Err(wrong(format!("two operations are called `{}`", twice.spec.name))),
        None => Ok(found),
    }
}

/// The first of the servers that are given there, with what its variables are by default.
fn server(owner: &Value) -> Option<String> {
    let server = owner.pointer("/servers/0")?;
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    Some(url)
}

/// The operation's id, or what it is made of where it has none: `get_pets_petId`.
fn name_of(operation: &Value, method: &str, path: &str) -> String {
    let id = operation.get("operationId").and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map_or_else(
        || {
            let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
        },
        str::to_owned,
    )
}

struct Reader<'a> {
    document: &'a Value,
    /// Headers that go along with every call.
    sent: &'a [&'a str],
    /// Values that the schemas may still have.
    left: usize,
    /// The references that are being followed.
    following: Vec<String>,
}

impl Reader<'_> {
    /// The schema of an operation's arguments, and where each goes.
    fn operation(&mut self, item: &Value, operation: &Value) -> Result<(Value, Placement), String> {
        let mut properties = Map::new();
        let mut required = BTreeSet::new();
        let mut placement = Placement::default();
        // What the operation says stands over what all operations of the path say.
        for owner in [item, operation] {
            for parameter in owner.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let parameter = self.target(parameter)?;
                let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let place = parameter.get("in").and_then(Value::as_str).unwrap_or_default();
                match place {
                    "path" => {}
                    "query" => {
                        placement.query.insert(name.clone());
                    }
                    // These are no parameters, whatever is written of them: they would stand in for our own.
                    "header"
                        if OWN_HEADERS.iter().chain(self.sent).any(|own| name.eq_ignore_ascii_case(own)) =>
                    {
                        continue;
                    }
                    "header" => {
                        placement.header.insert(name.clone());
                    }
                    // Cookies are for browsers.
                    _ => continue,
                }
                let schema = parameter.get("schema").cloned().unwrap_or_else(|| json!({}));
                let mut schema = self.resolved(&schema)?;
                describe(&mut schema, parameter.get("description"));
                properties.insert(name.clone(), schema);
                if place == "path" || parameter.get("required") == Some(&Value::Bool(true)) {
                    required.insert(name);
                }
            }
        }
        if let Some(body) = operation.get("requestBody") {
            let body = self.target(body)?;
            let content = body.get("content").and_then(Value::as_object);
            let json = content.and_then(|content| content.iter().find(|(kind, _)| kind.contains("json")));
            let Some((_, media)) = json else {
                return Err(NO_JSON.to_owned());
            };
            if properties.contains_key(BODY) {
                return Err("it has a parameter called `body` beside its body".to_owned());
            }
            let schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
            let mut schema = self.resolved(&schema)?;
            describe(&mut schema, body.get("description"));
            properties.insert(BODY.to_owned(), schema);
            placement.body = Some(BODY.to_owned());
            if body.get("required") == Some(&Value::Bool(true)) {
                required.insert(BODY.to_owned());
            }
        }
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        Ok((schema, placement))
    }

    /// What a value refers to, or the value itself.
    fn target(&self, value: &Value) -> Result<Value, String> {
        let mut value = value;
        for _ in 0..DEPTH_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value.clone()) };
            let pointer = reference
                .strip_prefix('#')
                .ok_or_else(|| format!("`{reference}` leads out of the document"))?;
            value = self.document.pointer(pointer).ok_or_else(|| format!("`{reference}` leads nowhere"))?;
        }
        Err("a reference leads in a circle".to_owned())
    }

    /// A schema with what it refers to in place of the references, and as JSON Schema writes it.
    fn resolved(&mut self, schema: &Value) -> Result<Value, String> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| format!("its schemas have more than {VALUES_MAX} values"))?;
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            // A type that holds itself: what is inside may be anything.
            if self.following.iter().any(|known| known == reference) || self.following.len() >= DEPTH_MAX {
                return Ok(json!({}));
            }
            let target = self.target(schema)?;
            self.following.push(reference.to_owned());
            let resolved = self.resolved(&target);
            self.following.pop();
            return resolved;
        }
        match schema {
            Value::Array(items) => {
                items.iter().map(|item| self.resolved(item)).collect::<Result<_, _>>().map(Value::Array)
            }
            Value::Object(entries) => {
                let mut out = Map::new();
                for (key, value) in entries.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str())) {
                    let value = match (key.as_str(), value) {
                        // Names of the user's, not of the schema language.
                        ("properties" | "patternProperties", Value::Object(fields)) => {
                            let fields =
                                fields.iter().map(|(name, field)| Ok((name.clone(), self.resolved(field)?)));
                            Value::Object(fields.collect::<Result<_, String>>()?)
                        }
                        ("enum" | "const" | "default" | "required", value) => value.clone(),
                        (_, value) => self.resolved(value)?,
                    };
                    out.insert(key.clone(), value);
                }
                let is_nullable = entries.get("nullable") == Some(&Value::Bool(true));
                for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
                    // There they only say how the bound is meant.
                    if let Some(Value::Bool(is_exclusive)) = out.get(flag).cloned() {
                        out.remove(flag);
                        if is_exclusive && let Some(bound) = out.remove(bound) {
                            out.insert(flag.to_owned(), bound);
                        }
                    }
                }
                Ok(Value::Object(if is_nullable { or_null(out) } else { out }))
            }
            scalar => Ok(scalar.clone()),
        }
    }
}

/// The same schema, which null satisfies too: `OpenAPI` 3.0 has its own word for that, and is often written so beside
/// `allOf`, where its text says nothing of it.
fn or_null(mut schema: Map<String, Value>) -> Map<String, Value> {
    let is_composed = ["allOf", "anyOf", "oneOf", "not", "const"].iter().any(|key| schema.contains_key(*key));
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
            let about = schema.remove_entry("description");
            let either = json!([{ "type": "null" }, schema]);
            about.into_iter().chain([("anyOf".to_owned(), either)]).collect()
        }
    }
}

/// Puts what is said of a parameter where a model looks for it.
fn describe(schema: &mut Value, description: Option<&Value>) {
    if let (Value::Object(entries), Some(description)) = (schema, description) {
        entries.entry("description").or_insert_with(|| description.clone());
    }
}
