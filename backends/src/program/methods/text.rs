//! Methods of texts.

use super::super::error::{Step, type_error, value_error};
use super::super::machine::{Args, Machine};
use super::super::value::Value;

pub(super) fn call(machine: &mut Machine, text: &str, name: &'static str, mut args: Args) -> Step<Value> {
    machine.heap.meter.read(text.len())?;
    if name == "format" {
        return format(machine, text, &args);
    }
    if let ("split" | "rsplit", Some(max)) = (name, args.take("maxsplit")) {
        if args.list.is_empty() {
            args.list.push(Value::None);
        }
        args.list.push(max);
    }
    let (least, most) = match name {
        "strip" | "lstrip" | "rstrip" => (0, 1),
        "split" | "rsplit" => (0, 2),
        "replace" => (2, 3),
        "center" | "ljust" | "rjust" => (1, 2),
        "startswith" | "endswith" | "find" | "rfind" | "index" | "count" | "join" | "partition"
        | "removeprefix" | "removesuffix" | "zfill" => (1, 1),
        _ => (0, 0),
    };
    let list = args.between(name, least, most)?;
    let none = Value::None;
    let first = list.first().unwrap_or(&none);
    if let Some(answer) = about(text, name) {
        return Ok(Value::Bool(answer));
    }
    // What a method makes is at most as long as this, but for those that check it themselves.
    machine.heap.meter.hold(text.len().saturating_mul(2))?;
    match name {
        "lower" => machine.heap.text(text.to_lowercase()),
        "upper" => machine.heap.text(text.to_uppercase()),
        "capitalize" => {
            let mut chars = text.chars();
            let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
            machine.heap.text(first + &chars.as_str().to_lowercase())
        }
        "title" => machine.heap.text(titled(text)),
        "strip" | "lstrip" | "rstrip" => {
            let chars = match first {
                Value::None => None,
                chars => Some(chars.as_str()?),
            };
            machine.heap.meter.spend(chars.as_ref().map_or(0, |chars| chars.len() * text.len() / 16))?;
            let is_cut = |c: char| chars.as_ref().map_or(c.is_whitespace(), |chars| chars.contains(c));
            let text = if name == "rstrip" { text } else { text.trim_start_matches(is_cut) };
            machine.heap.text(if name == "lstrip" { text } else { text.trim_end_matches(is_cut) })
        }
        "split" | "rsplit" => split(machine, text, list, name == "rsplit"),
        "splitlines" => texts(machine, text.lines().map(str::to_owned).collect()),
        "partition" => {
            let separator = first.as_str()?;
            let (before, found, after) = match text.split_once(&*separator) {
                Some((before, after)) => (before, &*separator, after),
                None => (text, "", ""),
            };
            let parts = [before, found, after].map(|part| machine.heap.text(part));
            let parts = parts.into_iter().collect::<Step<Vec<Value>>>()?;
            machine.heap.tuple(parts)
        }
        "startswith" | "endswith" => borders(machine, text, first, name == "startswith"),
        "removeprefix" => machine.heap.text(text.strip_prefix(&*first.as_str()?).unwrap_or(text)),
        "removesuffix" => machine.heap.text(text.strip_suffix(&*first.as_str()?).unwrap_or(text)),
        "find" | "rfind" | "index" => {
            let wanted = first.as_str()?;
            let found = if name == "rfind" { text.rfind(&*wanted) } else { text.find(&*wanted) };
            let n = found.and_then(|at| text.get(..at)).map(|before| before.chars().count());
            match n {
                Some(n) => Ok(Value::Int(i128::try_from(n).unwrap_or(i128::MAX))),
                None if name == "index" => value_error("substring not found"),
                None => Ok(Value::Int(-1)),
            }
        }
        "count" => {
            let wanted = first.as_str()?;
            let n = if wanted.is_empty() { text.chars().count() + 1 } else { text.matches(&*wanted).count() };
            Ok(Value::Int(i128::try_from(n).unwrap_or(i128::MAX)))
        }
        "replace" => replace(machine, text, list),
        "join" => join(machine, text, first),
        "zfill" | "center" | "ljust" | "rjust" => pad(machine, text, name, list),
        _ => type_error(format!("'str' object has no method '{name}'")),
    }
}

/// Whether `text` begins, or ends, with one of the candidates.
fn borders(machine: &mut Machine, text: &str, first: &Value, is_start: bool) -> Step<Value> {
    let candidates = match first {
        Value::Tuple(id) => machine.heap.items(*id).to_vec(),
        one => vec![one.clone()],
    };
    let mut is_found = false;
    for candidate in candidates {
        let candidate = candidate.as_str()?;
        machine.heap.meter.read(candidate.len())?;
        is_found |= if is_start { text.starts_with(&*candidate) } else { text.ends_with(&*candidate) };
    }
    Ok(Value::Bool(is_found))
}

/// What the `is…` methods say.
fn about(text: &str, name: &str) -> Option<bool> {
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    Some(match name {
        "isdigit" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        _ => return None,
    })
}

fn titled(text: &str) -> String {
    let mut is_start = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        is_start = !c.is_alphabetic();
    }
    out
}

fn texts(machine: &mut Machine, parts: Vec<String>) -> Step<Value> {
    let mut items = Vec::with_capacity(parts.len());
    for part in parts {
        items.push(machine.heap.text(part)?);
    }
    machine.heap.list(items)
}

fn split(machine: &mut Machine, text: &str, list: &[Value], is_right: bool) -> Step<Value> {
    let max = match list.get(1).map(Value::as_int).transpose()? {
        Some(n) if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    // Each part takes a text of its own: an allocation of 32 bytes for as little as one byte of text.
    machine.heap.meter.hold(text.len().saturating_mul(8))?;
    let parts: Vec<String> = match list.first() {
        None | Some(Value::None) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            if words.len() <= max {
                words.into_iter().map(str::to_owned).collect()
            } else if is_right {
                let mut rest = text.trim();
                let mut parts = Vec::new();
                for _ in 0..max {
                    let Some((before, word)) = rest.rsplit_once(char::is_whitespace) else { break };
                    parts.push(word.to_owned());
                    rest = before.trim_end();
                }
                parts.push(rest.to_owned());
                parts.reverse();
                parts
            } else {
                let mut rest = text.trim();
                let mut parts = Vec::new();
                for _ in 0..max {
                    let Some((word, after)) = rest.split_once(char::is_whitespace) else { break };
                    parts.push(word.to_owned());
                    rest = after.trim_start();
                }
                parts.push(rest.to_owned());
                parts
            }
        }
        Some(separator) => {
            let separator = separator.as_str()?;
            if separator.is_empty() {
                return value_error("empty separator");
            }
            let n = max.saturating_add(1);
            if is_right {
                let mut parts: Vec<String> = text.rsplitn(n, &*separator).map(str::to_owned).collect();
                parts.reverse();
                parts
            } else {
                text.splitn(n, &*separator).map(str::to_owned).collect()
            }
        }
    };
    texts(machine, parts)
}

fn replace(machine: &mut Machine, text: &str, list: &[Value]) -> Step<Value> {
    let none = Value::None;
    let old = list.first().unwrap_or(&none).as_str()?;
    let new = list.get(1).unwrap_or(&none).as_str()?;
    let max = match list.get(2).map(Value::as_int).transpose()? {
        Some(n) if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let n = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&*old).count() }.min(max);
    machine.heap.meter.hold(n.saturating_mul(new.len()).saturating_add(text.len()))?;
    machine.heap.text(text.replacen(&*old, &new, n))
}

fn join(machine: &mut Machine, separator: &str, parts: &Value) -> Step<Value> {
    let mut joined = String::new();
    for (n, part) in machine.items(parts)?.iter().enumerate() {
        let Value::Str(part) = part else {
            return type_error(format!(
                "sequence item {n}: expected str instance, {} found",
                part.type_name()
            ));
        };
        machine.heap.meter.hold(separator.len() + part.len())?;
        machine.heap.meter.read(separator.len() + part.len())?;
        if n > 0 {
            joined.push_str(separator);
        }
        joined.push_str(part);
    }
    machine.heap.text(joined)
}

fn pad(machine: &mut Machine, text: &str, name: &str, list: &[Value]) -> Step<Value> {
    let width = usize::try_from(list.first().unwrap_or(&Value::None).as_int()?.max(0)).unwrap_or(usize::MAX);
    let fill = match list.get(1) {
        Some(fill) => fill.as_str()?.chars().next().unwrap_or(' '),
        None if name == "zfill" => '0',
        None => ' ',
    };
    let missing = width.saturating_sub(text.chars().count());
    machine.heap.meter.hold(missing.saturating_mul(4))?;
    machine.heap.meter.read(missing)?;
    let pad = |n: usize| fill.to_string().repeat(n);
    let padded = match name {
        "ljust" => text.to_owned() + &pad(missing),
        "center" => {
            // Where one side gets one more, it is the left one of an odd width.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", pad(left), pad(missing - left))
        }
        "zfill" if text.starts_with(['+', '-']) => {
            let (sign, digits) = text.split_at(1);
            format!("{sign}{}{digits}", pad(missing))
        }
        _ => pad(missing) + text,
    };
    machine.heap.text(padded)
}

/// `'{} of {n:.2f}'.format(…)`
fn format(machine: &mut Machine, text: &str, args: &Args) -> Step<Value> {
    let mut out = String::new();
    let mut rest = text;
    let mut n_used = 0;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        machine.heap.meter.hold(before.len() + 1)?;
        out.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else {
            let field = from.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((field, after)) = field else { return value_error("a single brace in a format") };
            rest = after;
            let (name, spec) = field.split_once(':').unwrap_or((field, ""));
            let value = if name.is_empty() {
                n_used += 1;
                args.list.get(n_used - 1)
            } else if let Ok(n) = name.parse::<usize>() {
                args.list.get(n)
            } else {
                args.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
            };
            let Some(value) = value.cloned() else {
                return value_error(format!("the format has no argument for '{{{field}}}'"));
            };
            out.push_str(&machine.heap.formatted(&value, spec)?);
        }
    }
    out.push_str(rest);
    machine.heap.text(out)
}
