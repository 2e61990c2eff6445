//! The types of ports: which there are, which fits where, how they print.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::{Answer, Chunk, Document, Message, RecordField};

/// The type of a port, of a flow input, or of an expression.
///
/// Written in flows as `text`, `list<chunk>`, `map<int>`, `answer?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Type {
    /// Unicode text.
    Text,
    /// A whole number, 64 bits, signed.
    Int,
    /// A finite number, 64 bits.
    Float,
    /// `true` or `false`.
    Bool,
    /// Any JSON value; its fields are not checked when the flow is loaded.
    Json,
    /// One turn of a conversation.
    Message,
    /// A whole source document.
    Document,
    /// A passage of a document.
    Chunk,
    /// An answer with its citations.
    Answer,
    /// A plan made at run time.
    Plan,
    /// A text out of a closed set, as a router gives.
    Label,
    /// Not known when the flow is loaded; checked when the value arrives.
    Any,
    /// Values of one type, in order.
    List(Box<Type>),
    /// Values of one type, by name.
    Map(Box<Type>),
    /// A value that may be absent.
    Optional(Box<Type>),
}

/// The type names a writer may use, in the order in which they are suggested.
pub const NAMES: [&str; 14] = [
    "text",
    "int",
    "float",
    "bool",
    "json",
    "message",
    "document",
    "chunk",
    "answer",
    "plan",
    "label",
    "any",
    "list<...>",
    "map<...>",
];

impl Type {
    /// `list<item>`.
    pub fn list(item: Type) -> Self {
        Self::List(Box::new(item))
    }

    /// `map<item>`.
    pub fn map(item: Type) -> Self {
        Self::Map(Box::new(item))
    }

    /// `inner?`; an optional stays what it is.
    pub fn optional(inner: Type) -> Self {
        if matches!(inner, Self::Optional(_)) { inner } else { Self::Optional(Box::new(inner)) }
    }

    /// The type without its `?`.
    pub fn required(&self) -> &Type {
        if let Self::Optional(inner) = self { inner } else { self }
    }

    /// Whether a port of this type may stay without a value.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Optional(_))
    }

    /// Whether a value of this type may go where `to` is asked for.
    ///
    /// Widening is silent where nothing is lost (`int` to `float`, `label` to `text`, anything to `any` or `json`).
    /// `any` goes everywhere: it is checked when the value arrives.
    pub fn fits(&self, to: &Type) -> bool {
        match (self.required(), to.required()) {
            (Self::Any, _)
            | (_, Self::Any | Self::Json)
            | (Self::Int, Self::Float)
            | (Self::Label, Self::Text) => true,
            (Self::List(from), Self::List(to)) | (Self::Map(from), Self::Map(to)) => from.fits(to),
            // A record is a map of its fields where the map takes anything.
            (Self::Message | Self::Document | Self::Chunk | Self::Answer, Self::Map(to)) => **to == Self::Any,
            (from, to) => from == to,
        }
    }

    /// The narrowest type that both fit, `any` if there is no better.
    #[must_use]
    pub fn join(&self, other: &Type) -> Type {
        let joined = match (self.required(), other.required()) {
            (a, b) if a == b => a.clone(),
            (Self::List(a), Self::List(b)) => Self::list(a.join(b)),
            (Self::Map(a), Self::Map(b)) => Self::map(a.join(b)),
            (a, b) if *a != Self::Any && a.fits(b) => b.clone(),
            (a, b) if *b != Self::Any && b.fits(a) => a.clone(),
            _ => Self::Any,
        };
        if self.is_optional() || other.is_optional() { Self::optional(joined) } else { joined }
    }

    /// The named fields of a record type; `None` where fields are not known when the flow is loaded or there are none.
    pub fn record(&self) -> Option<&'static [RecordField]> {
        match self.required() {
            Self::Message => Some(Message::FIELDS),
            Self::Document => Some(Document::FIELDS),
            Self::Chunk => Some(Chunk::FIELDS),
            Self::Answer => Some(Answer::FIELDS),
            _ => None,
        }
    }

    /// The type of `value.name`: `Ok` with the type, or `Err` with the field names that there are (none for a scalar).
    pub fn field(&self, name: &str) -> Result<Type, Vec<&'static str>> {
        match self.required() {
            Self::Any | Self::Json | Self::Plan => Ok(Self::Any),
            Self::Map(item) => Ok((**item).clone()),
            record => {
                let fields = record.record().unwrap_or_default();
                fields
                    .iter()
                    .find(|field| field.name == name)
                    .map(|field| (field.ty)())
                    .ok_or_else(|| fields.iter().map(|field| field.name).collect())
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Json => "json",
            Self::Message => "message",
            Self::Document => "document",
            Self::Chunk => "chunk",
            Self::Answer => "answer",
            Self::Plan => "plan",
            Self::Label => "label",
            Self::Any => "any",
            Self::List(item) => return write!(f, "list<{item}>"),
            Self::Map(item) => return write!(f, "map<{item}>"),
            Self::Optional(inner) => return write!(f, "{inner}?"),
        })
    }
}

/// A text that names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type")]
pub struct UnknownType(pub String);

/// Deepest nesting of `list<...>` and `map<...>` that is read.
const MAX_TYPE_DEPTH: usize = 8;

impl FromStr for Type {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        parse(text.trim(), MAX_TYPE_DEPTH).ok_or_else(|| UnknownType(text.to_owned()))
    }
}

fn parse(text: &str, depth: usize) -> Option<Type> {
    let depth = depth.checked_sub(1)?;
    if let Some(inner) = text.strip_suffix('?') {
        return Some(Type::optional(parse(inner.trim_end(), depth)?));
    }
    if let Some((outer, rest)) = text.split_once('<') {
        let item = parse(rest.strip_suffix('>')?.trim(), depth)?;
        return match outer.trim_end() {
            "list" => Some(Type::list(item)),
            "map" => Some(Type::map(item)),
            _ => None,
        };
    }
    Some(match text {
        "text" => Type::Text,
        "int" => Type::Int,
        "float" => Type::Float,
        "bool" => Type::Bool,
        "json" => Type::Json,
        "message" => Type::Message,
        "document" => Type::Document,
        "chunk" => Type::Chunk,
        "answer" => Type::Answer,
        "plan" => Type::Plan,
        "label" => Type::Label,
        "any" => Type::Any,
        _ => return None,
    })
}

impl TryFrom<String> for Type {
    type Error = UnknownType;

    fn try_from(text: String) -> Result<Self, UnknownType> {
        text.parse()
    }
}

impl From<Type> for String {
    fn from(ty: Type) -> Self {
        ty.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(text: &str) -> Type {
        text.parse().unwrap()
    }

    #[test]
    fn a_type_prints_as_it_is_written() {
        for text in ["text", "list<chunk>", "map<list<int>>", "answer?", "list<text?>"] {
            assert_eq!(ty(text).to_string(), text);
        }
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let text = format!("{}text{}", "list<".repeat(100), ">".repeat(100));
        assert!(text.parse::<Type>().is_err());
    }

    #[test]
    fn widening_is_silent_and_narrowing_is_not() {
        assert!(ty("int").fits(&ty("float")) && !ty("float").fits(&ty("int")));
        assert!(ty("label").fits(&ty("text")) && !ty("text").fits(&ty("label")));
        assert!(ty("list<int>").fits(&ty("list<float>")) && !ty("chunk").fits(&ty("list<chunk>")));
    }

    #[test]
    fn join_gives_what_both_fit() {
        assert_eq!(ty("int").join(&ty("float")), ty("float"));
        assert_eq!(ty("list<chunk>?").join(&ty("list<chunk>")), ty("list<chunk>?"));
        assert_eq!(ty("chunk").join(&ty("text")), ty("any"));
    }
}
