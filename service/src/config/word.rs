//! What is written as one word (`extractive`, `hashed`) or as a mapping of settings.

use std::fmt;
use std::marker::PhantomData;

use anabranch_engine::diagnostic;
use serde::Deserialize as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};

use super::error::with_hint;

/// What is written as one word, or as a mapping of settings.
pub(super) trait WordOrFields: Sized {
    /// What it is, as people call it.
    const NOUN: &'static str;
    /// The word.
    const WORD: &'static str;
    /// The keys that say what a mapping is, as a sentence lists them.
    const KEYS: &'static str;
    /// The mapping.
    type Fields: DeserializeOwned;

    /// What the word stands for.
    fn word() -> Self;

    /// What the mapping stands for, or why it stands for nothing.
    fn fields(fields: Self::Fields) -> Result<Self, String>;
}

/// Reads a word or a mapping.
pub(super) fn read<'de, T: WordOrFields, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Either(PhantomData))
}

struct Either<T>(PhantomData<T>);

impl<'de, T: WordOrFields> Visitor<'de> for Either<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` or a mapping with {}", T::WORD, T::KEYS)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        if word == T::WORD {
            return Ok(T::word());
        }
        let hint = if word.contains("://") {
            format!("a server is a mapping: `{{ url: {word} }}`")
        } else {
            let near = diagnostic::nearest(word, [T::WORD]);
            near.map_or_else(
                || format!("write `{}`, or a mapping with {}", T::WORD, T::KEYS),
                |near| format!("did you mean `{near}`?"),
            )
        };
        Err(E::custom(with_hint(&format!("there is no kind of {} `{word}`", T::NOUN), &hint)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let fields = T::Fields::deserialize(MapAccessDeserializer::new(map))?;
        T::fields(fields).map_err(A::Error::custom)
    }
}

/// Derives reading and the schema of a [`WordOrFields`]: the schema is the word, or `$fields`.
macro_rules! word_or_fields {
    ($type:ident, $fields:ident) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::word::read(deserializer)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::config::word::WordOrFields as _;
                let fields = generator.subschema_for::<$fields>();
                schemars::json_schema!({ "anyOf": [{ "const": Self::WORD }, fields] })
            }
        }
    };
}
pub(super) use word_or_fields;
