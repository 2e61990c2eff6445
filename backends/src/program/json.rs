//! JSON into values and back.

use serde_json::{Map, Number, Value as Json};

use super::error::{Step, raise, type_error, value_error};
use super::limits::NESTING_MAX;
use super::value::{Entries, Heap, Value, too_deep};

/// The value that `json` stands for.
pub(super) fn read(heap: &mut Heap, json: &Json) -> Step<Value> {
    read_at(heap, json, 0)
}

fn read_at(heap: &mut Heap, json: &Json, depth: u32) -> Step<Value> {
    if depth > NESTING_MAX {
        return too_deep();
    }
    heap.meter.spend(1)?;
    match json {
        Json::Null => Ok(Value::None),
        Json::Bool(b) => Ok(Value::Bool(*b)),
        Json::Number(n) => Ok(match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n.into()),
            (_, Some(n)) => Value::Int(n.into()),
            _ => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        }),
        Json::String(text) => heap.text(text),
        Json::Array(items) => {
            let items = items.iter().map(|item| read_at(heap, item, depth + 1)).collect::<Step<_>>()?;
            heap.list(items)
        }
        Json::Object(fields) => {
            let dict = heap.dict(Entries::new())?;
            if let Value::Dict(id) = dict {
                for (key, value) in fields {
                    let value = read_at(heap, value, depth + 1)?;
                    let key = heap.text(key)?;
                    heap.insert(id, key, value)?;
                }
            }
            Ok(dict)
        }
    }
}

/// `value` as JSON.
pub(super) fn write(heap: &mut Heap, value: &Value) -> Step<Json> {
    write_at(heap, value, 0)
}

fn write_at(heap: &mut Heap, value: &Value, depth: u32) -> Step<Json> {
    if depth > NESTING_MAX {
        return too_deep();
    }
    heap.meter.spend(1)?;
    heap.meter.hold(size_of::<Json>())?;
    match value {
        Value::None => Ok(Json::Null),
        Value::Bool(b) => Ok(Json::Bool(*b)),
        // Values of a flow have 64 bits, one of them for the sign.
        Value::Int(n) => match i64::try_from(*n) {
            Ok(n) => Ok(n.into()),
            Err(_) => raise("OverflowError", "the result has more than 64 bits"),
        },
        Value::Float(n) => Number::from_f64(*n)
            .map_or_else(|| value_error("the result is not a finite number"), |n| Ok(Json::Number(n))),
        Value::Str(_) => Ok(Json::String(heap.shown(value)?)),
        Value::List(id) | Value::Tuple(id) => {
            let items = heap.items(*id).to_vec();
            write_items(heap, &items, depth)
        }
        Value::Set(id) => {
            let items = heap.set_elements(*id)?;
            write_items(heap, &items, depth)
        }
        Value::Range(range) => {
            heap.meter.spend(range.len())?;
            let items: Vec<Value> = (0..range.len()).filter_map(|n| range.get(n)).map(Value::Int).collect();
            write_items(heap, &items, depth)
        }
        Value::Dict(id) => {
            let pairs: Vec<(Value, Value)> = heap.entries(*id)?.values().cloned().collect();
            let mut fields = Map::new();
            for (key, value) in &pairs {
                let key = match key {
                    Value::None => "null".to_owned(),
                    Value::Bool(b) => b.to_string(),
                    Value::Str(_) | Value::Int(_) | Value::Float(_) => heap.shown(key)?,
                    _ => return type_error(format!("a key of the result is a '{}'", key.type_name())),
                };
                fields.insert(key, write_at(heap, value, depth + 1)?);
            }
            Ok(Json::Object(fields))
        }
        _ => type_error(format!("the result is a '{}', which is no data", value.type_name())),
    }
}

fn write_items(heap: &mut Heap, items: &[Value], depth: u32) -> Step<Json> {
    Ok(Json::Array(items.iter().map(|item| write_at(heap, item, depth + 1)).collect::<Step<_>>()?))
}
