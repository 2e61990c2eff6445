//! What travels on ports: values that are cheap to clone, and records that cannot be wrong.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::types::Type;

mod port;
mod record;

pub use port::{Label, Mismatch, PlanText, PortType};
pub use record::{
    Answer, ByteRange, Chunk, ChunkId, Citation, Document, DocumentId, LineRange, Message, Metadata,
    RecordField, Role, SEARCHED, SURROGATE,
};

/// Shared text: cloning it copies a pointer.
pub type Text = Arc<str>;

/// Values by name, in the order in which they were put in.
pub type Map = IndexMap<Text, Value>;

/// A value on a port. Cloning copies at most a pointer.
///
/// There is no variant for absence: a port without a value is the engine's affair ([`crate::flow::expression::Slot`]),
/// and neither `null` nor an empty list.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text or a label.
    Text(Text),
    /// Values in order.
    List(Arc<Vec<Value>>),
    /// Values by name.
    Map(Arc<Map>),
    /// A turn of a conversation.
    Message(Arc<Message>),
    /// A whole document.
    Document(Arc<Document>),
    /// A passage.
    Chunk(Arc<Chunk>),
    /// An answer.
    Answer(Arc<Answer>),
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A list value.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(Arc::new(items.into_iter().collect()))
    }

    /// A map value.
    pub fn map<K: Into<Text>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(Arc::new(entries.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }

    /// The type that the value has by itself; the items of a list decide its item type.
    pub fn ty(&self) -> Type {
        match self {
            Self::Null => Type::Json,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Float(_) => Type::Float,
            Self::Text(_) => Type::Text,
            Self::List(items) => Type::list(join_types(items.iter())),
            Self::Map(map) => Type::map(join_types(map.values())),
            Self::Message(_) => Type::Message,
            Self::Document(_) => Type::Document,
            Self::Chunk(_) => Type::Chunk,
            Self::Answer(_) => Type::Answer,
        }
    }

    /// The field or map entry `name`, if there is one.
    pub fn field(&self, name: &str) -> Option<Value> {
        match self {
            Self::Map(map) => map.get(name).cloned(),
            Self::Message(record) => record.field(name),
            Self::Document(record) => record.field(name),
            Self::Chunk(record) => record.field(name),
            Self::Answer(record) => record.field(name),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The text of a text or label.
    pub fn as_text(&self) -> Option<&Text> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Plain JSON; records become objects. Numbers that JSON cannot say become `null`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }

    /// A value without record types: objects become maps.
    pub fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(number.as_f64().unwrap_or(f64::MAX)),
            },
            Json::String(text) => Self::Text(text.into()),
            Json::Array(items) => Self::list(items.into_iter().map(Self::from_json)),
            Json::Object(entries) => {
                Self::map(entries.into_iter().map(|(key, value)| (key, Self::from_json(value))))
            }
        }
    }

    /// The value as `ty`: widened (`int` to `float`), or a map turned into the record that `ty` names.
    ///
    /// This is where what was not known when the flow was loaded (`any`, JSON from outside) is checked.
    pub fn into_type(self, ty: &Type) -> Result<Self, Mismatch> {
        let mismatch = |value: &Self| Mismatch::new(ty.clone(), value);
        Ok(match (ty.required(), self) {
            (Type::Any | Type::Json | Type::Plan, value)
            | (Type::Text | Type::Label, value @ Self::Text(_))
            | (Type::Int, value @ Self::Int(_))
            | (Type::Float, value @ Self::Float(_))
            | (Type::Bool, value @ Self::Bool(_))
            | (Type::Message, value @ Self::Message(_))
            | (Type::Document, value @ Self::Document(_))
            | (Type::Chunk, value @ Self::Chunk(_))
            | (Type::Answer, value @ Self::Answer(_)) => value,
            (Type::Float, Self::Int(int)) => Self::Float(int as f64),
            // CEL and JSON have one number type; a float without a fraction is the whole number that was meant.
            #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within 53 bits")]
            (Type::Int, Self::Float(float)) if float.fract() == 0.0 && float.abs() < 9.0e15 => {
                Self::Int(float as i64)
            }
            (Type::List(item), Self::List(items)) => {
                if **item == Type::Any || items.iter().all(|value| value.is_exactly(item)) {
                    return Ok(Self::List(items));
                }
                let items: Result<Vec<_>, _> =
                    items.iter().map(|value| value.clone().into_type(item)).collect();
                Self::List(Arc::new(items?))
            }
            (Type::Map(item), Self::Map(map)) => {
                if **item == Type::Any || map.values().all(|value| value.is_exactly(item)) {
                    return Ok(Self::Map(map));
                }
                let entries: Result<Map, Mismatch> = map
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.clone().into_type(item)?)))
                    .collect();
                Self::Map(Arc::new(entries?))
            }
            (Type::Chunk, value @ Self::Map(_)) => Self::Chunk(decode(&value, ty)?),
            (Type::Document, value @ Self::Map(_)) => Self::Document(decode(&value, ty)?),
            (Type::Message, value @ Self::Map(_)) => Self::Message(decode(&value, ty)?),
            (Type::Answer, value @ Self::Map(_)) => Self::Answer(decode(&value, ty)?),
            (_, value) => return Err(mismatch(&value)),
        })
    }

    /// Whether the value needs no conversion to be of scalar or record type `ty`.
    fn is_exactly(&self, ty: &Type) -> bool {
        matches!(
            (ty, self),
            (Type::Text | Type::Label, Self::Text(_))
                | (Type::Int, Self::Int(_))
                | (Type::Float, Self::Float(_))
                | (Type::Bool, Self::Bool(_))
                | (Type::Message, Self::Message(_))
                | (Type::Document, Self::Document(_))
                | (Type::Chunk, Self::Chunk(_))
                | (Type::Answer, Self::Answer(_))
        )
    }
}

fn join_types<'a>(values: impl Iterator<Item = &'a Value>) -> Type {
    values.map(Value::ty).reduce(|a, b| a.join(&b)).unwrap_or(Type::Any)
}

fn decode<T: serde::de::DeserializeOwned>(value: &Value, ty: &Type) -> Result<Arc<T>, Mismatch> {
    serde_json::from_value(value.to_json()).map(Arc::new).map_err(|error| Mismatch {
        expected: ty.clone(),
        found: value.ty().to_string(),
        detail: Some(error.to_string()),
    })
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items.iter()),
            Self::Map(map) => serializer.collect_map(map.iter().map(|(key, value)| (&**key, value))),
            Self::Message(record) => record.serialize(serializer),
            Self::Document(record) => record.serialize(serializer),
            Self::Chunk(record) => record.serialize(serializer),
            Self::Answer(record) => record.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Self::from_json)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            other => f.write_str(&serde_json::to_string(other).map_err(|_| fmt::Error)?),
        }
    }
}

/// A score: finite, higher is better. Its range depends on who gave it (BM25 has no upper bound).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct Score(f64);

impl Score {
    /// `None` for infinities and NaN.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Best first; total, since no score is NaN.
    pub fn best_first(a: Self, b: Self) -> std::cmp::Ordering {
        b.0.total_cmp(&a.0)
    }
}

impl TryFrom<f64> for Score {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Self::new(value).ok_or("a score is a finite number")
    }
}

impl From<Score> for f64 {
    fn from(score: Score) -> Self {
        score.0
    }
}

/// A count of tokens, `cl100k_base` unless its giver says otherwise.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TokenCount(pub u32);

impl std::iter::Sum for TokenCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        Self(counts.map(|count| count.0).fold(0, u32::saturating_add))
    }
}
