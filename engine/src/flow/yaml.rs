//! YAML as a tree in which every scalar, key and collection keeps its place.

use crate::diagnostic::Span;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place; of a quoted scalar with the quotes.
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
    /// A mapping, in order; keys are unique.
    Map(Vec<(Node, Node)>),
}
