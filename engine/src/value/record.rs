//! The records that travel on ports: messages, documents, chunks, answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PortType, Score, Text, TokenCount, Value};
use crate::types::Type;

/// A field of a record, as a flow can reach it (`answer.citations[0].chunk_id`).
#[derive(Debug, Clone, Copy)]
pub struct RecordField {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: fn() -> Type,
    /// What it holds.
    pub doc: &'static str,
}

/// One definition of a record: the struct, the fields that flows can reach, and their documentation.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $(#[serde($serde:meta)])? pub $field:ident : $ty:ty ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ $(#[serde($serde)])? pub $field : $ty ),+
        }

        impl $name {
            /// The fields that a flow can reach.
            pub const FIELDS: &'static [RecordField] = &[
                $( RecordField {
                    name: stringify!($field),
                    ty: <$ty as Reachable>::ty,
                    doc: concat!($($doc),+),
                } ),+
            ];

            /// The field `name` as a value; `None` if there is no such field or it is empty.
            pub fn field(&self, name: &str) -> Option<Value> {
                match name {
                    $( stringify!($field) => Reachable::value(&self.$field), )+
                    _ => None,
                }
            }
        }
    };
}

/// A field type that a flow can look into.
trait Reachable {
    fn ty() -> Type;
    fn value(&self) -> Option<Value>;
}

impl<T: PortType + Clone> Reachable for T {
    fn ty() -> Type {
        <T as PortType>::ty()
    }

    fn value(&self) -> Option<Value> {
        self.clone().into_slot()
    }
}

/// Facts about a document or chunk that retrieval can filter on.
pub type Metadata = BTreeMap<String, serde_json::Value>;

/// Key of a chunk's metadata: the text that searches look at, by words and by vectors, in the place of all else.
pub const SEARCHED: &str = "searched";

/// Key of a chunk's metadata: the entry of an index stands for a chunk, and this is what it is, such as `question`. There
/// can be several of a chunk, all with its document and range.
pub const SURROGATE: &str = "surrogate";

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the flow's author.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl PortType for Role {
    fn ty() -> Type {
        Type::Label
    }

    fn from_value(value: Value) -> Result<Self, super::Mismatch> {
        serde_json::from_value(value.to_json()).map_err(|_| super::Mismatch::new(Type::Label, &value))
    }

    fn into_value(self) -> Value {
        Value::text(match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        })
    }
}

record! {
    /// One turn of a conversation.
    pub struct Message {
        /// Who speaks: `system`, `user` or `assistant`.
        pub role: Role,
        /// What is said.
        pub content: Text,
    }
}

/// Names a document within an index: usually its path, always `/`-separated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DocumentId(pub Text);

/// Names a chunk: its document and its byte range, so that equal chunks have equal ids wherever they were made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ChunkId(pub Text);

impl ChunkId {
    /// `notes/a.md#120-480`.
    pub fn new(doc: &DocumentId, range: ByteRange) -> Self {
        Self(format!("{}#{}-{}", doc.0, range.start, range.end).into())
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl PortType for $name {
            fn ty() -> Type {
                Type::Text
            }

            fn from_value(value: Value) -> Result<Self, super::Mismatch> {
                Text::from_value(value).map(Self)
            }

            fn into_value(self) -> Value {
                Value::Text(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(DocumentId);
text_id!(ChunkId);

/// A half-open range of bytes in the source file of a document.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Lines of a source file, counted from 1, both included.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
pub struct LineRange {
    /// First line.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

/// Small structs of numbers that a flow sees as maps.
macro_rules! number_pair {
    ($name:ident { $a:ident, $b:ident }) => {
        impl PortType for $name {
            fn ty() -> Type {
                Type::map(Type::Int)
            }

            fn from_value(value: Value) -> Result<Self, super::Mismatch> {
                serde_json::from_value(value.to_json())
                    .map_err(|_| super::Mismatch::new(<Self as PortType>::ty(), &value))
            }

            fn into_value(self) -> Value {
                let int = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
                Value::map([
                    (stringify!($a), int(u64::from(self.$a))),
                    (stringify!($b), int(u64::from(self.$b))),
                ])
            }
        }
    };
}
number_pair!(ByteRange { start, end });
number_pair!(LineRange { first, last });

record! {
    /// A whole source document, its text as it is searched and read.
    pub struct Document {
        /// Its name within the index.
        pub id: DocumentId,
        /// Its title, if it has one.
        #[serde(default)]
        pub title: Option<Text>,
        /// Its text. Offsets of chunks count bytes of the source file, see `Chunk.range`.
        pub text: Text,
        /// What kind of file it came from: `markdown`, `text`, `html`, `code`.
        #[serde(default)]
        pub kind: Text,
        /// Facts that retrieval can filter on.
        #[serde(default)]
        pub meta: Metadata,
    }
}

record! {
    /// A passage of a document, with the exact place that it came from.
    pub struct Chunk {
        /// Its name: document and byte range.
        pub id: ChunkId,
        /// The document it is part of.
        pub doc: DocumentId,
        /// Its text.
        pub text: Text,
        /// Its bytes in the document's source.
        pub range: ByteRange,
        /// Its lines in the document's source.
        pub lines: LineRange,
        /// Its length in tokens.
        pub tokens: TokenCount,
        /// Title of its document.
        #[serde(default)]
        pub title: Option<Text>,
        /// The headings above it, outermost first.
        #[serde(default)]
        pub headings: Vec<Text>,
        /// What a retriever or reranker gave it.
        #[serde(default)]
        pub score: Option<Score>,
        /// Facts that retrieval can filter on.
        #[serde(default)]
        pub meta: Metadata,
    }
}

/// The place in a chunk that a part of an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// The chunk that is cited.
    pub chunk_id: ChunkId,
    /// The document that it is part of.
    pub doc: DocumentId,
    /// The cited bytes of the source file: the quoted sentence where it is known, else the whole chunk.
    pub range: ByteRange,
    /// The cited lines of the source file.
    pub lines: LineRange,
    /// The cited words, where they are known.
    #[serde(default)]
    pub quote: Option<Text>,
}

impl PortType for Citation {
    fn ty() -> Type {
        Type::map(Type::Any)
    }

    fn from_value(value: Value) -> Result<Self, super::Mismatch> {
        serde_json::from_value(value.to_json())
            .map_err(|_| super::Mismatch::new(<Self as PortType>::ty(), &value))
    }

    fn into_value(self) -> Value {
        Value::from_json(serde_json::to_value(self).unwrap_or_default())
    }
}

record! {
    /// An answer, what it rests on, and who gave it.
    pub struct Answer {
        /// The answer in words.
        pub text: Text,
        /// The places that it rests on, in the order in which the text cites them.
        #[serde(default)]
        pub citations: Vec<Citation>,
        /// Whether every citation names a chunk that was given, and there is at least one.
        #[serde(default)]
        pub grounded: bool,
        /// Who answered: a model's name, or `extractive` where sentences were selected without a model.
        #[serde(default)]
        pub by: Text,
    }
}

impl From<Chunk> for Value {
    fn from(chunk: Chunk) -> Self {
        Self::Chunk(Arc::new(chunk))
    }
}
