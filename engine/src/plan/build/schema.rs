//! What the schema of an operator's settings says of the JSON that a flow gives.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Value as Json};

use crate::diagnostic::nearest;
use crate::flow::reference::listed;
use crate::operator::{OperatorSpec, SETTING_KIND};

/// Something wrong with the settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// A key that is not known.
    Unknown { pointer: String, name: String, known: Vec<String> },
    /// A key that must be there; `what` says what it is.
    Missing { pointer: String, name: String, what: String },
    /// A value that does not do; `must` says what it must be.
    Invalid { pointer: String, must: String, hint: Option<String> },
}

/// A setting that names something outside the flow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    pub(crate) pointer: String,
    /// Value of [`SETTING_KIND`].
    pub(crate) kind: String,
    pub(crate) text: String,
    /// Whether the flow does not give it.
    pub(crate) is_default: bool,
    /// `x-variables`: names that a prompt can use besides the ports.
    pub(crate) variables: Vec<String>,
}

/// Everything that is wrong with `settings`, but for what an expression at one of `holes` may put right.
pub(crate) fn faults(spec: &OperatorSpec, settings: &Json, holes: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for error in spec.validator.iter_errors(settings) {
        collect(spec.settings.as_value(), &error, holes, &mut faults);
    }
    faults
}

fn collect(root: &Json, error: &ValidationError<'_>, holes: &[&str], faults: &mut Vec<Fault>) {
    let pointer = error.instance_path().as_str().to_owned();
    let schema = owner(root, error.schema_path().as_str());
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known: Vec<String> =
                properties(schema).map(|known| known.keys().cloned().collect()).unwrap_or_default();
            faults.extend(unexpected.iter().map(|name| Fault::Unknown {
                pointer: pointer.clone(),
                name: name.clone(),
                known: known.clone(),
            }));
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default().to_owned();
            let what = properties(schema).and_then(|known| known.get(&name)).map(describe);
            let what = what.unwrap_or_else(|| "a value".to_owned());
            faults.push(Fault::Missing { pointer, name, what });
        }
        kind => {
            let within = match kind {
                Kind::AnyOf { context } => meant(schema, "anyOf", error.instance(), context),
                Kind::OneOfNotValid { context } => meant(schema, "oneOf", error.instance(), context),
                _ => None,
            };
            if let Some(errors) = within {
                for error in errors {
                    collect(root, error, holes, faults);
                }
                return;
            }
            let is_above = |hole: &&str| {
                hole.strip_prefix(pointer.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if !holes.iter().any(is_above) {
                faults.push(invalid(pointer, kind, schema, error.instance()));
            }
        }
    }
}

/// What is wrong with a mapping or list that can only mean one of several branches, by its type and its keys.
fn meant<'e>(
    schema: &Json,
    key: &str,
    instance: &Json,
    context: &'e [Vec<ValidationError<'static>>],
) -> Option<&'e [ValidationError<'static>]> {
    let ty = match instance {
        Json::Object(_) => "object",
        Json::Array(_) => "array",
        _ => return None,
    };
    let branches = schema.get(key)?.as_array()?;
    let is_meant = |branch: &Json| {
        let has_tag = tag(branch).is_none_or(|tag| instance.get(tag).is_some());
        branch.get("type").and_then(Json::as_str) == Some(ty) && has_tag
    };
    let mut fitting = branches.iter().zip(context).filter(|(branch, _)| is_meant(branch));
    match (fitting.next(), fitting.next()) {
        (Some((_, errors)), None) if !errors.is_empty() => Some(errors),
        _ => None,
    }
}

/// The key that tells a branch from others: the only one that it has, and must have.
fn tag(branch: &Json) -> Option<&str> {
    let known = properties(branch)?;
    let required = branch.get("required")?.as_array()?;
    match (known.len(), required.as_slice()) {
        (1, [only]) => only.as_str(),
        _ => None,
    }
}

fn tags(schema: &Json) -> Vec<&str> {
    branches(schema).filter_map(tag).collect()
}

fn invalid(pointer: String, kind: &Kind, schema: &Json, instance: &Json) -> Fault {
    let mut hint = None;
    let must = match kind {
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MinLength { limit: 1 } => "a text that is not empty".to_owned(),
        Kind::MinItems { limit: 1 } => "a list that is not empty".to_owned(),
        Kind::MinProperties { limit: 1 } => "a mapping that is not empty".to_owned(),
        Kind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            hint = near(instance, &options);
            describe(schema)
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            hint = near(instance, &choices(schema)).or_else(|| near_tag(instance, &tags(schema)));
            describe(schema)
        }
        Kind::Custom { message, .. } => message.clone(),
        _ => describe(schema),
    };
    let shown = match instance {
        Json::Array(_) | Json::Object(_) => String::new(),
        Json::String(text) if means_something_else(text) => {
            hint = hint.or_else(|| Some(format!("in quotes it is a text; write `{text}` without them")));
            format!(", not the text `{text}`")
        }
        scalar => format!(", not `{}`", scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned)),
    };
    Fault::Invalid { pointer, must: format!("{must}{shown}"), hint }
}

/// Whether `text` would be a number or a truth value if it stood without quotes.
fn means_something_else(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(Json::Number(_) | Json::Bool(_)))
}

fn near(instance: &Json, options: &[&str]) -> Option<String> {
    let near = nearest(instance.as_str()?, options.iter().copied())?;
    Some(format!("did you mean `{near}`?"))
}

/// As [`near`], for a mapping whose only key tells what it is, or for a text where such a mapping should stand.
fn near_tag(instance: &Json, tags: &[&str]) -> Option<String> {
    let word = match instance {
        Json::Object(entries) if entries.len() == 1 => entries.keys().next()?,
        Json::String(text) => text,
        _ => return None,
    };
    let near = nearest(word, tags.iter().copied())?;
    Some(format!("did you mean `{{ {near}: ... }}`?"))
}

/// The schema that holds the keyword at `schema_path`.
fn owner<'s>(root: &'s Json, schema_path: &str) -> &'s Json {
    let owner = schema_path.rsplit_once('/').map_or("", |(owner, _)| owner);
    root.pointer(owner).unwrap_or(&Json::Null)
}

fn properties(schema: &Json) -> Option<&Map<String, Json>> {
    schema.get("properties")?.as_object()
}

/// The texts that a schema takes, if it takes only some.
fn choices(schema: &Json) -> Vec<&str> {
    let own = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let constant = schema.get("const").into_iter();
    let branches = branches(schema).flat_map(choices);
    own.chain(constant).filter_map(Json::as_str).chain(branches).collect()
}

fn branches(schema: &Json) -> impl Iterator<Item = &Json> {
    ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

/// What a schema takes, in words.
pub(crate) fn describe(schema: &Json) -> String {
    let choices = choices(schema);
    let only_texts = branches(schema).all(|branch| !self::choices(branch).is_empty() || is_null(branch));
    if !choices.is_empty() && only_texts {
        let list = choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>();
        return match list.as_slice() {
            [only] => only.clone(),
            _ => format!("one of {}", list.join(", ")),
        };
    }
    let others = branches(schema).filter(|branch| !is_null(branch) && tag(branch).is_none());
    let mut parts: Vec<String> = others.map(describe).collect();
    match tags(schema).as_slice() {
        [] => {}
        [only] => parts.push(format!("a mapping with `{only}`")),
        several => parts.push(format!("a mapping with one of `{}`", several.join("`, `"))),
    }
    if !parts.is_empty() {
        return parts.join(", or ");
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => {
            several.iter().filter_map(Json::as_str).filter(|ty| *ty != "null").collect()
        }
        _ => Vec::new(),
    };
    let words = types.iter().map(|ty| match *ty {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "string" => match schema.get(SETTING_KIND).and_then(Json::as_str) {
            Some("model") => "the name of a model",
            Some("index") => "the name of an index",
            Some("embedder") => "the name of an embedder",
            Some("reranker") => "the name of a reranker",
            Some("namespace") => "the name of a namespace",
            Some("tool") => "the name of a tool",
            Some("prompt") => "a prompt",
            _ => "a text",
        },
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    });
    let words = words.collect::<Vec<_>>().join(" or ");
    let bound = |key: &str| schema.get(key).filter(|limit| limit.is_number());
    match (bound("minimum"), bound("maximum")) {
        _ if words.is_empty() => "another value".to_owned(),
        (Some(min), Some(max)) => format!("{words} from {min} to {max}"),
        (Some(min), None) => format!("{words} of at least {min}"),
        (None, Some(max)) => format!("{words} of at most {max}"),
        (None, None) => words,
    }
}

fn is_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

/// `/routes/simple` as people write it: `routes.simple`.
pub(crate) fn dotted(pointer: &str) -> String {
    let mut text = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
            text.extend(["[", &part, "]"]);
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&part);
        }
    }
    text
}

/// The settings, given or by default, that name a model, an index or a prompt.
pub(crate) fn named(spec: &OperatorSpec, settings: &Json) -> Vec<Named> {
    let mut found = Vec::new();
    walk(spec.settings.as_value(), Some(settings), "", false, &mut found);
    found
}

/// Whether an operator with this schema calls a model.
pub(crate) fn calls_models(spec: &OperatorSpec) -> bool {
    fn any(schema: &Json) -> bool {
        schema.get(SETTING_KIND).and_then(Json::as_str) == Some("model")
            || branches(schema).any(any)
            || properties(schema).is_some_and(|known| known.values().any(any))
            || ["items", "additionalProperties"].iter().any(|key| schema.get(key).is_some_and(any))
    }
    any(spec.settings.as_value())
}

fn walk(schema: &Json, value: Option<&Json>, pointer: &str, is_default: bool, found: &mut Vec<Named>) {
    let (value, is_default) = match value {
        Some(value) => (Some(value), is_default),
        None => (schema.get("default"), true),
    };
    if let (Some(kind), Some(Json::String(text))) = (schema.get(SETTING_KIND).and_then(Json::as_str), value) {
        let variables = schema.get("x-variables").and_then(Json::as_array).into_iter().flatten();
        found.push(Named {
            pointer: pointer.to_owned(),
            kind: kind.to_owned(),
            text: text.clone(),
            is_default,
            variables: variables.filter_map(Json::as_str).map(str::to_owned).collect(),
        });
    }
    for branch in branches(schema) {
        // A value that is not given takes no branch but through a default further out.
        if value.is_some() {
            walk(branch, value, pointer, is_default, found);
        }
    }
    for (name, schema) in properties(schema).into_iter().flatten() {
        let inner = value.and_then(|value| value.get(name));
        if value.is_some_and(Json::is_object) {
            let name = name.replace('~', "~0").replace('/', "~1");
            walk(schema, inner, &format!("{pointer}/{name}"), is_default, found);
        }
    }
    if let (Some(items), Some(Json::Array(values))) = (schema.get("items"), value) {
        for (position, value) in values.iter().enumerate() {
            walk(items, Some(value), &format!("{pointer}/{position}"), is_default, found);
        }
    }
    if let (Some(more), Some(Json::Object(values))) = (schema.get("additionalProperties"), value) {
        let known = properties(schema);
        for (name, value) in
            values.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
        {
            let name = name.replace('~', "~0").replace('/', "~1");
            walk(more, Some(value), &format!("{pointer}/{name}"), is_default, found);
        }
    }
}

/// "`a`, `b` and `c`", or words for there being none.
pub(crate) fn listed_or(names: impl Iterator<Item = String>, none: &str) -> String {
    listed(names).unwrap_or_else(|| none.to_owned())
}
