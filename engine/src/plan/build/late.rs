//! Settings that are only known when the node starts: their type must fit all the same.

use serde_json::Value as Json;

use super::schema::describe;
use crate::operator::{OperatorSpec, SETTING_KIND};
use crate::types::Type;

/// What the setting at `pointer` must be, if a value of type `ty` can never be that.
pub(crate) fn misfit(spec: &OperatorSpec, pointer: &str, ty: &Type) -> Option<String> {
    let schema = at(spec.settings.as_value(), pointer)?;
    let wanted: Vec<&str> = match schema.get("type")? {
        Json::String(one) => vec![one],
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        _ => return None,
    };
    let given: &[&str] = match ty.required() {
        Type::Text | Type::Label => &["string"],
        Type::Int => &["integer", "number"],
        // A float may turn out whole: that is seen when the node starts.
        Type::Float => &["number", "integer"],
        Type::Bool => &["boolean"],
        Type::List(_) => &["array"],
        Type::Map(_) | Type::Message | Type::Document | Type::Chunk | Type::Answer => &["object"],
        Type::Json | Type::Any | Type::Plan | Type::Optional(_) => return None,
    };
    (!wanted.iter().any(|name| given.contains(name))).then(|| describe(schema))
}

/// Whether the setting at `pointer` is a prompt.
pub(crate) fn is_prompt(spec: &OperatorSpec, pointer: &str) -> bool {
    let schema = at(spec.settings.as_value(), pointer);
    schema.and_then(|schema| schema.get(SETTING_KIND)).and_then(Json::as_str) == Some("prompt")
}

/// The schema of the value at `pointer`; `None` where it depends on the value.
fn at<'s>(schema: &'s Json, pointer: &str) -> Option<&'s Json> {
    pointer.split('/').skip(1).try_fold(schema, |schema, part| {
        let part = part.replace("~1", "/").replace("~0", "~");
        schema
            .get("properties")
            .and_then(|properties| properties.get(&part))
            .or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
            .or_else(|| schema.get("items").filter(|schema| schema.is_object()))
    })
}
