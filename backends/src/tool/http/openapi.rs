//! Tools from an `OpenAPI` document: one for each operation.

use std::collections::BTreeSet;

use anabranch_engine::backend::{ToolSpec, json_schema};
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
/// The argument that is the body of a request.
const BODY: &str = "body";

/// What is no JSON Schema, or of no use to a model.
const LEFT_OUT: [&str; 5] = ["example", "examples", "xml", "discriminator", "externalDocs"];

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

/// What a document offers.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    /// Those that can be called.
    pub tools: Vec<HttpSettings>,
    /// Those that cannot, and why: nobody who uses the others is kept from them.
    pub left_out: Vec<(String, String)>,
}

/// The operations of `document`, `OpenAPI` 3.0 or 3.1 as JSON; those in `only`, if it is given, all of which must be there.
/// `base` is where they are called; the first server of the operation, of its path or of the document if unset. Headers in
/// `sent` go along with every call, and are nothing that a model is asked for.
pub fn operations(
    document: &Value,
    base: Option<&str>,
    only: Option<&[String]>,
    sent: &[&str],
) -> Result<Operations, SettingsError> {
    let wrong = |why: String| SettingsError::OpenApi(why);
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(wrong(format!("`openapi` is `{version}`, where it should be 3.0 or 3.1")));
    }
    let mut found = Operations::default();
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
            if found.tools.len() + found.left_out.len() >= OPERATIONS_MAX {
                return Err(wrong(format!(
                    "it has more than {OPERATIONS_MAX} operations; name those that you need in `only`"
                )));
            }
            match reader()
                .operation(item, operation)
                .and_then(|read| Ok((read, place(base, [operation, item, document])?)))
            {
                Ok(((schema, placement), base)) => found.tools.push(HttpSettings {
                    spec: ToolSpec { name: name.into(), description: about(operation).into(), schema },
                    method: method.to_owned(),
                    url: format!("{base}{path}"),
                    placement: Some(placement),
                    idempotent: None,
                }),
                Err(why) => found.left_out.push((name, why)),
            }
        }
    }
    let is_there = |name: &&String| found.tools.iter().any(|operation| *operation.spec.name == ***name);
    if let Some(missing) = only.into_iter().flatten().find(|name| !is_there(name)) {
        return Err(wrong(match found.left_out.iter().find(|(name, _)| name == missing) {
            Some((name, why)) => format!("`{name}`: {why}"),
            None => format!("it has no operation `{missing}`"),
        }));
    }
    if found.tools.is_empty() {
        return Err(wrong(match found.left_out.first() {
            Some((name, why)) => format!("none of its operations can be called. `{name}`: {why}"),
            None => "it has no operations".to_owned(),
        }));
    }
    let mut names = BTreeSet::new();
    match found.tools.iter().find(|operation| !names.insert(operation.spec.name.clone())) {
        Some(twice) => Err(wrong(format!("two operations are called `{}`", twice.spec.name))),
        None => Ok(found),
    }
}

/// Where an operation is called. Of the servers that are given, what stands nearer to it counts.
fn place(base: Option<&str>, owners: [&Value; 3]) -> Result<String, String> {
    let base = base.map(str::to_owned).or_else(|| owners.into_iter().find_map(server)).unwrap_or_default();
    let base = base.trim_end_matches('/');
    if !base.contains("://") {
        return Err("it names no server; give the address of the operations as `url`".to_owned());
    }
    Ok(base.to_owned())
}

/// What it does, in the document's words.
fn about(operation: &Value) -> String {
    let texts =
        ["summary", "description"].map(|key| operation.get(key).and_then(Value::as_str).unwrap_or_default());
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
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
                return Err("its body is no JSON".to_owned());
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
        let schema = json_schema(&json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }));
        if let Err(error) = jsonschema::validator_for(&schema) {
            return Err(format!(
                "its arguments are no JSON Schema: {error} (at `{}`)",
                error.instance_path()
            ));
        }
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
                Ok(Value::Object(out))
            }
            scalar => Ok(scalar.clone()),
        }
    }
}

/// Puts what is said of a parameter where a model looks for it.
fn describe(schema: &mut Value, description: Option<&Value>) {
    if let (Value::Object(entries), Some(description)) = (schema, description) {
        entries.entry("description").or_insert_with(|| description.clone());
    }
}
