//! The engine's values as the template engine sees them. Lists and records are wrapped, not copied.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::value::{Text, Value};

/// `value` for a template.
pub(super) fn value(value: Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::Text(text) => text.into(),
        other => minijinja::Value::from_object(Wrapped(other)),
    }
}

/// A list, map or record.
#[derive(Debug)]
struct Wrapped(Value);

impl Object for Wrapped {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if matches!(self.0, Value::List(_)) { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        match &self.0 {
            Value::List(items) => items.get(key.as_usize()?).cloned().map(value),
            _ => self.get_value_by_str(key.as_str()?),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<minijinja::Value> {
        match (self.0.field(key), &self.0) {
            (Some(found), _) => Some(value(found)),
            (None, Value::Map(_) | Value::List(_)) => None,
            // A field that the record has, but that is empty, is `none` rather than undefined.
            (None, record) => record.ty().field(key).ok().map(|_| minijinja::Value::from(())),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.0 {
            Value::List(items) => Enumerator::Seq(items.len()),
            Value::Map(map) => Enumerator::Values(map.keys().cloned().map(minijinja::Value::from).collect()),
            record => {
                let fields = record.ty().record().unwrap_or_default();
                Enumerator::Values(fields.iter().map(|field| minijinja::Value::from(field.name)).collect())
            }
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Deepest value that the `json` filter writes.
const DEPTH: usize = 32;

/// The filter `json`: compact, and unlike `tojson` without escapes for HTML, which mean nothing to a model.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a filter")]
pub(super) fn json(value: minijinja::Value) -> Result<String, Error> {
    let value = back(&value, DEPTH)?;
    serde_json::to_string(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// A template's value as one of the engine's.
fn back(value: &minijinja::Value, depth: usize) -> Result<Value, Error> {
    if let Some(wrapped) = value.downcast_object_ref::<Wrapped>() {
        return Ok(wrapped.0.clone());
    }
    let refuse = |message: &'static str| Error::new(ErrorKind::BadSerialization, message);
    let Some(depth) = depth.checked_sub(1) else {
        return Err(refuse("the value is nested too deep for JSON"));
    };
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number => match value.as_i64() {
            Some(int) if value.is_integer() => Value::Int(int),
            _ => Value::Float(f64::try_from(value.clone())?),
        },
        ValueKind::String => Value::text(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            Value::List(Arc::new(value.try_iter()?.map(|item| back(&item, depth)).collect::<Result<_, _>>()?))
        }
        ValueKind::Map => {
            let entries = value.try_iter()?.map(|key| {
                let item = value.get_item(&key)?;
                Ok((Text::from(key.to_string()), back(&item, depth)?))
            });
            Value::Map(Arc::new(entries.collect::<Result<_, Error>>()?))
        }
        _ => return Err(refuse("the value cannot be written as JSON")),
    })
}
