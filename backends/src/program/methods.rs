//! Methods of texts, lists, dictionaries and sets.

use super::error::{Step, raise, type_error, value_error};
use super::machine::{Args, Machine};
use super::value::{Id, VALUE_BYTES, Value};

mod entries;
mod text;

const TEXT: [&str; 31] = [
    "capitalize",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rjust",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
];
const MORE_TEXT: [&str; 2] = ["rsplit", "zfill"];
const LIST: [&str; 11] =
    ["append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"];
const TUPLE: [&str; 2] = ["count", "index"];
const DICT: [&str; 9] = ["clear", "copy", "get", "items", "keys", "pop", "setdefault", "update", "values"];
const SET: [&str; 13] = [
    "add",
    "clear",
    "copy",
    "difference",
    "discard",
    "intersection",
    "isdisjoint",
    "issubset",
    "issuperset",
    "remove",
    "symmetric_difference",
    "union",
    "update",
];
const FLOAT: [&str; 1] = ["is_integer"];

/// The method of `of` that is called `name`.
pub(super) fn named(of: &Value, name: &str) -> Option<&'static str> {
    let known: &[&str] = match of {
        Value::Str(_) => return TEXT.iter().chain(&MORE_TEXT).find(|known| **known == name).copied(),
        Value::List(_) => &LIST,
        Value::Tuple(_) => &TUPLE,
        Value::Dict(_) => &DICT,
        Value::Set(_) => &SET,
        Value::Float(_) => &FLOAT,
        _ => &[],
    };
    known.iter().find(|known| **known == name).copied()
}

/// Calls the method `name` of `of`.
pub(super) fn call(machine: &mut Machine, of: &Value, name: &'static str, args: Args) -> Step<Value> {
    match of {
        Value::Str(receiver) => text::call(machine, receiver, name, args),
        Value::List(id) | Value::Tuple(id) => list(machine, *id, name, args),
        Value::Dict(id) => entries::dict(machine, *id, name, args),
        Value::Set(id) => entries::set(machine, *id, name, &args),
        Value::Float(n) => {
            args.between(name, 0, 0)?;
            Ok(Value::Bool(n.is_finite() && n.fract().abs() <= 0.0))
        }
        _ => type_error(format!("'{}' object has no method '{name}'", of.type_name())),
    }
}

fn list(machine: &mut Machine, id: Id, name: &'static str, mut args: Args) -> Step<Value> {
    if name == "sort" {
        let (key, reverse) = (args.take("key"), args.take("reverse"));
        args.between(name, 0, 0)?;
        let items = machine.heap.items(id).to_vec();
        let items = super::builtins::sort(machine, items, key.as_ref(), reverse.as_ref())?;
        *machine.heap.list_mut(id)? = items;
        return Ok(Value::None);
    }
    let (least, most) = match name {
        "append" | "count" | "extend" | "remove" => (1, 1),
        "index" => (1, 3),
        "insert" => (2, 2),
        "pop" => (0, 1),
        _ => (0, 0),
    };
    let list = args.between(name, least, most)?;
    let none = Value::None;
    let first = list.first().unwrap_or(&none);
    match name {
        "append" => {
            machine.heap.meter.hold(VALUE_BYTES)?;
            machine.heap.list_mut(id)?.push(first.clone());
        }
        "extend" => {
            let more = machine.items(first)?;
            machine.heap.list_mut(id)?.extend(more);
        }
        "insert" => {
            machine.heap.meter.hold(VALUE_BYTES)?;
            let items = machine.heap.list_mut(id)?;
            let len = i128::try_from(items.len()).unwrap_or(i128::MAX);
            let at = first.as_int()?;
            let at = if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) };
            let at = usize::try_from(at).unwrap_or(0);
            let n_moved = items.len() - at;
            items.insert(at, list.get(1).cloned().unwrap_or(Value::None));
            machine.heap.meter.spend(1 + n_moved / 16)?;
        }
        "pop" => {
            if machine.heap.items(id).is_empty() {
                return raise("IndexError", "pop from empty list");
            }
            let at = list.first().cloned().unwrap_or(Value::Int(-1));
            return machine.take_item(&Value::List(id), &at);
        }
        "remove" => match find(machine, id, first, [0, i128::MAX])? {
            Some(n) => {
                machine.take_item(&Value::List(id), &Value::Int(i128::try_from(n).unwrap_or(0)))?;
            }
            None => return value_error("list.remove(x): x not in list"),
        },
        "index" => {
            let bound = |n: usize, default| list.get(n).map_or(Ok(default), Value::as_int);
            let bounds = [bound(1, 0)?, bound(2, i128::MAX)?];
            if let Some(n) = find(machine, id, first, bounds)? {
                return Ok(Value::Int(i128::try_from(n).unwrap_or(0)));
            }
            let shown = machine.heap.repr(first)?;
            return value_error(format!("{shown} is not in list"));
        }
        "count" => {
            let mut count = 0;
            for n in 0.. {
                let Some(item) = machine.heap.items(id).get(n).cloned() else { break };
                count += i128::from(machine.heap.equal(&item, first)?);
            }
            return Ok(Value::Int(count));
        }
        "reverse" => {
            let items = machine.heap.list_mut(id)?;
            items.reverse();
            let n = items.len();
            machine.heap.meter.spend(n / 16)?;
        }
        "copy" => {
            let items = machine.items(&Value::List(id))?;
            return machine.heap.list(items);
        }
        _ => machine.heap.list_mut(id)?.clear(),
    }
    Ok(Value::None)
}

/// Where `wanted` stands first between two places.
fn find(machine: &mut Machine, id: Id, wanted: &Value, bounds: [i128; 2]) -> Step<Option<usize>> {
    let len = i128::try_from(machine.heap.items(id).len()).unwrap_or(i128::MAX);
    let [start, stop] = bounds.map(|n| if n < 0 { n.saturating_add(len).max(0) } else { n.min(len) });
    let start = usize::try_from(start).unwrap_or(0);
    for n in start..usize::try_from(stop).unwrap_or(0) {
        let Some(item) = machine.heap.items(id).get(n).cloned() else { break };
        if machine.heap.equal(&item, wanted)? {
            return Ok(Some(n));
        }
    }
    Ok(None)
}
