//! YAML as a tree in which every scalar, key and collection keeps its place.

use std::borrow::Cow;

use crate::diagnostic::Span;

mod entries;
mod layout;
mod read;
mod scalar;
mod syntax;
#[cfg(test)]
mod tests;

pub use read::read;
pub use scalar::Scalar;
pub(crate) use syntax::first_line;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place; of a quoted scalar with the quotes, of an alias the alias itself.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A scalar: its text after quotes and escapes are taken away.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written plain: then `12`, `true` and `null` are no texts.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order; keys are unique scalars.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What the scalar means; `None` for a list or mapping.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            Kind::Scalar { text, plain } => Some(Scalar::of(text, *plain)),
            _ => None,
        }
    }

    /// The text of a scalar as it is written, whatever it means: `12` of the number 12.
    pub fn raw(&self) -> Option<&str> {
        if let Kind::Scalar { text, .. } = &self.kind { Some(text) } else { None }
    }

    /// The text, if it is one: `"12"` is, `12` is not.
    pub fn as_str(&self) -> Option<&str> {
        if let Some(Scalar::Text(text)) = self.scalar() { Some(text) } else { None }
    }

    /// The whole number, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        if let Some(Scalar::Int(number)) = self.scalar() { Some(number) } else { None }
    }

    /// The number, whole or not, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self.scalar()? {
            Scalar::Int(number) => Some(number as f64),
            Scalar::Float(number) => Some(number),
            _ => None,
        }
    }

    /// `true` or `false`, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Some(Scalar::Bool(value)) = self.scalar() { Some(value) } else { None }
    }

    /// Whether it is `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        if let Kind::List(items) = &self.kind { Some(items) } else { None }
    }

    /// The entries of a mapping.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        if let Kind::Map(entries) = &self.kind { Some(entries) } else { None }
    }

    /// The value under `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name.raw() == Some(key)).map(|(_, value)| value)
    }

    /// The value and all that it holds as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Scalar { text, plain } => Scalar::of(text, *plain).to_json(),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.raw().unwrap_or_default().to_owned(), value.to_json()))
                .collect(),
        }
    }

    /// The node that a JSON pointer into [`Node::to_json`] leads to, or the deepest one on the way there.
    pub fn at_pointer(&self, pointer: &str) -> &Node {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            let name: Cow<'_, str> = if segment.contains('~') {
                segment.replace("~1", "/").replace("~0", "~").into()
            } else {
                segment.into()
            };
            let next = match &node.kind {
                Kind::Map(_) => node.get(&name),
                Kind::List(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
                Kind::Scalar { .. } => None,
            };
            let Some(next) = next else { return node };
            node = next;
        }
        node
    }

    /// What it is, for messages: `a mapping`, `a whole number`.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { text, plain } => Scalar::of(text, *plain).kind_name(),
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}
