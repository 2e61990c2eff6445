//! Functions that every program has.

use std::rc::Rc;

use super::error::{Step, raise, type_error, value_error};
use super::machine::{Args, Machine};
use super::number::{Number, rounded, rounded_to};
use super::text::{parse_float, parse_int, to_int};
use super::value::{Entries, Range, VALUE_BYTES, Value};

mod math;

pub(super) use math::{call as call_math, member as math_member};

const FUNCTIONS: [&str; 24] = [
    "abs",
    "all",
    "any",
    "chr",
    "divmod",
    "enumerate",
    "filter",
    "format",
    "hash",
    "isinstance",
    "len",
    "map",
    "max",
    "min",
    "next",
    "ord",
    "pow",
    "print",
    "repr",
    "reversed",
    "round",
    "sorted",
    "sum",
    "zip",
];

const TYPES: [&str; 10] =
    ["bool", "dict", "float", "frozenset", "int", "list", "range", "set", "str", "tuple"];

/// What a name means that the program has given no value.
pub(super) fn named(name: &str) -> Step<Value> {
    if let Some(found) = FUNCTIONS.iter().find(|known| **known == name) {
        return Ok(Value::Builtin(found));
    }
    if let Some(found) = TYPES.iter().chain(&["type"]).find(|known| **known == name) {
        return Ok(Value::Type(found));
    }
    let hint = match name {
        "math" => "; `import math` first",
        "open" | "input" | "exec" | "eval" | "compile" | "__import__" | "globals" | "locals" | "getattr"
        | "setattr" => "; a program here has no files, no input and no way to look into itself",
        _ => "",
    };
    raise("NameError", format!("name '{name}' is not defined{hint}"))
}

/// Calls the built-in function or class `name`.
pub(super) fn call(machine: &mut Machine, name: &'static str, mut args: Args) -> Step<Value> {
    match name {
        "print" => return print(machine, args),
        "max" | "min" => return extreme(machine, name, args),
        "sorted" => return sorted(machine, args),
        "sum" => return sum(machine, args),
        "enumerate" => return enumerate(machine, args),
        "dict" => return dict(machine, args),
        _ => {}
    }
    if let ("int" | "round", Some(given)) = (name, args.take(if name == "int" { "base" } else { "ndigits" }))
    {
        args.list.push(given);
    }
    let (least, most) = match name {
        "bool" | "float" | "int" | "str" | "list" | "tuple" | "set" | "frozenset" => {
            (0, if name == "int" { 2 } else { 1 })
        }
        "round" | "format" => (1, 2),
        "range" => (1, 3),
        "divmod" | "filter" | "isinstance" => (2, 2),
        "pow" => (2, 3),
        "map" => (2, usize::MAX),
        "zip" => (0, usize::MAX),
        _ => (1, 1),
    };
    let list = args.between(name, least, most)?;
    let none = Value::None;
    let first = list.first().unwrap_or(&none);
    match name {
        "abs" => absolute(first),
        "all" | "any" => {
            let items = machine.items(first)?;
            let is_true = |item: &Value| machine.heap.truth(item);
            Ok(Value::Bool(if name == "all" { items.iter().all(is_true) } else { items.iter().any(is_true) }))
        }
        "bool" => Ok(Value::Bool(!list.is_empty() && machine.heap.truth(first))),
        "chr" => {
            let c = u32::try_from(first.as_int()?).ok().and_then(char::from_u32);
            c.map_or_else(|| value_error("chr() arg not in range"), |c| machine.heap.text(c.to_string()))
        }
        "ord" => {
            let text = first.as_str()?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Value::Int(u32::from(c).into())),
                _ => type_error("ord() expected a single character"),
            }
        }
        "divmod" => {
            let second = list.get(1).unwrap_or(&none);
            let quotient = machine.heap.binary(super::ast::BinaryOp::FloorDiv, first, second)?;
            let rest = machine.heap.binary(super::ast::BinaryOp::Mod, first, second)?;
            machine.heap.tuple(vec![quotient, rest])
        }
        "pow" => power(machine, list),
        "filter" => filter(machine, first, list.get(1).unwrap_or(&none)),
        "map" => map(machine, list),
        "zip" => zip(machine, list),
        "format" => {
            let spec = list.get(1).map_or(Ok("".into()), Value::as_str)?;
            let text = machine.heap.formatted(first, &spec)?;
            machine.heap.text(text)
        }
        "hash" => type_error("hash() is not supported"),
        "next" => type_error("next() is not supported; use a loop or an index"),
        "isinstance" => is_instance(machine, first, list.get(1).unwrap_or(&none)),
        "len" => length(machine, first),
        "repr" => {
            let text = machine.heap.repr(first)?;
            machine.heap.text(text)
        }
        "str" if list.is_empty() => machine.heap.text(""),
        "str" => {
            let text = machine.heap.shown(first)?;
            machine.heap.text(text)
        }
        "reversed" => {
            let mut items = machine.items(first)?;
            items.reverse();
            machine.heap.list(items)
        }
        "round" => round(list),
        "range" => range(list),
        "int" => int(list),
        "float" => float(list),
        "list" | "tuple" => {
            let items = if list.is_empty() { Vec::new() } else { machine.items(first)? };
            if name == "list" { machine.heap.list(items) } else { machine.heap.tuple(items) }
        }
        "set" | "frozenset" => {
            let items = if list.is_empty() { Vec::new() } else { machine.items(first)? };
            let set = machine.heap.set(Entries::new())?;
            if let Value::Set(id) = set {
                items.into_iter().try_for_each(|item| machine.heap.insert(id, item, Value::None))?;
            }
            Ok(set)
        }
        "type" => Ok(Value::Type(first.type_name())),
        _ => raise("NameError", format!("name '{name}' is not defined")),
    }
}

fn print(machine: &mut Machine, mut args: Args) -> Step<Value> {
    let separator = args.take("sep").unwrap_or(Value::Str(" ".into())).as_str()?;
    let end = args.take("end").unwrap_or(Value::Str("\n".into())).as_str()?;
    let list = args.between("print", 0, usize::MAX)?.to_vec();
    for (n, value) in list.iter().enumerate() {
        if n > 0 {
            machine.print(&separator)?;
        }
        let text = machine.heap.shown(value)?;
        machine.print(&text)?;
    }
    machine.print(&end)?;
    Ok(Value::None)
}

/// Calls `key` of `value`, or takes it as it is.
fn keyed(machine: &mut Machine, key: Option<&Value>, value: &Value) -> Step<Value> {
    match key {
        None | Some(Value::None) => Ok(value.clone()),
        Some(key) => machine.call(key, Args::of(vec![value.clone()])),
    }
}

fn extreme(machine: &mut Machine, name: &'static str, mut args: Args) -> Step<Value> {
    let key = args.take("key");
    let default = args.take("default");
    let list = args.between(name, 1, usize::MAX)?;
    let items = match list {
        [all] => {
            let all = all.clone();
            machine.items(&all)?
        }
        list => list.to_vec(),
    };
    let mut best: Option<(Value, Value)> = None;
    for item in items {
        let rank = keyed(machine, key.as_ref(), &item)?;
        // The first of equal ones stays.
        let is_better = match &best {
            None => true,
            Some((_, known)) if name == "max" => machine.heap.is_less(known, &rank)?,
            Some((_, known)) => machine.heap.is_less(&rank, known)?,
        };
        if is_better {
            best = Some((item, rank));
        }
    }
    match best.map(|(item, _)| item).or(default) {
        Some(item) => Ok(item),
        None => value_error(format!("{name}() arg is an empty sequence")),
    }
}

fn sorted(machine: &mut Machine, mut args: Args) -> Step<Value> {
    let (key, reverse) = (args.take("key"), args.take("reverse"));
    let items = args.between("sorted", 1, 1)?.first().cloned().unwrap_or(Value::None);
    let items = machine.items(&items)?;
    let items = sort(machine, items, key.as_ref(), reverse.as_ref())?;
    machine.heap.list(items)
}

/// Sorts: equal elements stay in their order, also when the order is turned around.
pub(super) fn sort(
    machine: &mut Machine,
    mut items: Vec<Value>,
    key: Option<&Value>,
    reverse: Option<&Value>,
) -> Step<Vec<Value>> {
    let is_reverse = reverse.is_some_and(|reverse| machine.heap.truth(reverse));
    machine.heap.meter.hold(items.len() * VALUE_BYTES * 2)?;
    if is_reverse {
        items.reverse();
    }
    let mut ranked = Vec::with_capacity(items.len());
    for item in items {
        ranked.push((keyed(machine, key, &item)?, item));
    }
    let mut failed = None;
    ranked.sort_by(|(a, _), (b, _)| {
        let mut is_less = |a, b| match failed {
            Some(_) => false,
            None => machine.heap.is_less(a, b).unwrap_or_else(|stop| {
                failed = Some(stop);
                false
            }),
        };
        if is_less(a, b) {
            std::cmp::Ordering::Less
        } else if is_less(b, a) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    });
    if let Some(stop) = failed {
        return Err(stop);
    }
    let mut items: Vec<Value> = ranked.into_iter().map(|(_, item)| item).collect();
    if is_reverse {
        items.reverse();
    }
    Ok(items)
}

fn sum(machine: &mut Machine, mut args: Args) -> Step<Value> {
    if let Some(start) = args.take("start") {
        args.list.push(start);
    }
    let list = args.between("sum", 1, 2)?.to_vec();
    let mut total = list.get(1).cloned().unwrap_or(Value::Int(0));
    if let Value::Str(_) = total {
        return type_error("sum() can't sum strings");
    }
    for item in machine.items(list.first().unwrap_or(&Value::None))? {
        total = machine.heap.binary(super::ast::BinaryOp::Add, &total, &item)?;
    }
    Ok(total)
}

fn enumerate(machine: &mut Machine, mut args: Args) -> Step<Value> {
    if let Some(start) = args.take("start") {
        args.list.push(start);
    }
    let list = args.between("enumerate", 1, 2)?.to_vec();
    let start = list.get(1).map_or(Ok(0), Value::as_int)?;
    let mut pairs = Vec::new();
    for (n, item) in (start..).zip(machine.items(list.first().unwrap_or(&Value::None))?) {
        pairs.push(machine.heap.tuple(vec![Value::Int(n), item])?);
    }
    machine.heap.list(pairs)
}

fn dict(machine: &mut Machine, args: Args) -> Step<Value> {
    let dict = machine.heap.dict(Entries::new())?;
    let Value::Dict(id) = dict else { return Ok(dict) };
    match args.list.as_slice() {
        [] => {}
        [Value::Dict(other)] => {
            let entries = machine.heap.copied(*other)?;
            machine.heap.entries_mut(id)?.extend(entries);
        }
        [pairs] => {
            for pair in machine.items(pairs)? {
                let [key, value] =
                    machine.items(&pair)?.try_into().or_else(|_| type_error("dict() needs pairs"))?;
                machine.heap.insert(id, key, value)?;
            }
        }
        list => return type_error(format!("dict() takes 0 to 1 arguments ({} given)", list.len())),
    }
    for (name, value) in args.named {
        machine.heap.insert(id, Value::Str(name), value)?;
    }
    Ok(dict)
}

fn absolute(value: &Value) -> Step<Value> {
    match Number::of(value) {
        Some(Number::Int(n)) => match n.checked_abs() {
            Some(n) => Ok(Value::Int(n)),
            None => Err(super::error::Stop::Exceeded(super::Bound::Integer)),
        },
        Some(Number::Float(n)) => Ok(Value::Float(n.abs())),
        None => type_error(format!("bad operand type for abs(): '{}'", value.type_name())),
    }
}

fn power(machine: &mut Machine, list: &[Value]) -> Step<Value> {
    match list {
        [base, exponent] => machine.heap.binary(super::ast::BinaryOp::Power, base, exponent),
        _ => type_error("pow() with three arguments is not supported"),
    }
}

fn filter(machine: &mut Machine, function: &Value, items: &Value) -> Step<Value> {
    let mut kept = Vec::new();
    for item in machine.items(items)? {
        let is_kept = keyed(machine, Some(function), &item)?;
        if machine.heap.truth(&is_kept) {
            kept.push(item);
        }
    }
    machine.heap.list(kept)
}

fn rows(machine: &mut Machine, lists: &[Value]) -> Step<Vec<Vec<Value>>> {
    let mut columns = Vec::with_capacity(lists.len());
    for list in lists {
        columns.push(machine.items(list)?.into_iter());
    }
    let n = columns.iter().map(ExactSizeIterator::len).min().unwrap_or(0);
    Ok((0..n).map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect())
}

fn map(machine: &mut Machine, list: &[Value]) -> Step<Value> {
    let Some((function, lists)) = list.split_first() else { return type_error("map() needs a function") };
    let mut results = Vec::new();
    for row in rows(machine, lists)? {
        results.push(machine.call(function, Args::of(row))?);
    }
    machine.heap.list(results)
}

fn zip(machine: &mut Machine, lists: &[Value]) -> Step<Value> {
    let mut tuples = Vec::new();
    for row in rows(machine, lists)? {
        tuples.push(machine.heap.tuple(row)?);
    }
    machine.heap.list(tuples)
}

fn is_instance(machine: &mut Machine, value: &Value, class: &Value) -> Step<Value> {
    let classes = match class {
        Value::Tuple(id) => machine.heap.items(*id).to_vec(),
        class => vec![class.clone()],
    };
    let name = value.type_name();
    let mut is_one = false;
    for class in classes {
        let Value::Type(class) = class else { return type_error("isinstance() arg 2 must be a type") };
        is_one |= class == name || (class == "int" && name == "bool");
    }
    Ok(Value::Bool(is_one))
}

fn length(machine: &mut Machine, value: &Value) -> Step<Value> {
    let n = match value {
        Value::Str(text) => {
            machine.heap.meter.read(text.len())?;
            text.chars().count()
        }
        Value::List(id) | Value::Tuple(id) => machine.heap.items(*id).len(),
        Value::Dict(id) | Value::Set(id) => machine.heap.entries(*id)?.len(),
        Value::Range(range) => range.len(),
        _ => return type_error(format!("object of type '{}' has no len()", value.type_name())),
    };
    Ok(Value::Int(i128::try_from(n).unwrap_or(i128::MAX)))
}

fn round(list: &[Value]) -> Step<Value> {
    let value = list.first().unwrap_or(&Value::None);
    let Some(number) = Number::of(value) else {
        return type_error(format!("type {} doesn't define __round__ method", value.type_name()));
    };
    match (number, list.get(1)) {
        (number, Some(digits)) if !matches!(digits, Value::None) => rounded_to(number, digits.as_int()?),
        (Number::Int(n), _) => Ok(Value::Int(n)),
        (Number::Float(n), _) => rounded(n),
    }
}

fn range(list: &[Value]) -> Step<Value> {
    let numbers = list.iter().map(Value::as_int).collect::<Step<Vec<i128>>>()?;
    let (start, stop, by) = match numbers.as_slice() {
        [stop] => (0, *stop, 1),
        [start, stop] => (*start, *stop, 1),
        [start, stop, by, ..] => (*start, *stop, *by),
        [] => (0, 0, 1),
    };
    if by == 0 {
        return value_error("range() arg 3 must not be zero");
    }
    Ok(Value::Range(Rc::new(Range { start, stop, step: by })))
}

fn int(list: &[Value]) -> Step<Value> {
    match list {
        [] => Ok(Value::Int(0)),
        [Value::Str(text)] => parse_int(text),
        [Value::Str(text), base] => {
            let base = u32::try_from(base.as_int()?).ok().filter(|base| (2..=36).contains(base));
            let parsed = base.and_then(|base| i128::from_str_radix(text.trim(), base).ok());
            parsed.map_or_else(|| value_error("invalid literal for int()"), |n| Ok(Value::Int(n)))
        }
        [value, ..] => match Number::of(value) {
            Some(number) => to_int(number),
            None => type_error(format!(
                "int() argument must be a string or a number, not '{}'",
                value.type_name()
            )),
        },
    }
}

fn float(list: &[Value]) -> Step<Value> {
    match list.first() {
        None => Ok(Value::Float(0.0)),
        Some(Value::Str(text)) => parse_float(text),
        Some(value) => match Number::of(value) {
            Some(number) => Ok(Value::Float(number.to_float())),
            None => type_error(format!(
                "float() argument must be a string or a number, not '{}'",
                value.type_name()
            )),
        },
    }
}
