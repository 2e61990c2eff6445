//! Methods of dictionaries and sets.

use super::super::ast::BinaryOp;
use super::super::error::{Step, raise, type_error};
use super::super::machine::{Args, Machine};
use super::super::value::{Entries, Id, Value};

pub(super) fn dict(machine: &mut Machine, id: Id, name: &'static str, args: Args) -> Step<Value> {
    if name == "update" {
        return update(machine, id, args);
    }
    let (least, most) = match name {
        "get" | "pop" | "setdefault" => (1, 2),
        _ => (0, 0),
    };
    let list = args.between(name, least, most)?;
    let none = Value::None;
    let first = list.first().unwrap_or(&none);
    match name {
        "get" | "setdefault" => {
            let key = machine.heap.key(first)?;
            if let Some((_, value)) = machine.heap.entries(id)?.get(&key) {
                return Ok(value.clone());
            }
            let default = list.get(1).cloned().unwrap_or(Value::None);
            if name == "setdefault" {
                machine.heap.insert(id, first.clone(), default.clone())?;
            }
            Ok(default)
        }
        "pop" => {
            let key = machine.heap.key(first)?;
            match list.get(1) {
                Some(default) if !machine.heap.entries(id)?.contains_key(&key) => Ok(default.clone()),
                _ => machine.take_item(&Value::Dict(id), first),
            }
        }
        "keys" => {
            let keys = machine.items(&Value::Dict(id))?;
            machine.heap.list(keys)
        }
        "values" => {
            let n = machine.heap.entries(id)?.len();
            machine.heap.meter.spend(n)?;
            let values = machine.heap.entries(id)?.values().map(|(_, value)| value.clone()).collect();
            machine.heap.list(values)
        }
        "items" => {
            let pairs = machine.heap.copied(id)?;
            let mut items = Vec::with_capacity(pairs.len());
            for (key, value) in pairs.into_values() {
                items.push(machine.heap.tuple(vec![key, value])?);
            }
            machine.heap.list(items)
        }
        "copy" => {
            let entries = machine.heap.copied(id)?;
            machine.heap.dict(entries)
        }
        _ => {
            machine.heap.entries_mut(id)?.clear();
            Ok(Value::None)
        }
    }
}

fn update(machine: &mut Machine, id: Id, args: Args) -> Step<Value> {
    match args.list.as_slice() {
        [] => {}
        [Value::Dict(other)] => {
            let entries = machine.heap.copied(*other)?;
            machine.heap.entries_mut(id)?.extend(entries);
        }
        _ => return type_error("update() needs a dictionary"),
    }
    for (name, value) in args.named {
        machine.heap.insert(id, Value::Str(name), value)?;
    }
    Ok(Value::None)
}

pub(super) fn set(machine: &mut Machine, id: Id, name: &'static str, args: &Args) -> Step<Value> {
    let op = match name {
        "union" | "update" => Some(BinaryOp::Or),
        "intersection" => Some(BinaryOp::And),
        "difference" => Some(BinaryOp::Sub),
        "symmetric_difference" => Some(BinaryOp::Xor),
        _ => None,
    };
    let (least, most) = match name {
        "clear" | "copy" => (0, 0),
        "union" | "intersection" | "difference" | "update" => (0, 16),
        _ => (1, 1),
    };
    let list = args.between(name, least, most)?;
    if let Some(op) = op {
        let mut result = Value::Set(id);
        for other in list {
            let other = as_set(machine, other)?;
            if let Value::Set(known) = result {
                result = machine.heap.set_operation(op, known, other)?;
            }
        }
        return match (name, result) {
            ("update", Value::Set(changed)) => {
                *machine.heap.entries_mut(id)? = machine.heap.copied(changed)?;
                Ok(Value::None)
            }
            (_, Value::Set(same)) if same == id => {
                let entries = machine.heap.copied(id)?;
                machine.heap.set(entries)
            }
            (_, result) => Ok(result),
        };
    }
    let none = Value::None;
    let first = list.first().unwrap_or(&none);
    match name {
        "add" => machine.heap.insert(id, first.clone(), Value::None)?,
        "discard" | "remove" => {
            let key = machine.heap.key(first)?;
            let n = machine.heap.entries(id)?.len();
            machine.heap.meter.spend(n / 8)?;
            if machine.heap.entries_mut(id)?.shift_remove(&key).is_none() && name == "remove" {
                let shown = machine.heap.repr(first)?;
                return raise("KeyError", shown);
            }
        }
        "copy" => {
            let entries = machine.heap.copied(id)?;
            return machine.heap.set(entries);
        }
        "issubset" | "issuperset" | "isdisjoint" => {
            let other = as_set(machine, first)?;
            let (small, large) = if name == "issuperset" { (other, id) } else { (id, other) };
            let n = machine.heap.entries(small)?.len();
            machine.heap.meter.spend(n)?;
            let (small, large) = (machine.heap.entries(small)?, machine.heap.entries(large)?);
            let is_in = |key| large.contains_key(key);
            let found = if name == "isdisjoint" { !small.keys().any(is_in) } else { small.keys().all(is_in) };
            return Ok(Value::Bool(found));
        }
        _ => machine.heap.entries_mut(id)?.clear(),
    }
    Ok(Value::None)
}

/// What can be gone through, as a set.
fn as_set(machine: &mut Machine, value: &Value) -> Step<Id> {
    if let Value::Set(id) = value {
        return Ok(*id);
    }
    let items = machine.items(value)?;
    let set = machine.heap.set(Entries::new())?;
    let Value::Set(id) = set else { return type_error("not a set") };
    items.into_iter().try_for_each(|item| machine.heap.insert(id, item, Value::None))?;
    Ok(id)
}
