//! The operators of expressions on values: fields, arithmetic, comparison.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Absence;
use super::eval::{Meter, Stop};
use super::parse::Op;
use crate::value::Value;

/// What a value is, for messages; unlike its type, it is known without looking at the items.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "`null`",
        Value::Bool(_) => "a `bool`",
        Value::Int(_) => "an `int`",
        Value::Float(_) => "a `float`",
        Value::Text(_) => "a `text`",
        Value::List(_) => "a `list`",
        Value::Map(_) => "a `map`",
        Value::Message(_) => "a `message`",
        Value::Document(_) => "a `document`",
        Value::Chunk(_) => "a `chunk`",
        Value::Answer(_) => "an `answer`",
    }
}

fn is_record(value: &Value) -> bool {
    matches!(value, Value::Message(_) | Value::Document(_) | Value::Chunk(_) | Value::Answer(_))
}

/// `value.name`.
pub(super) fn field(value: &Value, name: &str) -> Result<Value, Stop> {
    if let Some(found) = value.field(name) {
        return Ok(found);
    }
    if is_record(value) {
        let known = value.ty().field(name).is_ok();
        return Err(if known {
            let why = format!("the {} has none", value.ty()).into();
            Stop::Absent(Arc::new(Absence { what: name.into(), why }))
        } else {
            Stop::Missing(format!("{} has no field `{name}`", kind(value)))
        });
    }
    Err(match value {
        Value::Map(_) => Stop::Missing(format!("the map has no `{name}`")),
        other => Stop::Error(format!("{} has no field `{name}`", kind(other))),
    })
}

/// `value[index]`.
pub(super) fn index(value: &Value, index: &Value) -> Result<Value, Stop> {
    match (value, index) {
        (Value::List(items), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at))
            .cloned()
            .ok_or_else(|| Stop::Missing(format!("there is no item {at} in a list of {}", items.len()))),
        (_, Value::Text(name)) => field(value, name),
        _ => Err(Stop::Error(format!("{} cannot be the index of {}", kind(index), kind(value)))),
    }
}

/// `has(value.name)`.
pub(super) fn has(value: &Value, name: &str) -> Result<bool, Stop> {
    match field(value, name) {
        Ok(_) => Ok(true),
        Err(Stop::Absent(_) | Stop::Missing(_)) => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// `-value`.
pub(super) fn negate(value: &Value) -> Result<Value, Stop> {
    match value {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Float(float) => Ok(Value::Float(-float)),
        other => Err(Stop::Error(format!("`-` takes a number, found {}", kind(other)))),
    }
}

/// A binary operator other than `&&` and `||`.
pub(super) fn binary(meter: &mut Meter, op: Op, left: Value, right: Value) -> Result<Value, Stop> {
    Ok(match op {
        Op::Equal => Value::Bool(equal(meter, &left, &right)?),
        Op::Unequal => Value::Bool(!equal(meter, &left, &right)?),
        Op::Less | Op::AtMost | Op::More | Op::AtLeast => {
            let order = compare(meter, op, &left, &right)?;
            Value::Bool(match op {
                Op::Less => order == Some(Ordering::Less),
                Op::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                Op::More => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            })
        }
        Op::In => Value::Bool(contains(meter, &right, &left)?),
        Op::Add => return add(meter, left, right),
        Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder => return arithmetic(op, &left, &right),
        Op::And | Op::Or => return Err(operands(op, &left, &right)),
    })
}

fn operands(op: Op, left: &Value, right: &Value) -> Stop {
    Stop::Error(format!("`{}` does not go between {} and {}", op.sign(), kind(left), kind(right)))
}

fn overflow() -> Stop {
    Stop::error("the number does not fit into 64 bits")
}

fn add(meter: &mut Meter, left: Value, right: Value) -> Result<Value, Stop> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            meter.made(left.len() + right.len())?;
            Ok(Value::Text([left.as_ref(), right.as_ref()].concat().into()))
        }
        (Value::List(left), Value::List(right)) => {
            if right.is_empty() {
                return Ok(Value::List(left));
            }
            meter.made(left.len() + right.len())?;
            // The one list is often of no further use: then it grows in place.
            let mut items = Arc::unwrap_or_clone(left);
            items.extend(right.iter().cloned());
            Ok(Value::List(Arc::new(items)))
        }
        (left, right) => arithmetic(Op::Add, &left, &right),
    }
}

fn arithmetic(op: Op, left: &Value, right: &Value) -> Result<Value, Stop> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        if *right == 0 && matches!(op, Op::Divide | Op::Remainder) {
            return Err(Stop::error("division by zero"));
        }
        let result = match op {
            Op::Add => left.checked_add(*right),
            Op::Subtract => left.checked_sub(*right),
            Op::Multiply => left.checked_mul(*right),
            Op::Divide => left.checked_div(*right),
            _ => left.checked_rem(*right),
        };
        return result.map(Value::Int).ok_or_else(overflow);
    }
    // Whole numbers and others mix, which CEL refuses: a score of JSON may be written `1`.
    let (Some(a), Some(b)) = (number(left), number(right)) else { return Err(operands(op, left, right)) };
    let result = match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::Divide => a / b,
        _ => return Err(Stop::error("`%` takes whole numbers")),
    };
    // A port's number is finite.
    if result.is_finite() {
        Ok(Value::Float(result))
    } else {
        Err(Stop::error("the result is no finite number"))
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    }
}

fn compare(meter: &mut Meter, op: Op, left: &Value, right: &Value) -> Result<Option<Ordering>, Stop> {
    Ok(match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            Some(left.cmp(right))
        }
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => return Err(operands(op, left, right)),
        },
    })
}

/// Equality across types, as in CEL: `1 == 1.0`, and values of different kinds are unequal rather than an error.
pub(super) fn equal(meter: &mut Meter, left: &Value, right: &Value) -> Result<bool, Stop> {
    meter.bytes(1)?;
    Ok(match (left, right) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => number(left) == number(right),
        (Value::Text(left), Value::Text(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal(meter, left, right)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, left) in left.iter() {
                match right.get(key) {
                    Some(right) if equal(meter, left, right)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (record, Value::Map(_)) | (Value::Map(_), record) if is_record(record) => {
            meter.bytes(weight(record))?;
            left.to_json() == right.to_json()
        }
        (left, right) => {
            meter.bytes(weight(left).min(weight(right)))?;
            left == right
        }
    })
}

/// About how many bytes of text a record holds.
fn weight(value: &Value) -> usize {
    match value {
        Value::Message(record) => record.content.len(),
        Value::Document(record) => record.text.len(),
        Value::Chunk(record) => record.text.len(),
        Value::Answer(record) => record.text.len() + 64 * record.citations.len(),
        _ => 0,
    }
}

/// `item in all`.
fn contains(meter: &mut Meter, all: &Value, item: &Value) -> Result<bool, Stop> {
    match (all, item) {
        (Value::List(items), item) => {
            for other in items.iter() {
                if equal(meter, other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Map(map), Value::Text(key)) => Ok(map.contains_key(key)),
        (Value::Map(_), _) => Ok(false),
        (record, Value::Text(key)) if is_record(record) => has(record, key),
        (all, item) => Err(operands(Op::In, item, all)),
    }
}

/// Whether the JSON of `value` is longer than `limit`, records aside: no expression makes a record.
pub(super) fn exceeds(value: &Value, limit: usize) -> bool {
    spend(value, limit).is_none()
}

/// What is left of `budget` after writing `value`.
fn spend(value: &Value, budget: usize) -> Option<usize> {
    match value {
        Value::Text(text) => budget.checked_sub(text.len() + 2),
        Value::List(items) => {
            items.iter().try_fold(budget.checked_sub(2)?, |left, item| spend(item, left)?.checked_sub(1))
        }
        Value::Map(map) => map.iter().try_fold(budget.checked_sub(2)?, |left, (key, value)| {
            spend(value, left)?.checked_sub(key.len() + 4)
        }),
        Value::Message(_) | Value::Document(_) | Value::Chunk(_) | Value::Answer(_) => Some(budget),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => budget.checked_sub(1),
    }
}
