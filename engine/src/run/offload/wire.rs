//! Values on their way to another process and back: as JSON that says which of its objects are records.
//!
//! Types of ports alone would not do: on a port of type `any` or `json`, a chunk has to arrive as a chunk.

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::event::Failure;
use crate::types::Type;
use crate::value::Value;

/// The key of an object that is no plain map: `{"$type": "chunk", "value": {…}}`.
const TAG: &str = "$type";
const MAP: &str = "map";

struct Tagged<'a>(&'a Value);

impl Serialize for Tagged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = match self.0 {
            Value::List(items) => return serializer.collect_seq(items.iter().map(Tagged)),
            Value::Map(map) if !map.contains_key(TAG) => {
                return serializer.collect_map(map.iter().map(|(key, value)| (&**key, Tagged(value))));
            }
            Value::Map(map) => {
                let entries: Vec<_> = map.iter().map(|(key, value)| (&**key, Tagged(value))).collect();
                let mut tagged = serializer.serialize_map(Some(2))?;
                tagged.serialize_entry(TAG, MAP)?;
                tagged.serialize_entry("value", &entries)?;
                return tagged.end();
            }
            Value::Message(_) => Type::Message,
            Value::Document(_) => Type::Document,
            Value::Chunk(_) => Type::Chunk,
            Value::Answer(_) => Type::Answer,
            scalar => return scalar.serialize(serializer),
        };
        let mut tagged = serializer.serialize_map(Some(2))?;
        tagged.serialize_entry(TAG, &record)?;
        tagged.serialize_entry("value", self.0)?;
        tagged.end()
    }
}

fn untagged(json: Json) -> Result<Value, String> {
    match json {
        Json::Array(items) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(untagged).collect();
            items.map(Value::list)
        }
        Json::Object(mut object) => match object.remove(TAG) {
            None => entries(object),
            Some(tag) => {
                let value = object.remove("value").unwrap_or_default();
                match (tag.as_str(), value) {
                    (Some(MAP), Json::Array(pairs)) => {
                        let pairs: Result<Vec<(String, Json)>, _> =
                            pairs.into_iter().map(serde_json::from_value).collect();
                        entries(pairs.map_err(|error| error.to_string())?)
                    }
                    (Some(tag), value) => {
                        let ty: Type = tag.parse().map_err(|error| format!("{error}"))?;
                        Value::from_json(value).into_type(&ty).map_err(|mismatch| mismatch.to_string())
                    }
                    (None, _) => Err(format!("`{TAG}` is no text")),
                }
            }
        },
        scalar => Ok(Value::from_json(scalar)),
    }
}

fn entries(entries: impl IntoIterator<Item = (String, Json)>) -> Result<Value, String> {
    let entries: Result<Vec<_>, String> =
        entries.into_iter().map(|(key, value)| Ok((key, untagged(value)?))).collect();
    entries.map(Value::map)
}

/// The values of ports: `null` alone is an absent one.
struct Slots<'a>(&'a [Option<Value>]);

#[derive(Serialize, Deserialize)]
struct There<V> {
    value: V,
}

impl Serialize for Slots<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.0.iter().map(|slot| slot.as_ref().map(|value| There { value: Tagged(value) })))
    }
}

fn taken<E: serde::de::Error>(slots: Vec<Option<There<Json>>>) -> Result<Vec<Option<Value>>, E> {
    let untag = |there: There<Json>| untagged(there.value).map_err(E::custom);
    slots.into_iter().map(|slot| slot.map(untag).transpose()).collect()
}

/// `#[serde(with)]` for the values of ports.
pub(super) mod slots {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Slots, Value};

    pub(in crate::run::offload) fn serialize<S: Serializer>(
        slots: &[Option<Value>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Slots(slots).serialize(serializer)
    }

    pub(in crate::run::offload) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Option<Value>>, D::Error> {
        super::taken(Deserialize::deserialize(deserializer)?)
    }
}

/// `#[serde(with)]` for the end of an attempt: `{"ok": …}` or `{"error": …}`.
pub(super) mod outcome {
    use super::{Deserialize, Deserializer, Failure, Json, Serialize, Serializer, Slots, There, Value};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Form<O, E> {
        Ok(O),
        Error(E),
    }

    type Outcome = Result<Vec<Option<Value>>, Failure>;

    pub(in crate::run::offload) fn serialize<S: Serializer>(
        outcome: &Outcome,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match outcome {
            Ok(slots) => Form::<_, &Failure>::Ok(Slots(slots)).serialize(serializer),
            Err(failure) => Form::<(), _>::Error(failure).serialize(serializer),
        }
    }

    pub(in crate::run::offload) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Outcome, D::Error> {
        match Form::<Vec<Option<There<Json>>>, _>::deserialize(deserializer)? {
            Form::Ok(slots) => super::taken(slots).map(Ok),
            Form::Error(failure) => Ok(Err(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::value::{Message, Role};

    #[test]
    fn every_value_comes_back_as_it_left() {
        let message = Value::Message(Arc::new(Message { role: Role::User, content: "hello".into() }));
        let like_a_tag = Value::map([(TAG, Value::text("chunk")), ("value", message.clone())]);
        let nested = Value::map([("list", Value::list([message.clone(), like_a_tag.clone(), Value::Null]))]);
        let scalars =
            [Value::Int(7), Value::Float(7.0), Value::Float(1.0 / 3.0), Value::Bool(true), Value::Null];
        let mut slots: Vec<_> = scalars.into_iter().chain([message, like_a_tag, nested]).map(Some).collect();
        slots.push(None);
        let json = serde_json::to_string(&Slots(&slots)).unwrap();
        let back: Vec<Option<Value>> =
            taken::<serde_json::Error>(serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(back, slots, "{json}");
    }
}
