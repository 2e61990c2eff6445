//! From values to the Rust types of an operator's ports, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Answer, Chunk, Document, Message, Score, Text, TokenCount, Value};
use crate::types::Type;

/// A value that is not of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// What was asked for.
    pub expected: Type,
    /// What came, as a type.
    pub found: String,
    /// What is wrong with it in particular.
    pub detail: Option<String>,
}

impl Mismatch {
    /// `value` came where `expected` was asked for.
    pub fn new(expected: Type, value: &Value) -> Self {
        Self { expected, found: value.ty().to_string(), detail: None }
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected `{}`, found `{}`", self.expected, self.found)?;
        self.detail.iter().try_for_each(|detail| write!(f, " ({detail})"))
    }
}

/// A Rust type that can stand on a port.
pub trait PortType: Sized + Send {
    /// Its name in the flow language.
    fn ty() -> Type;
    /// Takes it out of a value.
    fn from_value(value: Value) -> Result<Self, Mismatch>;
    /// Puts it into a value.
    fn into_value(self) -> Value;

    /// What stands for "no value": `Some` for optional ports only.
    fn absent() -> Option<Self> {
        None
    }

    /// As [`PortType::into_value`], with `None` for an optional port left empty: that output is absent.
    fn into_slot(self) -> Option<Value> {
        Some(self.into_value())
    }
}

/// A text out of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(pub Text);

/// A plan as it is written: `nodes` and `outputs` of the flow language. Whether it can be used, its node tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanText(pub serde_json::Value);

impl PortType for PlanText {
    fn ty() -> Type {
        Type::Plan
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        Ok(Self(value.to_json()))
    }

    fn into_value(self) -> Value {
        Value::from_json(self.0)
    }
}

macro_rules! scalar {
    ($rust:ty, $ty:expr, $variant:ident) => {
        scalar!($rust, $ty, $variant, |inner| inner, |inner| inner);
    };
    ($rust:ty, $ty:expr, $variant:ident, |$from:ident| $take:expr, |$into:ident| $put:expr) => {
        impl PortType for $rust {
            fn ty() -> Type {
                $ty
            }

            fn from_value(value: Value) -> Result<Self, Mismatch> {
                match value.into_type(&$ty)? {
                    Value::$variant($from) => Ok($take),
                    other => Err(Mismatch::new($ty, &other)),
                }
            }

            fn into_value(self) -> Value {
                let $into = self;
                Value::$variant($put)
            }
        }
    };
}

scalar!(Text, Type::Text, Text);
scalar!(String, Type::Text, Text, |text| text.as_ref().to_owned(), |text| text.into());
scalar!(Label, Type::Label, Text, |text| Label(text), |label| label.0);
scalar!(i64, Type::Int, Int);
scalar!(
    usize,
    Type::Int,
    Int,
    |int| usize::try_from(int).map_err(|_| Mismatch::new(Type::Int, &Value::Int(int)))?,
    |n| i64::try_from(n).unwrap_or(i64::MAX)
);
scalar!(f64, Type::Float, Float);
scalar!(
    Score,
    Type::Float,
    Float,
    |float| Score::new(float).ok_or_else(|| Mismatch::new(Type::Float, &Value::Float(float)))?,
    |score| score.get()
);
scalar!(
    TokenCount,
    Type::Int,
    Int,
    |int| u32::try_from(int).map(TokenCount).map_err(|_| Mismatch::new(Type::Int, &Value::Int(int)))?,
    |n| i64::from(n.0)
);
scalar!(bool, Type::Bool, Bool);
scalar!(Arc<Message>, Type::Message, Message);
scalar!(Arc<Document>, Type::Document, Document);
scalar!(Arc<Chunk>, Type::Chunk, Chunk);
scalar!(Arc<Answer>, Type::Answer, Answer);

impl PortType for Value {
    fn ty() -> Type {
        Type::Any
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        Ok(value)
    }

    fn into_value(self) -> Value {
        self
    }
}

impl PortType for serde_json::Value {
    fn ty() -> Type {
        Type::Json
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        Ok(value.to_json())
    }

    fn into_value(self) -> Value {
        Value::from_json(self)
    }
}

impl<T: PortType> PortType for Option<T> {
    fn ty() -> Type {
        Type::optional(T::ty())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        if value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }

    fn into_value(self) -> Value {
        self.map_or(Value::Null, T::into_value)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn into_slot(self) -> Option<Value> {
        self.map(T::into_value)
    }
}

impl<T: PortType> PortType for Vec<T> {
    fn ty() -> Type {
        Type::list(T::ty())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::List(items) => match Arc::try_unwrap(items) {
                Ok(items) => items.into_iter().map(T::from_value).collect(),
                Err(shared) => shared.iter().cloned().map(T::from_value).collect(),
            },
            other => Err(Mismatch::new(Self::ty(), &other)),
        }
    }

    fn into_value(self) -> Value {
        Value::list(self.into_iter().map(T::into_value))
    }
}

impl<T: PortType> PortType for BTreeMap<String, T> {
    fn ty() -> Type {
        Type::map(T::ty())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::Map(map) => {
                map.iter().map(|(key, value)| Ok((key.to_string(), T::from_value(value.clone())?))).collect()
            }
            other => Err(Mismatch::new(Self::ty(), &other)),
        }
    }

    fn into_value(self) -> Value {
        Value::map(self.into_iter().map(|(key, value)| (key, value.into_value())))
    }
}
